"""What a client does when a broker or its network misbehaves, against one that a test scripts."""

import threading
import unittest
import unittest.mock

import harness
import millrace
import millrace.run
from fake_broker import FakeBroker, FakeCoordinator
from millrace import Assignment, ErrorCode, Gap, GapReason, Position
from millrace._core import codecs
from millrace._core.encoding import encode_record
from millrace.v1 import broker_pb2, error_pb2, group_pb2, record_pb2

ANY, LEADER_ONLY = broker_pb2.ROUTING_ANY, broker_pb2.ROUTING_LEADER_ONLY


def fetched(offset, *values, crc=None):
    payload = b"".join(encode_record(0, None, value, ()) for value in values)
    return broker_pb2.FetchedBatch(base_offset=offset, leader_epoch=1, batch=record_pb2.RecordBatch(
        base_timestamp=1, record_count=len(values), payload=payload, crc32c=crc))


def frame(offset, *batches):
    return broker_pb2.FetchPartition(start_offset=offset, high_watermark=100, batches=batches)


class Producing(unittest.TestCase):
    def setUp(self):
        self.broker = FakeBroker()
        self.addCleanup(self.broker.__exit__)
        self.broker.topics["t"] = [1]

    def send(self, **settings):
        producer = millrace.Producer(self.broker.address, **settings)
        self.addCleanup(producer.close)
        return producer.send("t", b"v", partition=0).result(30)

    def test_a_batch_goes_again_as_it_was_when_the_stream_breaks(self):
        answers = [None, None, broker_pb2.ProduceAck(base_offset=41, duplicate=True)]
        self.broker.on_batch = lambda place: answers.pop(0)
        self.assertEqual(self.send().offset, 41)
        first, second, third = [place.batch for _, place in self.broker.batches]
        self.assertEqual((first.producer_id, first.producer_epoch, first.base_sequence), (7, 65_536, 0))
        self.assertEqual(first, second)
        self.assertEqual(first, third)

    def test_an_advertised_address_that_does_not_connect_is_gone_around(self):
        self.broker.brokers[2] = "127.0.0.1:1"
        self.broker.topics["t"] = [2]
        self.assertEqual(self.send().offset, 0)
        self.assertEqual([routing for routing, _ in self.broker.batches], [ANY])

    def test_a_hint_is_followed(self):
        with FakeBroker(broker_id=2) as other:
            self.broker.brokers[2] = other.address
            other.topics["t"] = [2]
            error = error_pb2.Error(code=error_pb2.Error.NOT_LEADER_OR_FOLLOWER, retriable=True, leader=error_pb2.LeaderHint(
                broker_id=2, address=other.address, leader_epoch=2))

            def refuse(_):
                self.broker.topics["t"] = [2]
                return broker_pb2.ProduceAck(error=error)

            self.broker.on_batch = refuse
            other.on_batch = lambda place: broker_pb2.ProduceAck(base_offset=3)
            self.assertEqual(self.send().offset, 3)
            self.assertEqual([routing for routing, _ in other.batches], [LEADER_ONLY])
            self.assertEqual(other.batches[0][1].batch, self.broker.batches[0][1].batch)

    def test_a_hole_in_the_sequence_is_closed_by_a_new_epoch(self):
        refused = error_pb2.Error(code=error_pb2.Error.POLICY_VIOLATION)
        hole = error_pb2.Error(code=error_pb2.Error.OUT_OF_ORDER_SEQUENCE_NUMBER, producer_epoch=65_536, expected_sequence=0)
        answers = [broker_pb2.ProduceAck(error=refused), broker_pb2.ProduceAck(error=hole), broker_pb2.ProduceAck(base_offset=9)]
        self.broker.on_batch = lambda place: answers.pop(0)
        producer = millrace.Producer(self.broker.address)
        self.assertEqual(producer.send("t", b"refused").exception(30).code, ErrorCode.POLICY_VIOLATION)
        self.assertEqual(producer.send("t", b"v").result(30).offset, 9)
        self.assertEqual([(place.batch.producer_epoch, place.batch.base_sequence) for _, place in self.broker.batches],
                         [(65_536, 0), (65_536, 1), (65_537, 0)])
        with self.assertRaises(millrace.MillraceError):
            producer.close()

    def test_an_error_that_is_final_is_told(self):
        error = error_pb2.Error(code=error_pb2.Error.POLICY_VIOLATION, message="no", topic="t", partition=0)
        self.broker.on_batch = lambda place: broker_pb2.ProduceAck(error=error)
        producer = millrace.Producer(self.broker.address)
        told = producer.send("t", b"v").exception(30)
        self.assertEqual((told.code, told.partition, told.address), (ErrorCode.POLICY_VIOLATION, 0, self.broker.address))
        with self.assertRaises(millrace.MillraceError):
            producer.close()


