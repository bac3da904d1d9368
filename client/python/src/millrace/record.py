"""Records as they come out of a consumer, and where those that a producer sent are.

A missing key or value (None) is null, which is not the same as empty: records with an empty key are placed by that key, records
without key are spread. Times are milliseconds since 1970-01-01T00:00:00Z.

Thread safety: immutable values.
"""

import enum
from typing import NamedTuple, Optional, Tuple


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Header(NamedTuple):
    """A name and a value that travel with a record. Order is kept; names may repeat."""

    key: str
    value: Optional[bytes]


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int  # the producer's, or append_time in topics with message.timestamp.type=LogAppendTime
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Tuple[Header, ...]
    append_time: int  # the broker's clock; never goes back within a partition
    leader_epoch: int


class Durability(enum.IntEnum):
    """How safe an acked record is."""

    NONE = 0  # acks=none: nothing is known
    LEADER_MEMORY = 1  # in the leader's page cache: survives a crash of the process, not of the machine
    LEADER_DISK = 2
    QUORUM_MEMORY = 3
    QUORUM_DISK = 4


class RecordMetadata(NamedTuple):
    """Where an acked record is."""

    topic: str
    partition: int
    offset: int  # -1: acks=none, or the ack of a retry that came after the broker had forgotten where the first copy went
    append_time: int
    leader_epoch: int
    durability: Durability


class GapReason(enum.IntEnum):
    UNKNOWN = 0
    RETENTION = 1  # deleted by retention or trim
    TRUNCATED = 2  # lost or replaced after a failure
    CORRUPT = 3  # a damaged batch


class Gap(NamedTuple):
    """Records [start, end) of a partition that no reader will ever get."""

    topic: str
    partition: int
    start: int
    end: int
    reason: GapReason


class CommittedOffset(NamedTuple):
    """How far a group has come in a partition."""

    topic: str
    partition: int
    offset: int  # of the next record to be handled; -1: none
    leader_epoch: int = 0
    metadata: str = ""  # up to 4,096 bytes of UTF-8, for people
    commit_time: int = 0  # set by the coordinator
