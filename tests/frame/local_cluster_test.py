#!/usr/bin/env python3
"""deploy/local-cluster with one broker, in a checkout of its own, and whether its demonstration finds what it looks for. Three
brokers: tests/integration/local_cluster_test.py.

    local_cluster_test.py ROOT BIN
"""

import re
import socket
import stat
import sys
import unittest
from pathlib import Path

from checkout import Checkout, state_of

ROOT, BIN = (Path(argument).resolve() for argument in sys.argv[1:3])
sys.path.append(str(ROOT / "deploy"))
import local_cluster_demo as demo  # noqa: E402


class LocalCluster(unittest.TestCase):
    def setUp(self):
        self.checkout = Checkout(ROOT, BIN)
        self.addCleanup(self.checkout.remove)
        self.addCleanup(lambda: self.script("clean"))
        self.place = self.checkout.path / "build/local-cluster"

    def script(self, *arguments, **options):
        return self.checkout.run("local-cluster", *arguments, **options)

    def ok(self, *arguments, **options):
        result = self.script(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def pid(self):
        return int((self.place / "broker-1/millraced.pid").read_text())

    def status(self):
        """State and readiness of broker 1, and whether the exit code says that all is well."""
        result = self.script("status")
        row = next(line.split(None, 4) for line in result.stdout.splitlines() if line.startswith("1 "))
        return row[3], row[4], result.returncode == 0

    def test_a_broker_is_killed_paused_stopped_and_comes_back_as_it_was(self):
        said = self.ok("up", "--brokers", "1")
        address = re.search(r"MILLRACE_ADDRESS=(\S+)", said).group(1)
        self.assertIn(f"listen={address}", said)
        first = self.pid()
        self.assertEqual(self.status(), ("up", "ready", True))
        self.assertIn("healthy", self.ok("status"))
        self.assertEqual(stat.S_IMODE((self.place / "peer.secret").stat().st_mode), 0o600)

        self.assertIn("broker 1 runs on", self.ok("up"))
        self.ok("start", 1)
        self.ok("start")
        self.assertEqual(self.pid(), first)

        self.ok("pause", 1)
        self.assertEqual(state_of(first), "T")
        self.assertEqual(self.status(), ("paused", "-", False))
        self.assertIn("is paused", self.script("stop", 1).stderr)
        self.assertIn("is paused", self.ok("up"))
        self.ok("resume", 1)
        self.assertEqual(self.status(), ("up", "ready", True))

        for how in ("kill", "stop"):
            before = self.pid()
            self.ok(how, 1)
            self.assertEqual((state_of(before), self.status()), ("", ("down", "-", False)))
            self.assertIn("does not run", self.script(how, 1).stderr)
            self.assertIn(f"listen={address}", self.ok("start", 1))

        self.ok("pause", 1)
        last = self.pid()
        self.assertIn("stopped 1", self.ok("down"))
        self.assertEqual(state_of(last), "")
        self.assertTrue((self.place / "broker-1/data").exists())
        self.ok("clean")
        self.assertFalse(self.place.exists())

    def test_taken_ports_are_left_to_their_owner(self):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", 9470))
                taken.listen()
            except OSError:
                pass  # by somebody else: as good
            said = self.ok("up", "--brokers", 1)
        self.assertNotIn("listen=127.0.0.1:9470", said)
        self.assertEqual(self.status(), ("up", "ready", True))

    def test_two_clusters_in_folders_of_their_own(self):
        other = self.checkout.place / "other"
        self.ok("up", "--brokers", 1)
        self.ok("up", "--brokers", 1, "--dir", "other", cwd=self.checkout.place)
        self.addCleanup(lambda: self.script("clean", "--dir", other))
        (other / "of somebody else").touch()
        self.ok("clean", "--dir", other)
        self.assertEqual([path.name for path in other.iterdir()], ["of somebody else"])
        self.assertEqual(self.status(), ("up", "ready", True))

    def test_a_broker_that_does_not_start_is_told_with_the_end_of_its_log(self):
        (self.checkout.bin / "millraced").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
        result = self.script("up", "--brokers", 1)
        self.assertEqual(result.returncode, 1)
        self.assertIn("no room", result.stderr)
        self.assertIn("local-cluster: the broker did not start", result.stderr)

    def test_usage(self):
        self.assertIn("Example:", self.ok("--help"))
        for arguments in ([], ["dance"], ["kill"], ["up", "--brokers", "6"], ["up", "--brokers"], ["up", "down"], ["7"],
                          ["demo", "--seconds", "soon"]):
            self.assertEqual(self.script(*arguments).returncode, 2, arguments)
        for arguments in (["kill", 1], ["status"], ["start"], ["down"]):
            result = self.script(*arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertIn("there is no cluster", result.stderr)
        self.ok("up", "--brokers", 1)
        self.assertIn("there is no broker 2; there are: 1", self.script("kill", 2).stderr)
        self.assertIn("has 1 brokers", self.script("up", "--brokers", 3).stderr)

    def test_the_demonstration_finds_all_as_it_should_be(self):
        said = self.ok("demo", "--brokers", 1, "--seconds", 2, "--seed", 7)
        self.assertIn("seed 7", said)
        self.assertIn("nothing acked is missing", said)
        self.assertIn("16 copies of 16 partitions: equal digests", said)
        self.assertEqual(self.status(), ("up", "ready", True))


class WhatTheDemonstrationFinds(unittest.TestCase):
    """Ten lines in two partitions, as they should be and otherwise."""

    def setUp(self):
        self.stream = demo.Stream(cluster=None)
        self.stream.acked = 10
        self.found = {0: [], 1: []}
        for number in range(10):
            records = self.found[sum((self.stream.key(number) or "").encode()) % 2]
            records.append((len(records), self.stream.line(number)))
        self.full = max(self.found, key=lambda partition: len(self.found[partition]))

    def finds(self, what):
        checker = demo.Checker(self.stream)
        with self.assertRaisesRegex(demo.Failure, what):
            for partition, records in self.found.items():
                checker.look_at(partition, records)
            checker.finish()

    def test_nothing(self):
        checker = demo.Checker(self.stream)
        for partition, records in self.found.items():
            checker.look_at(partition, records)
        checker.finish()

    def test_what_is_missing(self):
        self.found[self.full].pop()
        self.finds("1 acked lines are missing, 0 are there more than once")

    def test_what_is_there_twice(self):
        _, line = self.found[self.full][-1]
        number = int(line[len(b'{"n":'):line.index(b",")])
        self.stream.keys[number] = None  # may be anywhere
        other = self.found[1 - self.full]
        other.append((len(other), line))
        self.finds("0 acked lines are missing, 1 are there more than once")

    def test_the_same_again_and_other_disorder_of_a_key(self):
        records = self.found[self.full]
        records.append((len(records), records[-1][1]))
        self.finds("behind line")

    def test_a_key_in_two_partitions(self):
        self.stream.keys = ["the same"] * len(self.stream.keys)
        self.found[1 - self.full].append((len(self.found[1 - self.full]), self.stream.line(9)))
        self.found[self.full] = [(0, self.stream.line(0))]
        self.finds("the same is in partition")

    def test_a_hole_between_offsets(self):
        offset, line = self.found[self.full].pop()
        self.found[self.full].append((offset + 1, line))
        self.finds(f"offset {offset}: the offset here is {offset + 1}")

    def test_what_nobody_sent(self):
        offset, line = self.found[self.full].pop()
        self.found[self.full].append((offset, line.replace(b"2013", b"2014")))
        self.finds("nobody sent this")

    def test_copies_that_differ(self):
        partitions = {0: {"replicas": [1, 2]}}
        batch = {"records": 5, "digest": "01234567"}
        equal = {1: {0: [batch]}, 2: {0: [batch]}}
        self.assertEqual(demo.compare_copies(equal, partitions, 5), 2)
        for others, what in (([batch | {"digest": "01234568"}], "brokers 1 and 2 differ"), ([], "1 and 0 batches"),
                             ([batch, batch], "1 and 2 batches")):
            with self.assertRaisesRegex(demo.Failure, what):
                demo.compare_copies(equal | {2: {0: others}}, partitions, 5)
        with self.assertRaisesRegex(demo.Failure, "5 records instead of 6"):
            demo.compare_copies(equal, partitions, 6)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
