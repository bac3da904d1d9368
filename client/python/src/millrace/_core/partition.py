"""A partition that a consumer reads, and what the two sides of the consumer say about it to each other."""

from typing import Any, List, NamedTuple, Optional, Sequence, Union

from millrace._core.backoff import Backoff
from millrace.errors import MillraceError
from millrace.position import Position, PositionKind
from millrace.record import Gap, Record, TopicPartition
from millrace.v1 import broker_pb2


class Partition:
    def __init__(self, topic: str, partition: int, start: Position, backoff: Backoff) -> None:
        self.topic = topic
        self.partition = partition
        self.name = TopicPartition(topic, partition)
        self.until: Optional[int] = None  # exclusive
        # Raised by whichever side does not want what is under way: what carries an older one is dropped where it is met.
        self.generation = 0
        # Of the application's thread, read by the loop:
        self.position = -1  # offset of the record that is given out next; -1: not known yet
        self.not_before: Optional[int] = start.value if start.kind is PositionKind.TIME else None  # drop earlier times
        self.paused = False
        self.ended = False
        # Of the loop:
        self.backoff = backoff
        self.start = start
        self.next_offset = start.value if start.kind is PositionKind.OFFSET else -1  # to be received next
        self.leader_epoch = 0  # of the record before that
        self.fetch_generation = 0
        self.source: Any = None  # the session or reader that it comes from
        self.subscription = 0
        self.wanted = False
        self.decoded_by_broker = False
        self.high_watermark = -1
        self.log_start_offset = -1
        self.committed = -1  # what the group is known to have
        # Of a group's member:
        self.topic_id = 0
        self.epoch = 0
        self.releasing = False

    def move(self, start: Position) -> None:
        """The application's half of a seek."""
        self.generation += 1
        self.position = start.value if start.kind is PositionKind.OFFSET else -1
        self.not_before = start.value if start.kind is PositionKind.TIME else None
        self.ended = False


class Chunk(NamedTuple):
    """A batch on its way to the application."""

    partition: Partition
    generation: int
    first: int  # offset of the first record that is wanted
    fetched: Union[broker_pb2.FetchedBatch, List[Record]]
    log_append_time: bool
    source: Any  # source.release(bytes), on the loop, once it was taken
    bytes: int


class Missing(NamedTuple):
    partition: Partition
    generation: int
    gap: Gap


class Failure(NamedTuple):
    """The partition has stopped."""

    partition: Partition
    generation: int
    error: MillraceError


class EndReached(NamedTuple):
    partition: Partition
    generation: int


class Assigned(NamedTuple):
    partitions: Sequence[Partition]


class Added(NamedTuple):
    """Of a topic that is read as a whole, without a group."""

    topic: str
    partition: int


class Revoked(NamedTuple):
    partitions: Sequence[Partition]


class Lost(NamedTuple):
    partitions: Sequence[Partition]


class MembershipEnded(NamedTuple):
    error: MillraceError


News = Union[Added, Assigned, Revoked, Lost, MembershipEnded]
