"""Bytes that this client makes against those of protobuf, Kafka and the definitions; settings and errors."""

import unittest

import harness
import millrace
from millrace._core import codecs, encoding
from millrace._core.wire_errors import from_proto
from millrace.partitioner import murmur2, partition_of
from millrace.settings import ConsumerSettings, ProducerSettings, parse
from millrace.v1 import broker_pb2, error_pb2, record_pb2


def crc32c_by_definition(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Partitioner(unittest.TestCase):
    def test_hashes_are_kafkas(self):
        for text, signed in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
                             (b"a-little-bit-longer-string", -1486304829),
                             (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971), (b"abc", 479470107)):
            self.assertEqual(murmur2(text), signed & 0xFFFFFFFF, text)
            self.assertEqual(partition_of(text, 7), (signed & 0x7FFFFFFF) % 7)


class Encoding(unittest.TestCase):
    def test_records_are_those_of_protobuf(self):
        cases = [(0, None, None, ()), (0, b"", b"", ()), (5, b"k", b"v", ()), (-1, b"k", None, ()), (3_000_000_000, None, b"v", ()),
                 (2047, b"k" * 127, b"v" * 128, ()), (2048, b"k" * 2047, b"v" * 2048, ()), (1, b"k", b"v" * 100_000, ()),
                 (7, None, b"v", (("trace", b"\x00"), ("trace", None), ("text", "ö"), ("", b""))), (-2048, None, b"v" * 16_400, ())]
        payload = b"".join(encoding.encode_record(*case) for case in cases)
        expected = record_pb2.Records()
        for delta, key, value, headers in cases:
            record = expected.records.add(timestamp_delta=delta, key=key, value=value)
            for name, content in headers:
                record.headers.add(key=name, value=content.encode() if isinstance(content, str) else content)
        self.assertEqual(record_pb2.Records.FromString(payload), expected)
        self.assertEqual(payload, expected.SerializeToString())

    def test_requests_are_those_of_protobuf(self):
        header = record_pb2.RecordBatch(base_timestamp=5, record_count=1, producer_id=7)
        payload = encoding.encode_record(0, b"k", b"v" * 300, ())
        batch = encoding.encode_batch(header, payload)
        place = broker_pb2.PartitionBatch(id=3, topic="t", partition=9)
        request = broker_pb2.ProduceRequest.FromString(encoding.encode_produce_request(3, 1, [(place, batch), (place, batch)]))
        header.payload = payload
        place.batch.CopyFrom(header)
        self.assertEqual(request, broker_pb2.ProduceRequest(acks=3, routing=1, batches=[place, place]))

    def test_checksum_is_that_of_record_proto(self):
        before, codecs.crc32c = codecs.crc32c, crc32c_by_definition
        try:
            header = record_pb2.RecordBatch(base_timestamp=1, max_timestamp=-1, record_count=2, producer_id=1 << 40, base_sequence=3)
            layout = ((1, 8), (-1, 8), (2, 4), (0, 4), (0, 4), (0, 4), (1 << 40, 8), (3, 4), (0, 4), (0, 8), (0, 8), (0, 8), (0, 8))
            plain = b"".join(number.to_bytes(size, "little", signed=True) for number, size in layout) + b"payload"
            self.assertEqual(crc32c_by_definition(b"123456789"), 0xE3069283)
            self.assertEqual(encoding.batch_crc(header, b"payload"), crc32c_by_definition(plain))
            batch = record_pb2.RecordBatch.FromString(encoding.encode_batch(header, b"payload"))
            self.assertEqual(batch.crc32c, crc32c_by_definition(plain))
        finally:
            codecs.crc32c = before

    def test_damage_is_told_with_its_place(self):
        def decode(**fields):
            return encoding.decode_batch("t", 2, broker_pb2.FetchedBatch(base_offset=7, batch=record_pb2.RecordBatch(**fields)), False, True)

        for fields in ({"record_count": 2, "payload": encoding.encode_record(0, None, b"v", ())}, {"record_count": 1, "payload": b"\xff"}):
            with self.assertRaises(millrace.MillraceError) as raised:
                decode(**fields)
            self.assertEqual((raised.exception.code, raised.exception.topic, raised.exception.partition),
                             (millrace.ErrorCode.CORRUPT_MESSAGE, "t", 2))
        with self.assertRaises(millrace.MillraceError) as raised:
            decode(record_count=1, payload_format=2)
        self.assertEqual(raised.exception.code, millrace.ErrorCode.UNSUPPORTED_VERSION)


