"""What a client does when a broker or its network misbehaves, against one that a test scripts."""

import unittest

import harness
import millrace
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
        self.coordinator.refuse(error_pb2.Error(code=110, message="fenced"))
        self.coordinator.until(lambda: [each.member_epoch for each in self.coordinator.heartbeats].count(0) == 2)
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
        offsets = []
        while 2 not in offsets[1:]:
            offsets.append(next(iter(consumer)).offset)
        consumer.commit()
        self.assertNotIn(1, [each.epoch for each in self.coordinator.commits if each.offset > 2])

    def test_an_error_that_ends_the_membership_is_raised(self):
        self.coordinator.assign(self.place(0))
        consumer = self.consumer()
        next(iter(consumer))
        self.coordinator.refuse(error_pb2.Error(code=82, message="another member has come with this instance id"))
        with self.assertRaises(millrace.MillraceError) as raised:
            while True:
                consumer.poll(30, 1)
        self.assertEqual(raised.exception.code, ErrorCode.FENCED_INSTANCE_ID)

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
