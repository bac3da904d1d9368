#!/usr/bin/env python3
"""A client as someone would write it in Python: the stubs that protoc generates, default channel options, nothing of ours.

    python_client.py --stubs DIR --address HOST:PORT [unittest's arguments]

--stubs: where protoc put the generated modules. Topics are named after their test; any broker without them will do.
"""

import argparse
import queue
import sys
import unittest

import grpc

ARGUMENTS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ARGUMENTS.add_argument("--stubs", required=True)
ARGUMENTS.add_argument("--address", required=True)
OPTIONS, UNITTEST_ARGUMENTS = ARGUMENTS.parse_known_args()
sys.path.insert(0, OPTIONS.stubs)

# pylint: disable=wrong-import-position
from google.protobuf import descriptor_pb2
from health.v1 import health_pb2, health_pb2_grpc
from millrace.v1 import admin_pb2, admin_pb2_grpc, broker_pb2, broker_pb2_grpc, error_pb2, record_pb2
from reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

MIB = 1 << 20
TIMEOUT_S = 60  # of a call; nothing here waits for it to pass


def crc32c(data):
    """CRC-32C bit by bit from its definition; slow, for small batches."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def batch_crc(batch):
    """The checksum of record.proto's layout."""
    layout = (("base_timestamp", 8), ("max_timestamp", 8), ("record_count", 4), ("codec", 4), ("payload_format", 4),
              ("producer_epoch", 4), ("producer_id", 8), ("base_sequence", 4), ("schema_id", 4), ("ttl_ms", 8),
              ("deliver_at", 8), ("transaction_id", 8), ("uncompressed_bytes", 8))
    header = b"".join(getattr(batch, name).to_bytes(size, "little", signed=True) for name, size in layout)
    assert len(header) == 80
    return crc32c(header + batch.payload)


def murmur2(data):
    """MurmurHash2 as Kafka's clients have it."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def records_of(*values, key=None):
    return record_pb2.Records(records=[record_pb2.Record(key=key, value=value) for value in values])


def batch_of(*values, base_timestamp=1_700_000_000_000):
    return record_pb2.RecordBatch(base_timestamp=base_timestamp, max_timestamp=base_timestamp, record_count=len(values),
                                  payload=records_of(*values).SerializeToString())


def values_in(batch):
    return [record.value for record in record_pb2.Records.FromString(batch.payload).records]


class Conversation:
    """A bidirectional stream: send() a message, next() one that came."""

    def __init__(self, method):
        self._requests = queue.SimpleQueue()
        self._call = method(iter(self._requests.get, None), timeout=TIMEOUT_S)

    def send(self, request):
        self._requests.put(request)

    def next(self):
        return next(self._call)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._requests.put(None)
        self._call.cancel()


class FetchConversation(Conversation):
    """Subscriptions that are told apart by their id; keeps what came for those not asked about."""

    def __init__(self, broker, max_reply_bytes=0):
        super().__init__(broker.Fetch)
        self._frames = []
        self.bytes_max = 0
        self.send(broker_pb2.FetchRequest(max_reply_bytes=max_reply_bytes))

    def subscribe(self, subscription_id, topic, partition=0, credit=0, **position):
        self.send(broker_pb2.FetchRequest(credit=credit, subscribe=[broker_pb2.FetchSubscription(
            id=subscription_id, topic=topic, partition=partition, **position)]))

    def frame(self, subscription_id):
        """The next frame of a subscription."""
        while True:
            for i, frame in enumerate(self._frames):
                if frame.subscription == subscription_id:
                    return self._frames.pop(i)
            self._receive()

    def batches(self, subscription_id, count):
        """The subscription's next `count` batches."""
        found = []
        while len(found) < count:
            frame = self.frame(subscription_id)
            if frame.HasField("error"):
                raise AssertionError(f"subscription ended: {frame.error}")
            found += frame.batches
        return found

    def ping(self, number):
        """Sends a ping; returns the frames that came before its answer."""
        self.send(broker_pb2.FetchRequest(ping=number))
        while self._receive() != number:
            pass
        frames, self._frames = self._frames, []
        return frames

    def _receive(self):
        response = self.next()
        self.bytes_max = max(self.bytes_max, response.ByteSize())
        self._frames += response.partitions
        return response.ping


class PythonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.channel = grpc.insecure_channel(OPTIONS.address)
        cls.admin = admin_pb2_grpc.AdminStub(cls.channel)
        cls.broker = broker_pb2_grpc.BrokerStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()

    def create(self, partitions=1, **config):
        """A topic named after the test."""
        name = "python." + self._testMethodName
        created = self.admin.CreateTopic(admin_pb2.CreateTopicRequest(
            name=name, partitions=partitions, config={key.replace("_", "."): str(value) for key, value in config.items()}))
        self.assertTrue(created.created)
        self.assertEqual(created.partitions, partitions)
        return name

    def produce(self, topic, *batches):
        """Sends each batch in a message of its own; returns the acks in the batches' order."""
        with Conversation(self.broker.Produce) as stream:
            for i, batch in enumerate(batches):
                stream.send(broker_pb2.ProduceRequest(batches=[broker_pb2.PartitionBatch(id=i + 1, topic=topic, batch=batch)]))
            acks = {}
            while len(acks) < len(batches):
                acks.update((ack.id, ack) for ack in stream.next().acks)
        return [acks[i + 1] for i in range(len(batches))]

    def failure(self, method, request):
        """The Error of a call that has to fail."""
        with self.assertRaises(grpc.RpcError) as raised:
            method(request, timeout=TIMEOUT_S)
        metadata = dict(raised.exception.trailing_metadata())
        self.assertIn("millrace-error-bin", metadata, raised.exception)
        error = error_pb2.Error.FromString(metadata["millrace-error-bin"])
        self.assertTrue(raised.exception.details().startswith(error_pb2.Error.Code.Name(error.code)), raised.exception)
        return error

    def test_append_read_and_tail(self):
        topic = self.create()
        sent = [
            broker_pb2.PlainRecord(key=b"k", value=b"first", timestamp=1_372_636_800_000,
                                   headers=[record_pb2.Header(key="trace", value=b"\x00\xff"), record_pb2.Header(key="trace")]),
            broker_pb2.PlainRecord(key=b"", value=b"", timestamp=1),
            broker_pb2.PlainRecord(timestamp=2),
        ]
        appended = self.broker.Append(broker_pb2.AppendRequest(topic=topic, partition=0, records=sent))
        self.assertEqual((appended.partition, appended.base_offset, appended.high_watermark), (0, 0, 3))
        self.assertEqual(appended.durability, broker_pb2.DURABILITY_QUORUM_DISK)

        read = self.broker.Read(broker_pb2.ReadRequest(topic=topic, offset=0))
        self.assertEqual([record.offset for record in read.records], [0, 1, 2])
        self.assertEqual((read.next_offset, read.high_watermark, read.log_start_offset), (3, 3, 0))
        for record in read.records:
            self.assertEqual(record.append_time, appended.append_time)
            for field in ("offset", "append_time", "leader_epoch"):
                record.ClearField(field)
        self.assertEqual(list(read.records), sent)  # null and empty are told apart

        self.assertFalse(self.broker.Read(broker_pb2.ReadRequest(topic=topic, offset=3)).records)
        tail = self.broker.Tail(broker_pb2.TailRequest(topic=topic, offset=2), timeout=TIMEOUT_S)
        values = [record.value for record in next(tail).records]
        self.assertEqual(values, [b""])
        self.broker.Append(broker_pb2.AppendRequest(topic=topic, records=[broker_pb2.PlainRecord(value=b"later")]))
        while b"later" not in values:
            values += [record.value for record in next(tail).records]
        self.assertEqual(values, [b"", b"later"])
        tail.cancel()

    def test_append_places_keys_as_kafka_does(self):
        topic = self.create(partitions=7)
        for key in (b"", b"N14228", b"21", b"\xff\xfe\xfd\xfc\xfb", "schlüssel".encode()):
            appended = self.broker.Append(broker_pb2.AppendRequest(
                topic=topic, records=[broker_pb2.PlainRecord(key=key, value=key)]))
            self.assertEqual(appended.partition, (murmur2(key) & 0x7FFFFFFF) % 7, key)

    def test_produce_with_and_without_checksum_and_fetch(self):
        topic = self.create()
        plain = batch_of(b"one", b"two", b"three")
        checked = batch_of(b"four", b"five")
        checked.crc32c = batch_crc(checked)
        damaged = batch_of(b"bad")
        damaged.crc32c = batch_crc(damaged) ^ 1
        miscounted = batch_of(b"a", b"b")
        miscounted.record_count = 3
        first, second, bad_crc, bad_count, last = self.produce(topic, plain, checked, damaged, miscounted, batch_of(b"six"))

        self.assertEqual((first.base_offset, second.base_offset, last.base_offset), (0, 3, 5))
        self.assertEqual((first.crc_computed, second.crc_computed), (True, False))
        self.assertEqual(first.durability, broker_pb2.DURABILITY_QUORUM_DISK)
        for ack in (bad_crc, bad_count):
            self.assertEqual(ack.error.code, error_pb2.Error.CORRUPT_MESSAGE)
            self.assertEqual(ack.error.topic, topic)
            self.assertFalse(ack.error.may_have_happened)

        with FetchConversation(self.broker) as fetch:
            fetch.subscribe(1, topic, offset=0, credit=1_000_000)
            fetched = fetch.batches(1, 3)
        self.assertEqual([batch.base_offset for batch in fetched], [0, 3, 5])
        self.assertEqual(fetched[1].batch.SerializeToString(), checked.SerializeToString())
        plain.crc32c = batch_crc(plain)  # what the broker added
        self.assertEqual(fetched[0].batch, plain)
        self.assertEqual(sum((values_in(batch.batch) for batch in fetched), []),
                         [b"one", b"two", b"three", b"four", b"five", b"six"])

    def test_fetch_goes_by_credit(self):
        topic = self.create()
        self.produce(topic, *[batch_of(b"%d" % i, bytes(1000)) for i in range(10)])
        with FetchConversation(self.broker) as fetch:
            fetch.subscribe(1, topic, offset=0)
            self.assertEqual(sum(len(frame.batches) for frame in fetch.ping(1)), 0, "no credit, no batch")
            fetch.send(broker_pb2.FetchRequest(credit=1))
            self.assertEqual([batch.base_offset for batch in fetch.batches(1, 1)], [0], "one batch may overdraw")
            self.assertEqual(sum(len(frame.batches) for frame in fetch.ping(2)), 0, "and no other follows")
            fetch.send(broker_pb2.FetchRequest(credit=100_000))
            self.assertEqual([batch.base_offset for batch in fetch.batches(1, 9)], list(range(2, 20, 2)))

    def test_fetch_seeks_and_stops_by_subscription(self):
        topic = self.create()
        for i in range(5):
            self.produce(topic, batch_of(b"%d" % i, base_timestamp=1000 * (i + 1)))
        with FetchConversation(self.broker) as fetch:
            fetch.subscribe(1, topic, offset=0, credit=1_000_000)
            fetch.batches(1, 5)
            fetch.send(broker_pb2.FetchRequest(unsubscribe=[1]))
            fetch.subscribe(2, topic, timestamp=2500)
            frame = fetch.frame(2)
            self.assertEqual((frame.start_offset, frame.HasField("start_offset")), (2, True))
            fetch.subscribe(3, topic, records_before_end=1)
            self.assertEqual(fetch.batches(3, 1)[0].base_offset, 4)
            fetch.subscribe(4, topic, spec=broker_pb2.OFFSET_SPEC_LATEST)
            self.assertEqual(fetch.frame(4).start_offset, 5)
            fetch.subscribe(5, topic, offset=1, end_offset=3)
            offsets, ended = [], False
            while not ended:
                frame = fetch.frame(5)
                offsets += [batch.base_offset for batch in frame.batches]
                ended = frame.end_reached
            self.assertEqual(offsets, [1, 2])

    def test_fetch_errors_end_a_subscription_and_not_the_stream(self):
        topic = self.create()
        self.produce(topic, batch_of(b"here"))
        with FetchConversation(self.broker) as fetch:
            fetch.subscribe(1, "python.no-such-topic", offset=0, credit=1_000_000)
            self.assertEqual(fetch.frame(1).error.code, error_pb2.Error.UNKNOWN_TOPIC_OR_PARTITION)
            fetch.subscribe(2, topic, offset=100)
            error = fetch.frame(2).error
            self.assertEqual(error.code, error_pb2.Error.OFFSET_OUT_OF_RANGE)
            self.assertEqual((error.log_start_offset, error.high_watermark, error.HasField("log_start_offset")), (0, 1, True))
            fetch.subscribe(3, topic, offset=0)
            self.assertEqual(values_in(fetch.batches(3, 1)[0].batch), [b"here"])

    def test_offsets_by_time(self):
        topic = self.create()
        for i in range(3):
            self.produce(topic, batch_of(b"%d" % i, base_timestamp=1000 * (i + 1)))
        queries = [{"spec": broker_pb2.OFFSET_SPEC_EARLIEST}, {"spec": broker_pb2.OFFSET_SPEC_LATEST}, {"timestamp": 1500},
                   {"timestamp": 9999}]
        results = self.broker.ListOffsets(broker_pb2.ListOffsetsRequest(
            queries=[broker_pb2.OffsetQuery(topic=topic, **query) for query in queries])).results
        self.assertEqual([result.offset for result in results], [0, 3, 1, 3])

    def test_large_records_with_default_options(self):
        topic = self.create(max_message_bytes=4 * MIB)
        values = [bytes([i]) * (3 * MIB) for i in range(3)]
        acks = self.produce(topic, *[batch_of(value) for value in values[:2]])
        self.assertEqual([ack.base_offset for ack in acks], [0, 1])
        self.broker.Append(broker_pb2.AppendRequest(topic=topic, records=[broker_pb2.PlainRecord(value=values[2])]))

        read, offset = [], 0
        while offset < 3:
            reply = self.broker.Read(broker_pb2.ReadRequest(topic=topic, offset=offset))
            self.assertLessEqual(reply.ByteSize(), 4_000_000)
            read += [record.value for record in reply.records]
            offset = reply.next_offset
        self.assertTrue(read == values)

        tail = self.broker.Tail(broker_pb2.TailRequest(topic=topic, offset=0), timeout=TIMEOUT_S)
        tailed = []
        while len(tailed) < 3:
            tailed += [record.value for record in next(tail).records]
        tail.cancel()
        self.assertTrue(tailed == values)

        with FetchConversation(self.broker) as fetch:
            fetch.subscribe(1, topic, offset=0, credit=100_000_000)
            fetched = sum((values_in(batch.batch) for batch in fetch.batches(1, 3)), [])
        self.assertLessEqual(fetch.bytes_max, 4_000_000)
        self.assertTrue(fetched == values)

    def test_a_batch_over_the_topics_limit_is_told_so(self):
        topic = self.create()
        ack, after = self.produce(topic, batch_of(bytes(3 * MIB // 2)), batch_of(b"small"))
        self.assertEqual(ack.error.code, error_pb2.Error.MESSAGE_TOO_LARGE)
        self.assertEqual((ack.error.topic, ack.error.limit), (topic, MIB))
        self.assertGreater(ack.error.size, 3 * MIB // 2)
        self.assertFalse(ack.error.retriable)
        self.assertEqual(after.base_offset, 0)

        error = self.failure(self.broker.Append, broker_pb2.AppendRequest(
            topic=topic, records=[broker_pb2.PlainRecord(value=bytes(3 * MIB // 2))]))
        self.assertEqual((error.code, error.limit, error.topic), (error_pb2.Error.MESSAGE_TOO_LARGE, MIB, topic))

    def test_a_batch_over_the_reply_limit_names_the_option_to_raise(self):
        topic = self.create(max_message_bytes=8 * MIB)
        value = b"v" * 4_100_000
        self.assertEqual(self.produce(topic, batch_of(value))[0].error.code, error_pb2.Error.NONE)

        with FetchConversation(self.broker) as fetch:
            fetch.subscribe(1, topic, offset=0, credit=100_000_000)
            frame = fetch.frame(1)
            while not frame.HasField("error"):
                frame = fetch.frame(1)
        errors = [frame.error,
                  self.failure(self.broker.Read, broker_pb2.ReadRequest(topic=topic, offset=0)),
                  self.failure(lambda request, timeout: list(self.broker.Tail(request, timeout=timeout)),
                               broker_pb2.TailRequest(topic=topic, offset=0))]
        for error in errors:
            self.assertEqual(error.code, error_pb2.Error.REPLY_TOO_LARGE)
            self.assertIn("grpc.max_receive_message_length", error.message)
            self.assertEqual((error.topic, error.limit), (topic, 4_000_000))
            self.assertGreater(error.size, 4_000_000)

        with grpc.insecure_channel(OPTIONS.address, [("grpc.max_receive_message_length", 8 * MIB)]) as channel:
            broker = broker_pb2_grpc.BrokerStub(channel)
            reply = broker.Read(broker_pb2.ReadRequest(topic=topic, offset=0, max_reply_bytes=8 * MIB))
            self.assertTrue(reply.records[0].value == value)
            with FetchConversation(broker, max_reply_bytes=8 * MIB) as fetch:
                fetch.subscribe(1, topic, offset=0, credit=100_000_000)
                self.assertTrue(values_in(fetch.batches(1, 1)[0].batch) == [value])

    def test_failed_calls_carry_a_typed_error(self):
        error = self.failure(self.broker.Read, broker_pb2.ReadRequest(topic="python.no-such-topic"))
        self.assertEqual((error.code, error.topic), (error_pb2.Error.UNKNOWN_TOPIC_OR_PARTITION, "python.no-such-topic"))
        error = self.failure(self.admin.CreateTopic, admin_pb2.CreateTopicRequest(name="no spaces"))
        self.assertEqual(error.code, error_pb2.Error.INVALID_TOPIC_EXCEPTION)

    def test_idempotent_producers_store_a_repeat_once(self):
        topic = self.create()
        producer = self.broker.InitProducer(broker_pb2.InitProducerRequest())
        batch = batch_of(b"a", b"b")
        batch.producer_id, batch.producer_epoch, batch.base_sequence = producer.producer_id, producer.producer_epoch, 0
        first, repeat = self.produce(topic, batch, batch)
        self.assertEqual((first.base_offset, first.duplicate), (0, False))
        self.assertEqual((repeat.base_offset, repeat.duplicate), (0, True))
        batch.base_sequence = 7
        self.assertEqual(self.produce(topic, batch)[0].error.code, error_pb2.Error.OUT_OF_ORDER_SEQUENCE_NUMBER)

    def test_metadata_says_what_a_producer_needs(self):
        topic = self.create(partitions=3)
        metadata = self.admin.GetMetadata(admin_pb2.GetMetadataRequest(topics=[topic, "python.no-such-topic"]))
        found, missing = metadata.topics
        self.assertEqual((found.name, found.partitioner, found.max_message_bytes), (topic, 1, MIB))
        self.assertEqual([partition.partition for partition in found.partitions], [0, 1, 2])
        self.assertIn(found.partitions[0].leader, [broker.broker_id for broker in metadata.brokers])
        self.assertEqual(missing.error.code, error_pb2.Error.UNKNOWN_TOPIC_OR_PARTITION)

    def test_health(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "millrace.v1.Broker", "millrace.v1.Admin"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING, service)
        with self.assertRaises(grpc.RpcError) as raised:
            health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        watch.cancel()

    def test_reflection(self):
        with Conversation(reflection_pb2_grpc.ServerReflectionStub(self.channel).ServerReflectionInfo) as stream:
            stream.send(reflection_pb2.ServerReflectionRequest(list_services="*"))
            services = {service.name for service in stream.next().list_services_response.service}
            self.assertLessEqual({"millrace.v1.Broker", "millrace.v1.Admin", "grpc.health.v1.Health"}, services)
            stream.send(reflection_pb2.ServerReflectionRequest(file_containing_symbol="millrace.v1.Broker"))
            files = [descriptor_pb2.FileDescriptorProto.FromString(file)
                     for file in stream.next().file_descriptor_response.file_descriptor_proto]
            self.assertIn("millrace/v1/broker.proto", [file.name for file in files])
            stream.send(reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol"))
            self.assertEqual(stream.next().error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *UNITTEST_ARGUMENTS])