class Consuming(unittest.TestCase):
    def setUp(self):
        self.broker = FakeBroker()
        self.addCleanup(self.broker.__exit__)
        self.broker.topics["t"] = [1]

    def consumer(self, **settings):
        consumer = millrace.Consumer(self.broker.address, **settings)
        self.addCleanup(consumer.close)
        return consumer

    def test_damage_is_an_error_or_a_gap(self):
        before, codecs.crc32c = codecs.crc32c, lambda data, value=0: 17
        self.addCleanup(setattr, codecs, "crc32c", before)
        self.broker.frames = [frame(0, fetched(0, b"a", crc=17), fetched(1, b"b", b"c", crc=18), fetched(3, b"d", crc=17))]
        consumer = self.consumer()
        consumer.assign([Assignment("t", 0, Position.offset(0))])
        self.assertEqual([record.offset for record in consumer.poll(30)], [0])
        with self.assertRaises(millrace.MillraceError) as raised:
            consumer.poll(30)
        self.assertEqual((raised.exception.code, raised.exception.partition), (ErrorCode.CORRUPT_MESSAGE, 0))

        gaps = []
        consumer = self.consumer(on_gap="report", on_missing=gaps.append)
        consumer.assign([Assignment("t", 0, Position.offset(0))])
        self.assertEqual([next(iter(consumer)).offset for _ in range(2)], [0, 3])
        self.assertEqual(gaps, [Gap("t", 0, 1, 3, GapReason.CORRUPT)])

    def test_run_stops_at_damage_or_skips_it(self):
        gap = broker_pb2.Gap(to=5, reason=broker_pb2.Gap.CORRUPT)
        setattr(gap, "from", 0)
        self.broker.frames = [broker_pb2.FetchPartition(start_offset=0, gap=gap, high_watermark=6, batches=[fetched(5, b"f")])]
        consumer = self.consumer()
        consumer.assign([Assignment("t", 0, Position.offset(0))])
        with self.assertRaises(millrace.MillraceError) as raised:
            consumer.run(print)
        self.assertEqual(raised.exception.code, ErrorCode.CORRUPT_MESSAGE)

        consumer, seen = self.consumer(), []

        def handle(record):
            seen.append(record.offset)
            consumer.wakeup()

        consumer.assign([Assignment("t", 0, Position.offset(0))])
        consumer.run(handle, on_corrupt="skip")
        self.assertEqual((seen, consumer.gap_records), ([5], 5))

    def run_twice(self, ack):
        """The first offset of the second run(), in the partition of a record for which the dead-letter topic has this ack; the first
        one is woken while it waits for that. And what the first one raises."""
        self.broker.topics.update(t=[1, 1], dead=[1])
        self.broker.frames = [frame(1, fetched(0, b"a", b"b", b"c", b"d"))]  # for who begins at 0, or at 1
        asked_for = threading.Event()
        self.broker.on_batch = lambda place: asked_for.wait() and ack
        consumer = self.consumer()
        consumer.assign([Assignment("t", number, Position.offset(0)) for number in (0, 1)])
        poison, seen = [], []

        def handle(record):
            if not poison:
                poison.append(record)
                raise ValueError
            if record.partition != poison[0].partition:
                asked_for.set()
                consumer.wakeup()

        def handle_later(record):
            if record.partition == poison[0].partition:
                seen.append(record.offset)
                consumer.wakeup()

        raised = None
        try:
            consumer.run(handle, attempts=1, dead_letter_topic="dead")
        except millrace.MillraceError as error:
            raised = error.code
        consumer.forget_wakeup()
        consumer.run(handle_later)
        return seen, raised

    def test_a_run_that_ends_before_its_dead_letter_is_acked_goes_on_behind_it(self):
        self.assertEqual(self.run_twice(broker_pb2.ProduceAck(base_offset=0)), ([1], None))

    def test_a_record_that_the_dead_letter_topic_refuses_comes_again(self):
        refused = error_pb2.Error(code=error_pb2.Error.POLICY_VIOLATION)
        self.assertEqual(self.run_twice(broker_pb2.ProduceAck(error=refused)), ([0], ErrorCode.POLICY_VIOLATION))

    def test_a_record_that_the_dead_letter_topic_refuses_at_once_comes_again(self):
        self.broker.topics["dead"] = [1]
        self.broker.frames = [frame(0, fetched(0, b"a", b"b"))]
        self.broker.on_batch = lambda place: broker_pb2.ProduceAck(error=error_pb2.Error(code=error_pb2.Error.POLICY_VIOLATION))
        consumer = self.consumer()
        consumer.assign([Assignment("t", 0, Position.offset(0))])
        with unittest.mock.patch("millrace.run._SOON", 30), self.assertRaises(millrace.MillraceError):
            consumer.run(lambda record: 1 // 0, attempts=1, dead_letter_topic="dead")
        self.assertEqual([record.offset for record in consumer.poll(30)], [0, 1])


class Administration(unittest.TestCase):
    def test_groups_that_are_not_known_are_told_of(self):
        with FakeBroker() as broker, millrace.Admin(broker.address) as admin:
            broker.groups = group_pb2.ListGroupsResponse(groups=[group_pb2.GroupSummary(group="g")], incomplete=True)
            with self.assertLogs("millrace", "WARNING") as told:
                self.assertEqual([each.group for each in admin.list_groups()], ["g"])
        self.assertIn("did not answer", told.output[0])


class Members(unittest.TestCase):
    """A member of a group, told what to do by a scripted coordinator."""

    def setUp(self):
        self.broker = FakeBroker()
        self.addCleanup(self.broker.__exit__)
        self.broker.topics["t"] = [1, 1]
        self.broker.frames = [frame(0, fetched(0, b"a", b"b", b"c", b"d"))]
        self.coordinator = self.broker.coordinator = FakeCoordinator()
        self.events = []

    def consumer(self, **settings):
        def note(what):
            return lambda partitions: self.events.append((what, [each.partition for each in partitions]))

        consumer = millrace.Consumer(self.broker.address, group_id="g", on_assigned=note("assigned"), on_revoked=note("revoked"),
                                     on_lost=note("lost"), **settings)
        self.addCleanup(consumer.close)
        consumer.subscribe("t")
        return consumer

    @staticmethod
    def place(partition, epoch=1, **fields):
        return group_pb2.AssignedPartition(topic="t", topic_id=5, partition=partition, epoch=epoch, **fields)

    def test_a_partition_is_let_go_once_its_records_are_done_and_committed(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        records = iter(consumer)
        self.assertEqual([next(records).offset, next(records).offset], [0, 1])
        self.coordinator.assign()
        held = len(self.coordinator.heartbeats)
        self.coordinator.until(lambda: len(self.coordinator.heartbeats) > held)
        self.assertEqual([each.partition for each in self.coordinator.heartbeats[-1].owned], [0])  # the application has a record
        self.assertEqual(self.coordinator.commits, [])
        self.assertEqual(consumer.poll(0), [])  # asks for the next: what it had is done
        self.coordinator.until(lambda: not self.coordinator.heartbeats[-1].owned)
        [commit] = self.coordinator.commits
        self.assertEqual((commit.partition, commit.epoch, commit.offset), (0, 1, 2))
        self.assertEqual(self.events, [("assigned", [0]), ("revoked", [0])])
        self.assertEqual(consumer.assignment(), [])

    def test_partitions_that_stay_are_not_disturbed(self):
        self.coordinator.assign(self.place(0), self.place(1))
        consumer = self.consumer()
        first = next(iter(consumer))
        self.coordinator.assign(self.place(first.partition))
        rest = [record for record in consumer.poll(30, 3)]
        self.assertEqual([record.partition for record in rest], [first.partition] * 3)
        self.assertEqual([record.offset for record in rest], [1, 2, 3])

    def test_a_fenced_member_tells_what_it_lost_and_joins_again(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        self.assertEqual(next(iter(consumer)).offset, 0)
        with self.assertLogs("millrace", "WARNING") as told:
            self.coordinator.refuse(error_pb2.Error(code=110, message="somebody has come instead"))
            self.coordinator.until(lambda: [each.member_epoch for each in self.coordinator.heartbeats].count(0) == 2)
        self.assertIn("somebody has come instead", told.output[0])
        joined = [each for each in self.coordinator.heartbeats if each.member_epoch == 0]
        self.assertEqual([len(each.owned) for each in joined], [0, 0])
        self.assertEqual(next(iter(consumer)).offset, 0)  # nothing was committed
        self.assertEqual(self.events, [("assigned", [0]), ("lost", [0]), ("assigned", [0])])

    def test_a_position_that_was_reset_is_a_seek(self):
        self.coordinator.assign(self.place(0, committed_offset=0))
        consumer = self.consumer()
        self.assertEqual(next(iter(consumer)).offset, 0)
        self.broker.frames = [frame(2, fetched(0, b"a", b"b", b"c", b"d"))]
        self.coordinator.assign(self.place(0, epoch=3, committed_offset=2))
        self.assertEqual(next(record for record in consumer if len(self.events) == 2).offset, 2)
        consumer.commit()
        self.assertEqual([(each.epoch, each.offset) for each in self.coordinator.commits], [(3, 3)])

    def test_a_paused_partition_whose_position_was_reset_stays_paused(self):
        self.coordinator.assign(self.place(0, committed_offset=0))
        consumer = self.consumer()
        self.assertEqual(next(iter(consumer)).offset, 0)
        consumer.pause()
        self.broker.frames = [frame(2, fetched(0, b"a", b"b", b"c", b"d"))]
        self.coordinator.assign(self.place(0, epoch=3, committed_offset=2), self.place(1, committed_offset=2))
        self.assertEqual([(each.partition, each.offset) for each in consumer.poll(30)], [(1, 2), (1, 3)])
        consumer.resume()
        self.assertEqual([(each.partition, each.offset) for each in consumer.poll(30)], [(0, 2), (0, 3)])

    def test_a_partition_that_waits_in_a_run_goes_on_where_its_position_was_reset_to(self):
        self.coordinator.assign(self.place(0, committed_offset=0))
        consumer, seen = self.consumer(), []

        def handle(record):
            seen.append(record.offset)
            if record.offset == 2:
                consumer.wakeup()
                return
            self.broker.frames = [frame(2, fetched(0, b"a", b"b", b"c", b"d"))]
            self.coordinator.assign(self.place(0, epoch=3, committed_offset=2))
            raise ValueError

        consumer.run(handle, attempts=1_000_000, backoff=0.001, backoff_max=0.001)
        self.assertEqual((set(seen), seen.count(2)), ({0, 2}, 1))

    def test_a_member_that_does_not_poll_says_why_it_lost_its_partitions(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer(max_poll_interval_ms=1_000)
        self.assertEqual(next(iter(consumer)).offset, 0)
        with self.assertLogs("millrace", "WARNING") as told:
            self.coordinator.until(lambda: self.coordinator.heartbeats[-1].member_epoch == -1)
            self.assertEqual(next(iter(consumer)).offset, 0)
        self.assertEqual(self.events, [("assigned", [0]), ("lost", [0]), ("assigned", [0])])
        self.assertIn("raise max.poll.interval.ms", told.output[0])

    def test_an_error_that_ends_the_membership_is_raised(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        next(iter(consumer))
        self.coordinator.refuse(error_pb2.Error(code=82, message="another member has come with this instance id"))
        with self.assertRaises(millrace.MillraceError) as raised:
            while True:
                consumer.poll(30, 1)
        self.assertEqual(raised.exception.code, ErrorCode.FENCED_INSTANCE_ID)
        for ask in (lambda: consumer.poll(30), lambda: next(iter(consumer))):  # as often as it is asked
            with self.assertRaises(millrace.MillraceError) as again:
                ask()
            self.assertEqual(str(again.exception), str(raised.exception))
        consumer.subscribe("t")
        self.assertEqual(next(iter(consumer)).offset, 0)

    def test_an_error_of_a_membership_that_was_left_is_not_the_next_ones(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        next(iter(consumer))
        with self.assertLogs("millrace", "WARNING"):
            self.coordinator.refuse(error_pb2.Error(code=82, message="another member has come with this instance id"))
            consumer._opened.inbox.get()  # it is among the news, and nobody has asked
            consumer._opened.inbox.get()
        consumer.subscribe("t")
        self.assertEqual(next(iter(consumer)).offset, 0)

    def test_commit_includes_the_record_in_hand(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer(enable_auto_commit=False)
        for record in consumer:
            consumer.commit()
            if record.offset == 2:
                break
        self.assertEqual([each.offset for each in self.coordinator.commits], [1, 2, 3])

    def test_what_commit_included_stays_committed(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer(auto_commit_interval_ms=20)
        self.assertEqual(next(iter(consumer)).offset, 0)
        consumer.commit_async()
        consumer.close()
        self.assertEqual({each.offset for each in self.coordinator.commits}, {1})

    def test_commit_includes_all_that_poll_gave(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer(enable_auto_commit=False)
        self.assertEqual(len(consumer.poll(30, 3)), 3)
        consumer.commit()
        self.assertEqual([each.offset for each in self.coordinator.commits], [3])

    def test_commit_of_one_record_leaves_those_behind_it_out(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        records = consumer.poll(30, 3)
        consumer.commit(records[0])
        consumer.close()
        self.assertEqual([each.offset for each in self.coordinator.commits], [1])

    def test_a_handler_that_is_tried_again_commits_its_own_record_and_no_other(self):
        self.coordinator.assign(self.place(0), self.place(1))
        consumer, failed = self.consumer(enable_auto_commit=False), []

        def handle(record):
            if not failed:
                failed.append(record)
                raise ValueError
            consumer.commit()
            consumer.wakeup()

        consumer.run(handle, backoff=0)
        self.assertEqual([(each.partition, each.offset) for each in self.coordinator.commits], [(failed[0].partition, 1)])

    def test_leaving_commits_and_says_so(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        self.assertEqual([record.offset for record in consumer.poll(30, 2)], [0, 1])
        self.assertEqual([record.offset for record in consumer.poll(30, 1)], [2])
        consumer.close()
        self.assertEqual([each.offset for each in self.coordinator.commits], [2])  # the last was not asked past
        self.assertEqual(self.coordinator.heartbeats[-1].member_epoch, -1)

    def test_automatic_commits_leave_out_the_record_in_hand(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer(auto_commit_interval_ms=20)
        for record in consumer:
            if record.offset == 2:
                self.coordinator.until(lambda: self.coordinator.commits and self.coordinator.commits[-1].offset == 2)
                break
        self.assertEqual(self.coordinator.commits[-1].offset, 2)
        consumer.commit(record)
        self.assertEqual(self.coordinator.commits[-1].offset, 3)
        self.assertEqual(self.coordinator.sequences, sorted(set(self.coordinator.sequences)))


if __name__ == "__main__":
    harness.main()