class Settings(unittest.TestCase):
    def parse(self, cls=ProducerSettings, **settings):
        return parse(cls, None, settings, {})

    def test_defaults_are_those_of_the_other_clients(self):
        producer, consumer = self.parse(), self.parse(ConsumerSettings)
        self.assertEqual((producer.acks, producer.enable_idempotence, producer.linger_ms, producer.batch_size, producer.compression_type,
                          producer.buffer_memory, producer.delivery_timeout_ms), (3, True, 0, 256 << 10, 0, 64 << 20, 120_000))
        self.assertEqual((consumer.auto_offset_reset, consumer.session_timeout_ms, consumer.max_poll_interval_ms,
                          consumer.auto_commit_interval_ms), ("earliest", 10_000, 300_000, 5_000))

    def test_values_have_units(self):
        made = parse(ProducerSettings, "h", {"linger.ms": "2s", "batch.size": "64KiB", "acks": "all"}, {"delivery_timeout_ms": 7})
        self.assertEqual((made.linger_ms, made.batch_size, made.acks, made.delivery_timeout_ms), (2000, 65536, 3, 7))
        self.assertEqual(made.addresses(), ["h:9470"])
        self.assertEqual(self.parse(ConsumerSettings, auto_offset_reset="by_duration:1h").auto_offset_reset, "by_duration:3600000")

    def test_bad_ones_are_refused_with_what_to_do(self):
        for settings, text in (({"linger.msec": 1}, 'did you mean "linger.ms"'), ({"acks": "some"}, "expected none, leader or quorum"),
                               ({"batch.size": "12 parsecs"}, "expected bytes"), ({"batch.size": 1}, "at least"), ({"linger.ms": -1}, "milliseconds"),
                               ({"retries": 3}, "delivery.timeout.ms"), ({"min.insync.replicas": 2}, "majority"),
                               ({"heartbeat.interval.ms": 3000}, "set session.timeout.ms"),
                               ({"partition.assignment.strategy": "range"}, "set group.remote.assignor"),
                               ({"buffer.memory": "300KiB"}, "twice batch.size"), ({"bootstrap.servers": "a,,b"}, "HOST:PORT")):
            with self.assertRaises(millrace.MillraceError) as raised:
                parse(ProducerSettings, None, settings, {})
            self.assertEqual(raised.exception.code, millrace.ErrorCode.INVALID_CONFIG)
            if "at least" not in text:
                self.assertIn(text, raised.exception.message)

    def test_compression_without_its_packages_is_refused_when_it_is_used(self):
        if codecs.can_read(codecs.LZ4):
            self.skipTest("the extra is installed")
        with self.assertRaises(millrace.MillraceError) as raised:
            millrace.Producer("127.0.0.1:1", compression_type="lz4").send("t", b"v")
        self.assertIn("millrace[fast]", raised.exception.message)


class Errors(unittest.TestCase):
    def test_codes_of_later_releases_are_told_apart_by_their_flags(self):
        error = from_proto(error_pb2.Error(code=4711, message="new", retriable=True))
        self.assertEqual((error.code, error.retriable), (millrace.ErrorCode.UNKNOWN, True))
        self.assertIn("4711", error.message)

    def test_this_librarys_codes_are_the_protos(self):
        for name, number in error_pb2.Error.Code.items():
            self.assertEqual(millrace.ErrorCode[name], number)


if __name__ == "__main__":
    harness.main()
