#!/usr/bin/env python3
"""deploy/quickstart in a checkout of its own.

    quickstart_test.py ROOT BIN
"""

import sys
import unittest
from pathlib import Path

from checkout import Checkout, state_of

ROOT, BIN = (Path(argument).resolve() for argument in sys.argv[1:3])


class Quickstart(unittest.TestCase):
    def setUp(self):
        self.checkout = Checkout(ROOT, BIN)
        self.addCleanup(self.checkout.remove)
        self.addCleanup(lambda: self.checkout.run("quickstart", "stop"))

    def test_works_through_a_symbolic_link_and_stops_its_broker(self):
        link = self.checkout.place / "link"
        link.symlink_to(self.checkout.path)
        result = self.checkout.run("quickstart", through=link)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("ready broker=1", result.stdout)
        self.assertIn("19,811", result.stdout + result.stderr)
        pid = int((self.checkout.path / "build/quickstart/millraced.pid").read_text())
        self.assertTrue(state_of(pid))
        stopped = self.checkout.run("quickstart", "stop", through=link)
        self.assertIn("stopped", stopped.stdout)
        self.assertFalse(state_of(pid))

    def test_recovers_from_a_configure_that_failed(self):
        (self.checkout.path / "build/release/CMakeCache.txt").touch()
        self.assertEqual(self.checkout.run("quickstart").returncode, 0)
        self.assertIn("--preset release -DMILLRACE_BUILD_TESTS=OFF", self.checkout.cmake_log.read_text())

    def test_a_broker_that_does_not_start_is_told_with_the_end_of_its_log(self):
        (self.checkout.bin / "millraced").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
        result = self.checkout.run("quickstart")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no room", result.stderr)
        self.assertIn("quickstart: the broker did not start", result.stderr)

    def test_a_broker_that_leaves_no_log_is_told_too(self):
        log = self.checkout.path / "build/quickstart/millraced.log"
        (self.checkout.bin / "millraced").write_text(f"#!/bin/sh\nrm -f {log}\nexit 1\n")
        result = self.checkout.run("quickstart")
        self.assertEqual(result.returncode, 1)
        self.assertIn("quickstart: the broker did not start", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
