#!/usr/bin/env python3
"""The millrace program and consumer groups: members that share a topic, and what can be asked and changed of a group.

group_cli_test.py MILLRACE MILLRACED [TEST...]
"""
import sys
import unittest

from harness import MILLRACE, MILLRACED, NOBODY, Broker, Millrace, WithBroker, interrupt


def line_with(file, words):
    """The next line that has these words."""
    for line in file:
        if words in line:
            return line
    raise AssertionError(f"ended without {words!r}")


class Groups(WithBroker):
    """A topic of two partitions, three records in each, and groups that read it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.millrace("topic", "create", "read", "-p", "2")
        for partition in range(2):
            cls.millrace("produce", "read", "-p", partition, stdin=b"".join(b"%d%d\n" % (partition, i) for i in range(3)))

    def lag(self, group):
        return self.millrace.json("group", "lag", group)

    def test_a_group_goes_on_where_it_has_come(self):
        self.assertEqual(sorted(self.ok("consume", "read", "-g", "g1", "-n", 4).lines + self.ok(
            "consume", "read", "-g", "g1", "--no-follow").lines), [b"00", b"01", b"02", b"10", b"11", b"12"])
        self.assertEqual(self.ok("consume", "read", "-g", "g1", "--no-follow").out, b"")
        lag = self.lag("g1")
        self.assertEqual((lag["group"], lag["lag"], lag["lag_ms"]), ("g1", 0, 0))
        self.assertEqual([list(p) for p in lag["partitions"]],
                         [["topic", "partition", "committed", "high_watermark", "lag", "lag_ms", "member_id"]] * 2)

    def test_ctrl_c_commits_what_was_written(self):
        with self.millrace.start("consume", "read", "-g", "g2") as process:
            lines = [process.stdout.readline() for _ in range(6)]
            self.assertEqual(len(set(lines)), 6)
            self.assertEqual(interrupt(process).code, 130)
        self.assertEqual([p["committed"] for p in self.lag("g2")["partitions"]], [3, 3])

    def test_from_is_for_partitions_without_a_committed_offset(self):
        self.assertEqual(sorted(self.ok("consume", "read", "-g", "g3", "--from", "-1", "--no-follow").lines), [b"02", b"12"])
        self.assertEqual(self.ok("consume", "read", "-g", "g3", "--from", "beginning", "--no-follow").out, b"")

    def test_positions_are_reset_shown_saved_and_loaded(self):
        self.ok("consume", "read", "-g", "g4", "--no-follow")
        tried = self.millrace.json("group", "reset", "g4", "-t", "read", "--to", "-2", "--dry-run")
        self.assertEqual(tried, [{"topic": "read", "partition": p, "old": 3, "new": 1} for p in range(2)])
        self.assertEqual(self.lag("g4")["lag"], 0)
        saved = self.ok("group", "export", "g4").out
        self.ok("group", "reset", "g4", "-t", "read", "--to", "1", "-p", "1")
        self.assertEqual([p["committed"] for p in self.lag("g4")["partitions"]], [3, 1])
        self.assertEqual(self.ok("consume", "read", "-g", "g4", "--no-follow", "-n", "2").lines, [b"11", b"12"])
        self.ok("group", "reset", "g4", "-t", "read", "--to", "beginning")
        self.ok("group", "import", "g4", stdin=saved)
        self.assertEqual([p["committed"] for p in self.lag("g4")["partitions"]], [3, 3])
        self.assertIn("not among them", self.fails(2, "group", "reset", "g4", "-t", "read", "--to", "4").err)
        self.assertIn("millrace group export", self.fails(2, "group", "import", "g4", stdin=b"{}").err)

    def test_a_reset_of_a_partition_that_is_not_there_changes_nothing(self):
        self.ok("consume", "read", "-g", "g6", "--no-follow")
        refused = self.fails(1, "group", "reset", "g6", "-t", "read", "--to", "0", "-p", "0", "-p", "99", "--output", "json")
        self.assertEqual((refused.error["error"], refused.error["partition"]), ("UNKNOWN_TOPIC_OR_PARTITION", 99))
        self.assertIn("nothing was reset", refused.error["message"])
        self.assertEqual([p["committed"] for p in self.lag("g6")["partitions"]], [3, 3])

    def test_of_a_group_that_is_not_there_no_backup_is_made(self):
        missing = self.fails(1, "group", "export", "mistyped", "--output", "json")
        self.assertEqual((missing.error["error"], missing.out), ("GROUP_ID_NOT_FOUND", b""))
        self.assertIn("millrace group list", missing.error["message"])

    def test_a_dry_run_says_that_it_changed_nothing(self):
        self.ok("consume", "read", "-g", "g7", "--no-follow", "-n", "1")
        before, saved = self.lag("g7"), self.ok("group", "export", "g7").out.replace(b'"offset":1', b'"offset":0')
        for arguments in (["import", "g7"], ["reset", "g7", "-t", "read", "--to", "0"]):
            self.assertIn("nothing was changed", self.ok("group", *arguments, "--dry-run", stdin=saved).err, arguments)
        self.assertEqual([p["committed"] for p in self.lag("g7")["partitions"]], [p["committed"] for p in before["partitions"]])

    def test_members_that_run_go_on_where_they_were_reset_to(self):
        with self.millrace.start("consume", "read", "-g", "g8") as process:
            self.assertEqual(len({process.stdout.readline() for _ in range(6)}), 6)
            self.ok("group", "reset", "g8", "-t", "read", "--to", "1")
            again = sorted(process.stdout.readline() for _ in range(4))
            self.assertEqual(again, [b"01\n", b"02\n", b"11\n", b"12\n"])
            told = interrupt(process)
        self.assertEqual(told.code, 130, told.err)
        self.assertIn("their positions were reset", told.err)
        self.assertEqual([p["committed"] for p in self.lag("g8")["partitions"]], [3, 3])

    def test_members_are_described_and_a_group_with_some_is_not_deleted(self):
        with self.millrace.start("consume", "read", "-g", "g5") as process:
            process.stdout.readline()
            group = self.millrace.json("group", "describe", "g5")
            self.assertEqual(list(group), ["group", "state", "coordinator", "epoch", "assignor", "members", "partitions"])
            [member] = group["members"]
            self.assertEqual(member["assigned"], [{"topic": "read", "partition": p} for p in range(2)])
            self.assertEqual({p["member_id"] for p in group["partitions"]}, {member["member_id"]})
            self.assertIn(member["member_id"], self.ok("group", "describe", "g5").out.decode())
            self.assertEqual(self.fails(1, "group", "delete", "g5", "--output", "json").error["error"], "NON_EMPTY_GROUP")
            interrupt(process)
        self.assertIn({"group": "g5", "state": "Empty", "members": 0, "coordinator": 1}, self.millrace.json("group", "list"))
        self.ok("group", "delete", "g5")
        self.assertIn("millrace group list", self.fails(1, "group", "describe", "g5").err)
        self.assertEqual(self.fails(1, "group", "delete", "g5", "--output", "json").error["error"], "GROUP_ID_NOT_FOUND")

    def test_what_excludes_a_group_is_wrong_usage(self):
        for flags in (["-p", "1"], ["--until", "end"]):
            self.fails(2, "consume", "read", "-g", "g", *flags)
        self.fails(2, "consume", "read", "-g", "")
        self.fails(2, "consume", "read", "--session-timeout", "5s")
        self.assertIn("session.timeout.ms", self.fails(2, "consume", "read", "-g", "g", "--session-timeout", "10ms").err)


class Waiting(WithBroker):
    """Members to which nothing comes, and why."""

    def test_without_a_broker(self):
        failed = self.fails(3, "consume", "t", "-g", "g", "--no-follow", "--address", NOBODY, "--output", "json")
        self.assertEqual(failed.error["error"], "NETWORK_EXCEPTION")
        with self.millrace.start("consume", "t", "-g", "g", "--address", NOBODY) as process:
            self.assertIn(NOBODY.encode(), line_with(process.stderr, b"waiting: "))
            self.assertEqual(interrupt(process).code, 130)

    def test_what_is_wrong_with_the_command_line_is_told_without_a_broker(self):
        self.fails(2, "consume", "t", "-g", "g", "--session-timeout", "10ms", "--address", NOBODY)

    def test_without_the_topic(self):
        missing = self.fails(1, "consume", "mistyped", "-g", "g", "--no-follow", "--output", "json")
        self.assertEqual((missing.error["error"], missing.error["topic"]), ("UNKNOWN_TOPIC_OR_PARTITION", "mistyped"))
        self.assertIn("millrace topic create mistyped", missing.error["message"])
        with self.millrace.start("consume", "later", "-g", "g") as process:
            self.assertIn(b"millrace topic create later", line_with(process.stderr, b"waiting: "))
            self.ok("produce", "later", "--create", stdin=b"came\n")
            self.assertEqual(process.stdout.readline(), b"came\n")
            self.assertEqual(interrupt(process).code, 130)

    def test_without_a_partition(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"x\n")
        with self.millrace.start("consume", topic, "-g", "full") as process:
            self.assertEqual(process.stdout.readline(), b"x\n")  # it has the only partition
            second = self.ok("consume", topic, "-g", "full", "--no-follow", "--timeout", "2s")
            self.assertIn("no partition was assigned to this member; see who has them with: millrace group describe full", second.err)
            self.assertEqual(second.out, b"")
            interrupt(process)

    def test_when_the_broker_goes_away(self):
        broker = Broker(MILLRACED)
        millrace = Millrace(MILLRACE, broker.address)
        millrace("produce", "t", "--create", stdin=b"x\n")
        with millrace.start("consume", "t", "-g", "g", "--session-timeout", "2s") as process:
            self.assertEqual(process.stdout.readline(), b"x\n")
            broker.kill()
            why = line_with(process.stderr, b"gave up 1 partition: ").decode()
            # The last of what went wrong: either is true.
            self.assertRegex(why, f"session.timeout.ms|{broker.address}")
            process.kill()

    def test_over_a_gap_is_done_in_part(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"a\nb\nc\nd\n")
        self.ok("consume", topic, "-g", "gap", "-n", "1")
        self.ok("topic", "trim", topic, "-p", "0", "--before", "3")
        partly = self.fails(4, "consume", topic, "-g", "gap", "--no-follow")
        self.assertEqual(partly.out, b"d\n")
        self.assertIn("offsets 1 to 2 are gone (retention or trim)", partly.err)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
