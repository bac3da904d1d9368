"""Producer, consumer and admin against a real broker."""

import contextlib
import threading
import unittest
import warnings

import harness
import millrace
from harness import millrace_cli
from millrace import Assignment, ErrorCode, Gap, GapReason, Header, Position, TopicPartition
from millrace._core import codecs


class Stop(BaseException):
    """What no run() retries."""


class Producing(harness.BrokerTest):
    def test_five_lines(self):
        topic = self.topic()
        with millrace.connect(self.broker.address) as m:
            m.declare(topic, partitions=4)
            m.send(topic, "2 tickets", key="alice").result()
            records = list(m.consume(topic, until=Position.end()))
        self.assertEqual([(record.key, record.value) for record in records], [(b"alice", b"2 tickets")])

    def test_records_come_back_as_they_were_sent(self):
        topic = self.topic()
        producer = self.producer()
        sent = [(b"k", b"v", (Header("trace", b"\x00"), Header("trace", None)), 1_372_636_800_000), (b"", b"", (), 1), (None, None, (), 5)]
        acks = [producer.send(topic, value, key=key, headers=headers, timestamp=time) for key, value, headers, time in sent]
        acks = [ack.result() for ack in acks]
        self.assertEqual([ack.offset for ack in acks], [0, 1, 2])
        self.assertEqual(acks[0].durability, millrace.Durability.QUORUM_DISK)
        records = self.read_all(topic)
        self.assertEqual([(each.key, each.value, each.headers, each.timestamp) for each in records], sent)
        self.assertEqual([each.append_time for each in records], [ack.append_time for ack in acks])

    def test_keys_go_where_kafka_puts_them_and_stay_in_order(self):
        topic = self.topic(partitions=5)
        with self.producer(linger_ms=5) as producer:
            for i in range(2_000):
                producer.send(topic, str(i), key=f"key-{i % 50}")
        records = self.read_all(topic)
        self.assertEqual(len(records), 2_000)
        last = {}
        for record in records:
            self.assertEqual(record.partition, millrace.partitioner.partition_of(record.key, 5))
            self.assertLess(last.get(record.key, -1), int(record.value))
            last[record.key] = int(record.value)

    def test_records_without_key_are_spread(self):
        topic = self.topic(partitions=3)
        with self.producer(batch_size=1024) as producer:
            for _ in range(300):
                producer.send(topic, b"x" * 100)
        self.assertEqual({record.partition for record in self.read_all(topic)}, {0, 1, 2})

    def test_a_name_fences_who_had_it_before(self):
        topic = self.topic(partitions=2)
        earlier = self.producer(producer_name=topic)
        earlier.send(topic, "a", partition=0).result()
        later = self.producer(producer_name=topic)
        later.send(topic, "b", partition=0).result()
        for partition in (0, 1):
            with self.assertRaises(millrace.MillraceError) as caught:
                earlier.send(topic, "late", partition=partition).result()
            self.assertEqual(caught.exception.code, ErrorCode.INVALID_PRODUCER_EPOCH)
        self.raises(ErrorCode.INVALID_PRODUCER_EPOCH, earlier.flush)
        later.send(topic, "c", partition=1).result()
        self.assertEqual(sorted(record.value for record in self.read_all(topic)), [b"a", b"b", b"c"])
        with self.assertRaises(millrace.MillraceError) as caught:
            self.producer(producer_name="n", acks="none")
        self.assertEqual(caught.exception.code, ErrorCode.INVALID_CONFIG)

    def test_each_level_of_acks(self):
        for acks in ("none", "leader", "quorum"):
            topic = self.topic()
            with self.producer(acks=acks) as producer:
                offset = producer.send(topic, b"v").result().offset
            self.assertEqual(offset, -1 if acks == "none" else 0)
            if acks != "none":
                self.assertEqual(len(self.read_all(topic)), 1)

    def test_many_threads_share_a_producer(self):
        topic = self.topic(partitions=2)
        producer = self.producer()

        def send(name):
            for i in range(500):
                producer.send(topic, f"{i}", key=name)

        threads = [threading.Thread(target=send, args=(f"thread-{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.flush()
        values = {}
        for record in self.read_all(topic):
            values.setdefault(record.key, []).append(int(record.value))
        self.assertEqual(list(values.values()), [list(range(500))] * 4)

    def test_callbacks_are_told_and_must_not_wait(self):
        topic = self.topic()
        producer = self.producer()
        told = threading.Event()
        seen = []

        def done(delivery):
            seen.append(delivery.result().offset)
            try:
                producer.flush()
            except millrace.MillraceError as error:
                seen.append(error.code)
            told.set()

        producer.send(topic, b"v").add_done_callback(done)
        told.wait()
        self.assertEqual(seen, [0, ErrorCode.INVALID_REQUEST])

    def test_a_callback_that_raises_stops_nothing(self):
        topic = self.topic()
        producer = self.producer()

        def fail(_):
            raise ValueError("the application's")

        with self.assertLogs("millrace", "ERROR"):
            for _ in range(20):
                delivery = producer.send(topic, b"v")
                delivery.add_done_callback(fail)
            producer.flush()
        self.assertEqual(producer.send(topic, b"v").result().offset, 20)

    def test_a_full_buffer_makes_send_wait(self):
        topic = self.topic()
        with self.producer(buffer_memory=4096, batch_size=1024) as producer:
            for _ in range(200):
                producer.send(topic, b"x" * 500)
        self.assertEqual(len(self.read_all(topic)), 200)

    def test_records_may_be_larger_than_batches(self):
        topic = self.topic()
        sizes = [10, 500_000, 10, 300_000, 1_000_000, 5]
        with self.producer() as producer:
            for size in sizes:
                producer.send(topic, b"x" * size, headers=[("h", b"y" * size)] if size < 400_000 else [])
        self.assertEqual([len(record.value) for record in self.read_all(topic)], sizes)

    def test_a_topic_that_was_made_anew_is_found_again(self):
        topic = self.topic()
        producer = millrace.Producer(self.broker.address)
        producer.send(topic, b"old").result()
        self.admin.delete_topic(topic)
        self.admin.create_topic(topic)
        while True:
            try:
                producer.send(topic, b"new").result()
                break
            except millrace.MillraceError as error:
                self.assertIn(error.code, (ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
        with contextlib.suppress(millrace.MillraceError):  # of those that came between
            producer.close()
        self.assertEqual({record.value for record in self.read_all(topic)}, {b"new"})

    def test_errors_say_what_to_do(self):
        producer = self.producer()
        error = self.raises(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, producer.send, "no.such.topic", b"v")
        self.assertIn("topic create", error.message)
        self.assertEqual(error.topic, "no.such.topic")
        topic = self.topic(max_message_bytes=2000)
        error = self.raises(ErrorCode.MESSAGE_TOO_LARGE, producer.send, topic, b"x" * 3000)
        self.assertGreater(error.size, error.limit)
        self.raises(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, producer.send, topic, b"v", partition=1)
        self.raises(ErrorCode.INVALID_REQUEST, producer.send, topic, 5)
        self.raises(ErrorCode.INVALID_TIMESTAMP, producer.send, topic, b"v", timestamp=-1)
        failed = producer.send(topic, b"v", timestamp=1 << 60)
        self.raises(ErrorCode.INVALID_TIMESTAMP, failed.result)
        self.raises(ErrorCode.INVALID_TIMESTAMP, producer.flush)
        self.assertEqual(producer.send(topic, b"fits").result().offset, 0)  # a refused batch leaves its sequence to the next
        producer.close()
        self.raises(ErrorCode.INVALID_REQUEST, producer.send, topic, b"v")

    def test_an_address_where_nobody_listens_is_told(self):
        with self.assertRaises(millrace.MillraceError) as raised:
            millrace.Admin("127.0.0.1:1", connect_timeout_ms=100).list_topics()
        self.assertEqual((raised.exception.code, raised.exception.address), (ErrorCode.NETWORK_EXCEPTION, "127.0.0.1:1"))
        producer = millrace.Producer("127.0.0.1:1", max_block_ms=200)
        self.raises(ErrorCode.REQUEST_TIMED_OUT, producer.send, "t", b"v")


class Consuming(harness.BrokerTest):
    def fill(self, count, partitions=1, **config):
        topic = self.topic(partitions=partitions, **config)
        with self.producer(batch_size=1024) as producer:
            for i in range(count):
                producer.send(topic, str(i), partition=i % partitions, timestamp=1_000_000 + i)
        return topic

    def values(self, topic, start=None, until=Position.end()):
        consumer = self.consumer()
        consumer.assign([Assignment(topic, 0, start, until)])
        return [int(record.value) for record in consumer]

    def test_positions(self):
        topic = self.fill(100)
        self.assertEqual(self.values(topic), list(range(100)))
        self.assertEqual(self.values(topic, Position.offset(37)), list(range(37, 100)))
        self.assertEqual(self.values(topic, Position.time(1_000_042)), list(range(42, 100)))
        self.assertEqual(self.values(topic, Position.before_end(3)), [97, 98, 99])
        self.assertEqual(self.values(topic, Position.end()), [])
        self.assertEqual(self.values(topic, until=Position.offset(5)), list(range(5)))

    def test_latest_sees_what_comes_after_it_began(self):
        topic = self.fill(10)
        consumer = self.consumer(auto_offset_reset="latest")
        consumer.assign([topic])
        producer = self.producer()
        while consumer.position(TopicPartition(topic, 0)) < 0:  # it has begun when something has come
            producer.send(topic, b"new").result()
            records = consumer.poll(0.05)
            self.assertTrue(all(record.value == b"new" for record in records))

    def test_seek_pause_and_resume(self):
        topic = self.fill(100, partitions=2)
        consumer = self.consumer()
        consumer.assign([topic])
        zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
        consumer.pause([one])
        seen = []
        for record in consumer:
            seen.append(int(record.value))
            if len(seen) == 10:
                consumer.seek(zero, 40)
            if len(seen) == 20:
                break
        self.assertEqual(seen, [*range(0, 20, 2), *range(80, 100, 2)])
        self.assertEqual(consumer.poll(0), [])
        consumer.pause([zero])
        consumer.resume([one])
        records = []
        while len(records) < 50:
            records += consumer.poll()
        self.assertEqual([int(record.value) for record in records], list(range(1, 100, 2)))
        self.assertEqual(consumer.lag(one), 50 - consumer.position(one))

    def test_new_partitions_of_a_topic_are_read_too(self):
        topic = self.fill(1)
        consumer = self.consumer(metadata_max_age_ms=50)
        consumer.assign([topic])
        self.assertEqual(next(iter(consumer)).partition, 0)
        self.admin.add_partitions(topic, 2)
        with self.producer() as producer:
            producer.send(topic, b"later", partition=1)
        self.assertEqual(next(iter(consumer)).value, b"later")

    def test_wakeup_ends_an_iteration(self):
        consumer = self.consumer()
        consumer.assign([self.topic()])
        threading.Timer(0.05, consumer.wakeup).start()
        self.assertEqual(list(consumer), [])

    def test_what_retention_took_is_an_error_or_a_gap(self):
        topic = self.fill(100)
        first = self.admin.trim(TopicPartition(topic, 0), 50)
        self.assertEqual(first, 50)
        consumer = self.consumer()
        consumer.assign([Assignment(topic, 0, Position.offset(10))])
        error = self.raises(ErrorCode.OFFSET_OUT_OF_RANGE, consumer.poll, 10)
        self.assertEqual((error.log_start_offset, error.high_watermark), (50, 100))
        consumer.seek(TopicPartition(topic, 0), error.log_start_offset)
        self.assertEqual(next(iter(consumer)).offset, 50)

        gaps = []
        consumer = self.consumer(on_missing=gaps.append, on_gap="report")
        consumer.assign([Assignment(topic, 0, Position.offset(10), Position.end())])
        self.assertEqual([record.offset for record in consumer], list(range(50, 100)))
        self.assertEqual(gaps, [Gap(topic, 0, 10, 50, GapReason.RETENTION)])
        self.assertEqual(consumer.gap_records, 40)

    def test_log_append_time(self):
        topic = self.fill(3, message_timestamp_type="LogAppendTime")
        for record in self.read_all(topic):
            self.assertEqual(record.timestamp, record.append_time)

    def test_errors(self):
        consumer = self.consumer()
        self.raises(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, consumer.assign, ["no.such.topic"])
        self.raises(ErrorCode.INVALID_REQUEST, consumer.poll, 0)
        self.raises(ErrorCode.INVALID_REQUEST, consumer.subscribe, ["t"])
        self.raises(ErrorCode.INVALID_REQUEST, consumer.commit)
        for nothing in ([], "", [""]):
            error = self.raises(ErrorCode.INVALID_REQUEST, self.consumer(group_id="g").subscribe, nothing)
            self.assertIn("neither a topic nor a pattern", error.message)
        topic = self.topic()
        consumer.assign([topic])
        self.raises(ErrorCode.INVALID_REQUEST, consumer.seek, TopicPartition(topic, 9), 0)
        self.admin.delete_topic(topic)
        self.raises(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, consumer.poll, 10)

    def test_compressed_topics_are_read_without_the_extra(self):
        for codec in ("lz4", "zstd"):
            topic = self.topic()
            lines = "".join(f"line {i} {'x' * 50}\n" for i in range(500))
            millrace_cli("produce", topic, "--address", self.broker.address, "-z", codec, text=lines)
            with self.producer() as producer:
                producer.send(topic, b"plain")
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                values = [record.value.decode() for record in self.read_all(topic)]
            self.assertEqual(values, [*lines.splitlines(), "plain"])
            self.assertEqual(["millrace[fast]" in str(each.message) for each in told], [] if codecs.can_read(codecs.LZ4) else [True])

    def test_run_retries_buries_and_lets_others_go_on(self):
        topic, dead = self.topic(partitions=2), self.topic()
        with self.producer() as producer:
            for number in range(6):
                producer.send(topic, str(number), key=b"k", headers=[("trace", b"t")], partition=number % 2)
        seen = []

        def handle(record):
            seen.append(int(record.value))
            if record.value == b"2":
                raise ValueError("poison")

        consumer = self.consumer()
        consumer.assign([Assignment(topic, until=Position.end())])
        consumer.run(handle, attempts=3, backoff=0.05, dead_letter_topic=dead)
        self.assertEqual([number for number in seen if number % 2], [1, 3, 5])
        self.assertEqual([number for number in seen if number % 2 == 0], [0, 2, 2, 2, 4])
        [buried] = self.read_all(dead)
        self.assertEqual((buried.key, buried.value), (b"k", b"2"))
        self.assertEqual(dict(buried.headers), {
            "trace": b"t", "millrace.origin.topic": topic.encode(), "millrace.origin.partition": b"0", "millrace.origin.offset": b"1",
            "millrace.error": b"ValueError: poison", "millrace.attempts": b"3"})

    def test_run_needs_its_dead_letter_topic_from_the_beginning(self):
        consumer = self.consumer()
        consumer.assign([self.topic()])
        error = self.raises(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, consumer.run, print, dead_letter_topic="no.such.topic")
        self.assertIn("topic create no.such.topic", error.message)

    def run_twice(self, end):
        """What the second run() handles, after the first one has ended by what end(consumer) does about the record 1, while the record 0
        waits for its next attempt."""
        topic = self.fill(6, partitions=2)
        one = TopicPartition(topic, 1)
        consumer = self.consumer()
        consumer.assign([Assignment(topic, until=Position.end())])
        consumer.pause([one])

        def handle(record):
            if record.value == b"0":
                consumer.resume([one])
                raise ValueError
            end(consumer)

        handled = []
        with contextlib.suppress(Stop):
            consumer.run(handle, backoff=1e6, backoff_max=1e6)
        consumer.run(lambda record: handled.append(int(record.value)))
        return sorted(handled)

    def test_a_run_that_is_woken_leaves_no_partition_waiting(self):
        self.assertEqual(self.run_twice(lambda consumer: consumer.wakeup()), [0, 2, 3, 4, 5])

    def test_a_run_that_fails_leaves_no_partition_waiting(self):
        def end(_):
            raise Stop

        self.assertEqual(self.run_twice(end), [0, 1, 2, 3, 4, 5])  # 1 was not handled

    def test_a_run_that_fails_leaves_all_that_were_due_to_the_next(self):
        topic = self.fill(6, partitions=3)
        consumer, failed, handled = self.consumer(), set(), []
        consumer.assign([Assignment(topic, until=Position.end())])

        def handle(record):
            if len(failed) == 3:
                raise Stop
            failed.add(record.partition)
            raise ValueError

        with self.assertRaises(Stop):
            consumer.run(handle, attempts=1_000_000, backoff=0.001, backoff_max=0.001)
        consumer.run(lambda record: handled.append(int(record.value)))
        self.assertEqual(sorted(handled), [0, 1, 2, 3, 4, 5])


class Administration(harness.BrokerTest):
    def test_topics(self):
        topic = self.topic(partitions=3, retention_ms="7d")
        self.assertIn(topic, [each.name for each in self.admin.list_topics()])
        self.raises(ErrorCode.TOPIC_ALREADY_EXISTS, self.admin.create_topic, topic)
        self.assertEqual(self.admin.create_topic(topic, if_not_exists=True).partitions, 3)
        self.admin.alter_topic(topic, config={"retention.ms": "1h"})
        described = self.admin.describe_topic(topic)
        self.assertEqual((described.config["retention.ms"], len(described.partitions)), ("3600000", 3))
        self.admin.add_partitions(topic, 4)
        self.assertEqual([(each.partition, each.latest) for each in self.admin.offsets(topic)], [(i, 0) for i in range(4)])
        self.admin.delete_topic(topic)
        self.raises(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, self.admin.describe_topic, topic)

    def test_cluster(self):
        [broker] = self.admin.describe_cluster().brokers
        self.assertEqual(broker.address, self.broker.address)


if __name__ == "__main__":
    harness.main()
