#!/usr/bin/env python3
"""What the millrace program says of a cluster, and of one that has lost a broker.

cluster_cli_test.py MILLRACE MILLRACED [TEST...]
"""
import sys
import tempfile
import time
import unittest

from harness import DEADLINE_S, MILLRACE, MILLRACED, NOBODY, Broker, Millrace, WithBroker


class Cluster(WithBroker):
    def test_status(self):
        status = self.millrace.json("cluster", "status")
        self.assertEqual(list(status), ["cluster_id", "controller", "brokers", "under_replicated", "leaderless"])
        self.assertEqual((status["under_replicated"], status["leaderless"], len(status["brokers"])), (0, 0, 1))
        self.assertEqual(status["brokers"][0]["address"], self.broker.address)
        text = self.ok("cluster", "status").out.decode()
        self.assertTrue(text.endswith("healthy\n"), text)

    def test_check_and_wait(self):
        self.ok("cluster", "status", "--check")
        self.ok("cluster", "status", "--wait", "healthy", "--timeout", "10s")
        self.fails(3, "cluster", "status", "--wait", "healthy", "--timeout", "1s", "--address", NOBODY)


class ABrokerThatIsDown(WithBroker):
    """A partition of two replicas, one of which is gone: nobody leads it, and what its leader would know is not known."""

    LED = ["in_sync", "leader_epoch", "log_start_offset", "high_watermark", "log_end_offset", "bytes", "replica_lag"]
    TOLD = ["disk_free_bytes", "disk_total_bytes", "start_time", "disk_full"]

    @classmethod
    def setUpClass(cls):
        secret = tempfile.NamedTemporaryFile()
        cls.addClassCleanup(secret.close)
        secret.write(b"a-secret-of-the-brokers-of-this-test\n")
        secret.flush()
        cls.broker = Broker(MILLRACED, "--peer-secret-file", secret.name)
        cls.addClassCleanup(cls.broker.stop)
        cls.millrace = Millrace(MILLRACE, cls.broker.address)
        other = Broker(MILLRACED, "--peer-secret-file", secret.name, "--join", cls.broker.address)
        created = cls.millrace("topic", "create", "both", "-r", "2", "--timeout", f"{DEADLINE_S}s")
        other.kill()
        if created.code != 0:
            raise RuntimeError(created.err)
        end = time.monotonic() + DEADLINE_S
        while (status := cls.millrace.json("cluster", "status"))["leaderless"] == 0 or status["controller"] >= 0:
            if time.monotonic() > end:
                raise RuntimeError("without a majority there still is a leader or a controller")

    @classmethod
    def tearDownClass(cls):
        pass  # the cleanups do it

    def test_of_a_partition_without_a_leader_nothing_is_made_up(self):
        [partition] = self.millrace.json("topic", "describe", "both")["partitions"]
        self.assertEqual((partition["leader"], sorted(partition["replicas"])), (-1, [1, 2]))
        self.assertEqual([partition[name] for name in self.LED], [None] * len(self.LED))
        summary, table = self.ok("topic", "describe", "both").out.decode().split("\n\n")[:2]
        self.assertEqual(summary, "both: 1 partition, records unknown for 1 partition")
        self.assertEqual(table.splitlines()[1].split()[3:], ["-"] * len(self.LED))

    def test_of_a_broker_that_is_down_nothing_is_made_up(self):
        up, down = self.millrace.json("cluster", "status")["brokers"]
        self.assertEqual((up["alive"], down["alive"]), (True, False))
        self.assertNotIn(None, up.values())
        self.assertEqual([down[name] for name in self.TOLD], [None] * len(self.TOLD))
        row = self.ok("cluster", "status").out.decode().splitlines()[4].split()
        self.assertEqual((row[0], row[2], row[-2:]), ("2", "down", ["-", "-"]))

    def test_what_fails_for_want_of_a_leader_leads_to_who_is_down(self):
        for arguments in (["topic", "create", "t"], ["topic", "trim", "both", "-p", "0", "--before", "0"]):
            result = self.fails(1, *arguments, "--timeout", "1s", "--output", "json")
            self.assertEqual(result.error["error"], "LEADER_NOT_AVAILABLE", arguments)
            self.assertEqual(result.error["message"].count("millrace cluster status"), 1, result.error)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
