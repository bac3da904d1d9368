"""One partition by the broker's Read call, which decodes: for batches that this process cannot decompress.

Lives on the loop.
"""

from typing import Any, Optional

from millrace._core.encoding import decode_plain
from millrace._core.partition import Chunk, EndReached, Failure, Missing, Partition
from millrace.errors import ErrorCode, MillraceError
from millrace.record import Gap, GapReason
from millrace.v1 import broker_pb2

_WAIT_MS = 5_000  # at the end of the log
_READ_BYTES = 1_000_000


class DecodedReader:
    """Asks for more once the application took what came."""

    def __init__(self, core: Any, partition: Partition) -> None:
        self._core = core
        self._partition = partition
        self._generation = partition.fetch_generation

    def start(self) -> None:
        self._read()

    def release(self, size: int) -> None:
        self._read()

    def _read(self) -> None:
        partition = self._partition
        if not self._is_wanted():
            return
        if partition.until is not None and partition.next_offset >= partition.until:
            self._core.put(EndReached(partition, self._generation))
            return
        request = broker_pb2.ReadRequest(topic=partition.topic, partition=partition.partition, offset=partition.next_offset,
                                         max_bytes=_READ_BYTES, max_wait_ms=_WAIT_MS)
        self._core.control.call("Broker", "Read", request, broker_pb2.ReadResponse, self._answered,
                                timeout=_WAIT_MS / 1000 + self._core.settings.request_timeout_ms / 1000)

    def _is_wanted(self) -> bool:
        return self._partition.source is self and self._generation == self._partition.generation

    def _answered(self, reply: Optional[broker_pb2.ReadResponse], error: Optional[MillraceError]) -> None:
        partition = self._partition
        if not self._is_wanted():
            return
        if reply is None:
            assert error is not None
            self._failed(error)
            return
        partition.high_watermark, partition.log_start_offset = reply.high_watermark, reply.log_start_offset
        first, partition.next_offset = partition.next_offset, reply.next_offset
        if reply.records:
            records = decode_plain(partition.topic, partition.partition, reply.records)
            self._core.put(Chunk(partition, self._generation, first, records, False, self, 0))
        else:
            self._read()

    def _failed(self, error: MillraceError) -> None:
        partition = self._partition
        start = error.log_start_offset
        if error.code == ErrorCode.OFFSET_OUT_OF_RANGE and start is not None and partition.next_offset < start:
            gap = Gap(partition.topic, partition.partition, partition.next_offset, start, GapReason.RETENTION)
            partition.next_offset = start
            self._core.put(Missing(partition, self._generation, gap))
            self._read()
        elif error.retriable:
            self._core.loop.after(partition.backoff.next(), self._read)
        else:
            self._core.put(Failure(partition, self._generation, error))
