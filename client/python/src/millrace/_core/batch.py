"""Records of one partition that travel together, and what became of them."""

import time
from typing import Any, Callable, List, NamedTuple, Optional, Union

from millrace.errors import MillraceError
from millrace.record import RecordMetadata


class Stamp(NamedTuple):
    """Where a batch stands in its producer's sequence; see RecordBatch.producer_id in record.proto."""

    producer_id: int
    epoch: int
    sequence: int


class Batch:
    __slots__ = ("queue", "parts", "count", "size", "base_timestamp", "max_timestamp", "created", "urgent", "payload", "codec",
                 "uncompressed_bytes", "stamps", "in_flight", "maybe_stored", "outcome", "callbacks")

    def __init__(self, queue: Any, base_timestamp: int) -> None:
        self.queue = queue
        self.parts: List[bytes] = []
        self.count = 0
        self.size = 0  # bytes of parts
        self.base_timestamp = base_timestamp
        self.max_timestamp = base_timestamp
        self.created = time.monotonic()
        self.urgent = False  # not to linger
        self.payload: Optional[bytes] = None  # once it is sent
        self.codec: Any = 0  # millrace.v1.Codec
        self.uncompressed_bytes = 0
        self.stamps: List[Stamp] = []  # all that it was sent under, the last one last
        self.in_flight = False
        self.maybe_stored = False
        self.outcome: Union[None, RecordMetadata, MillraceError] = None  # metadata: of the first record
        self.callbacks: List[Callable[[], object]] = []
