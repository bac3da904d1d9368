#!/usr/bin/env python3
"""deploy/quickstart in a checkout of its own: the real scripts, sample and binaries; packages and the build are stand-ins.

    quickstart_test.py ROOT BIN
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT, BIN = (Path(argument).resolve() for argument in sys.argv[1:3])


class Quickstart(unittest.TestCase):
    def setUp(self):
        self.place = Path(tempfile.mkdtemp(prefix="quickstart_test."))
        self.addCleanup(shutil.rmtree, self.place)
        self.checkout = self.place / "checkout"
        shutil.copytree(ROOT / "deploy", self.checkout / "deploy")
        (self.checkout / "deploy/install-packages").write_text("#!/bin/sh\n")
        self.bin = self.checkout / "build/release/bin"
        self.bin.mkdir(parents=True)
        for name in ("millraced", "millrace"):
            shutil.copy(BIN / name, self.bin / name)
        (self.place / "tools").mkdir()
        cmake = self.place / "tools/cmake"
        cmake.write_text(f"#!/bin/sh\necho \"$*\" >>{self.place}/cmake.log\n")
        cmake.chmod(0o755)
        (self.place / "cmake.log").touch()
        self.addCleanup(lambda: self.run_script("stop"))

    def run_script(self, *arguments, checkout=None):
        path = f"{self.place}/tools:{os.environ['PATH']}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
        return subprocess.run([(checkout or self.checkout) / "deploy/quickstart", *arguments], env=environment | {"PATH": path},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)

    def test_works_through_a_symbolic_link_and_stops_its_broker(self):
        link = self.place / "link"
        link.symlink_to(self.checkout)
        result = self.run_script(checkout=link)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("ready broker=1", result.stdout)
        self.assertIn("19,811", result.stdout + result.stderr)
        pid = int((self.checkout / "build/quickstart/millraced.pid").read_text())
        self.assertTrue(Path(f"/proc/{pid}").exists())
        stopped = self.run_script("stop", checkout=link)
        self.assertIn("stopped", stopped.stdout)
        self.assertFalse(Path(f"/proc/{pid}").exists())

    def test_recovers_from_a_configure_that_failed(self):
        (self.checkout / "build/release/CMakeCache.txt").touch()
        self.assertEqual(self.run_script().returncode, 0)
        self.assertIn("--preset release -DMILLRACE_BUILD_TESTS=OFF", (self.place / "cmake.log").read_text())

    def test_a_broker_that_does_not_start_is_told_with_the_end_of_its_log(self):
        (self.bin / "millraced").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("no room", result.stderr)
        self.assertIn("quickstart: the broker did not start", result.stderr)

    def test_a_broker_that_leaves_no_log_is_told_too(self):
        (self.bin / "millraced").write_text(f"#!/bin/sh\nrm -f {self.checkout}/build/quickstart/millraced.log\nexit 1\n")
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("quickstart: the broker did not start", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
