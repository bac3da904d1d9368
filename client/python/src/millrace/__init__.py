"""Client of Millrace, a distributed commit log whose API is gRPC.

    with millrace.connect("127.0.0.1:9470") as m:
        m.declare("orders", partitions=4)
        m.send("orders", b"2 tickets", key=b"alice")

Producer, Consumer and Admin are the parts that connect() puts together; millrace.aio has them for asyncio, millrace.testing a broker
for tests.
"""

from millrace._core import fork as _  # before gRPC is loaded
from millrace.admin import Admin
from millrace.connection import Connection, connect
from millrace.consumer import Consumer
from millrace.errors import ErrorCode, MillraceError
from millrace.position import Assignment, Position
from millrace.producer import Delivery, Producer
from millrace.record import CommittedOffset, Durability, Gap, GapReason, Header, Record, RecordMetadata, TopicPartition

__version__ = "0.1.0"

__all__ = [
    "Admin", "Assignment", "CommittedOffset", "Connection", "Consumer", "Delivery", "Durability", "ErrorCode", "Gap", "GapReason", "Header",
    "MillraceError", "Position", "Producer", "Record", "RecordMetadata", "TopicPartition", "connect",
]
