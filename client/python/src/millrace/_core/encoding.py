"""Records to bytes and back: protobuf's wire format, written by hand where it is done once for each record.

    chunk = encode_record(delta, b"key", b"value", ())      # one entry of a `Records`; a payload is entries one after another
    batch = encode_batch(RecordBatch(record_count=1), payload)

A message object for each record would cost more when it is written. Reading is left to protobuf's C parser.
"""

import struct
from typing import Any, Iterable, List, Optional, Sequence, Tuple, Union

from millrace._core import codecs
from millrace.errors import ErrorCode, MillraceError, invalid_request
from millrace.record import Header, Record
from millrace.v1 import broker_pb2, record_pb2

Bytes = Union[bytes, str, bytearray, memoryview]
HeaderLike = Tuple[str, Optional[Bytes]]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_SHORT = 2048  # lengths below have their prefix at hand
_RECORD = [b"\x0a" + varint(n) for n in range(_SHORT)]
_KEY = [b"\x12" + varint(n) for n in range(_SHORT)]
_VALUE = [b"\x1a" + varint(n) for n in range(_SHORT)]
_DELTA = [b""] + [b"\x08" + varint(n << 1) for n in range(1, _SHORT)]  # 0 is left out, as protobuf does
_LAST_FIELD = b"\x7a"  # field 15, bytes: where batches, and their payloads, stand


def to_bytes(value: Bytes) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise invalid_request(f"keys, values and headers are bytes or str, not {type(value).__name__}; encode it first")


def encode_record(delta: int, key: Optional[bytes], value: Optional[bytes], headers: Sequence[HeaderLike]) -> bytes:
    body = _DELTA[delta] if 0 <= delta < _SHORT else b"\x08" + varint(delta << 1 if delta >= 0 else -delta * 2 - 1)
    if key is not None:
        n = len(key)
        body += (_KEY[n] if n < _SHORT else b"\x12" + varint(n)) + key
    if value is not None:
        n = len(value)
        body += (_VALUE[n] if n < _SHORT else b"\x1a" + varint(n)) + value
    for name, content in headers:
        header = record_pb2.Header(key=name, value=None if content is None else to_bytes(content)).SerializeToString()
        body += b"\x22" + varint(len(header)) + header
    n = len(body)
    return (_RECORD[n] if n < _SHORT else b"\x0a" + varint(n)) + body


_CRC_INPUT = struct.Struct("<qqiiiiqiiqqqq")  # RecordBatch.crc32c in record.proto
assert _CRC_INPUT.size == 80


def batch_crc(batch: record_pb2.RecordBatch, payload: bytes) -> int:
    assert codecs.crc32c is not None
    header = _CRC_INPUT.pack(
        batch.base_timestamp, batch.max_timestamp, batch.record_count, batch.codec, batch.payload_format, batch.producer_epoch,
        batch.producer_id, batch.base_sequence, batch.schema_id, batch.ttl_ms, batch.deliver_at, batch.transaction_id,
        batch.uncompressed_bytes)
    return codecs.crc32c(payload, codecs.crc32c(header))


def encode_batch(header: record_pb2.RecordBatch, payload: bytes) -> bytes:
    """header: without payload. The checksum is added where this process can make it fast."""
    if codecs.crc32c is not None:
        header.crc32c = batch_crc(header, payload)
    return b"".join((header.SerializeToString(), _LAST_FIELD, varint(len(payload)), payload))


def encode_produce_request(acks: Any, routing: Any, batches: Iterable[Tuple[broker_pb2.PartitionBatch, bytes]]) -> bytes:
    """batches: each without its `batch`, and that as bytes."""
    parts = [broker_pb2.ProduceRequest(acks=acks, routing=routing).SerializeToString()]
    for place, batch in batches:
        head = place.SerializeToString() + _LAST_FIELD + varint(len(batch))
        parts += (_LAST_FIELD, varint(len(head) + len(batch)), head, batch)
    return b"".join(parts)


def corrupt(topic: str, partition: int, offset: int, why: str) -> MillraceError:
    return MillraceError(ErrorCode.CORRUPT_MESSAGE, f"the batch at offset {offset} of {topic}[{partition}] is damaged: {why}. Seek "
                         "behind it, or read with on.gap=report", topic=topic, partition=partition)


def decode_batch(topic: str, partition: int, fetched: broker_pb2.FetchedBatch, log_append_time: bool, check_crc: bool) -> List[Record]:
    """All records of a batch. Raises CORRUPT_MESSAGE or UNSUPPORTED_VERSION."""
    batch = fetched.batch
    base_offset = fetched.base_offset
    payload = batch.payload
    if batch.payload_format > 1 or batch.ttl_ms or batch.deliver_at or batch.transaction_id or batch.schema_id:
        raise MillraceError(ErrorCode.UNSUPPORTED_VERSION, f"the batch at offset {base_offset} of {topic}[{partition}] was made by a "
                            "later release; use that one's client", topic=topic, partition=partition)
    if check_crc and codecs.crc32c is not None and batch.HasField("crc32c") and batch_crc(batch, payload) != batch.crc32c:
        raise corrupt(topic, partition, base_offset, "its checksum is wrong")
    try:
        if batch.codec != codecs.NONE:
            payload = codecs.decompress(batch.codec, payload, batch.uncompressed_bytes)
        stored = record_pb2.Records.FromString(payload).records
    except MillraceError as error:
        raise corrupt(topic, partition, base_offset, error.message) from error
    except Exception as error:  # protobuf's DecodeError is another class in each of its implementations
        raise corrupt(topic, partition, base_offset, "its payload is no Records") from error
    if len(stored) != batch.record_count:
        raise corrupt(topic, partition, base_offset, f"it has {len(stored)} records, its header says {batch.record_count}")
    append_time, leader_epoch, base_timestamp = fetched.append_time, fetched.leader_epoch, batch.base_timestamp
    records: List[Record] = []
    add, new, offset = records.append, tuple.__new__, base_offset
    for record in stored:
        headers = record.headers
        add(new(Record, (
            topic, partition, offset, append_time if log_append_time else base_timestamp + record.timestamp_delta,
            record.key if record.HasField("key") else None, record.value if record.HasField("value") else None,
            headers_of(headers) if headers else (), append_time, leader_epoch)))
        offset += 1
    return records


def headers_of(headers: Iterable[record_pb2.Header]) -> Tuple[Header, ...]:
    return tuple(Header(header.key, header.value if header.HasField("value") else None) for header in headers)


def decode_plain(topic: str, partition: int, records: Iterable[broker_pb2.PlainRecord]) -> List[Record]:
    """Of a broker that has decoded them."""
    return [Record(topic, partition, record.offset, record.timestamp, record.key if record.HasField("key") else None,
                   record.value if record.HasField("value") else None, headers_of(record.headers), record.append_time,
                   record.leader_epoch) for record in records]
