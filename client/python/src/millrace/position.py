"""A place in a partition, found when reading begins.

    consumer.assign([Assignment("orders", start=Position.ago(15 * 60_000), until=Position.end())])

Thread safety: immutable values.
"""

import enum
import time
from typing import NamedTuple, Optional


class PositionKind(enum.Enum):
    BEGINNING = "beginning"
    END = "end"
    OFFSET = "offset"
    TIME = "time"
    BEFORE_END = "before_end"


class Position(NamedTuple):
    kind: PositionKind
    value: int = 0  # an offset, milliseconds since 1970, or records, as `kind` says

    @classmethod
    def beginning(cls) -> "Position":
        """The first record there is."""
        return cls(PositionKind.BEGINNING)

    @classmethod
    def end(cls) -> "Position":
        """Behind the last record there is (the high watermark)."""
        return cls(PositionKind.END)

    @classmethod
    def offset(cls, offset: int) -> "Position":
        return cls(PositionKind.OFFSET, offset)

    @classmethod
    def time(cls, unix_ms: int) -> "Position":
        """The first record, in offset order, whose time is `unix_ms` or later; the end if there is none."""
        return cls(PositionKind.TIME, unix_ms)

    @classmethod
    def before_end(cls, records: int) -> "Position":
        """So many records before the end, but not before the beginning."""
        return cls(PositionKind.BEFORE_END, records)

    @classmethod
    def ago(cls, ms: int) -> "Position":
        return cls.time(int(time.time() * 1000) - ms)


class Assignment(NamedTuple):
    """What to read."""

    topic: str
    partition: Optional[int] = None  # None: all of the topic's
    start: Optional[Position] = None  # None: where the group has committed, else as auto.offset.reset says
    until: Optional[Position] = None  # exclusive, found once, when reading begins; None: never stop
