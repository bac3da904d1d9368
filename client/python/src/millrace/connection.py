"""The short way: one object for what small programs do.

    with millrace.connect("127.0.0.1:9470") as m:
        m.declare("orders", partitions=4)
        m.send("orders", b"2 tickets", key=b"alice")
        for record in m.consume("orders", group="payment"):
            print(record.value)

Thread safety: as Producer and Admin; each consumer is one thread's.
"""

import threading
from types import TracebackType
from typing import Any, List, Optional, Sequence, Type, Union

from millrace._core.encoding import Bytes, HeaderLike
from millrace.admin import Admin, Topic
from millrace.consumer import Consumer
from millrace.position import Assignment, Position
from millrace.producer import Delivery, Producer


class Connection:
    def __init__(self, address: Optional[str] = None, **named: Any) -> None:
        """named: settings of the producer, as bootstrap.servers of all. Does not wait for a broker."""
        self._address = address
        self._producer = Producer(address, **named)
        self.admin = Admin(address)
        self._consumers: List[Consumer] = []
        self._lock = threading.Lock()

    def declare(self, topic: str, *, partitions: int = 1, replication_factor: int = 0, **config: Any) -> Topic:
        """Makes the topic, unless it is there. config: retention_ms="7d", ..."""
        return self.admin.create_topic(topic, partitions=partitions, replication_factor=replication_factor, if_not_exists=True,
                                       config={name.replace("_", "."): str(value) for name, value in config.items()})

    def send(self, topic: str, value: Optional[Bytes], *, key: Optional[Bytes] = None, headers: Sequence[HeaderLike] = (),
             partition: Optional[int] = None, timestamp: Optional[int] = None) -> Delivery:
        """See Producer.send()."""
        return self._producer.send(topic, value, key=key, headers=headers, partition=partition, timestamp=timestamp)

    def flush(self, timeout: Optional[float] = None) -> None:
        self._producer.flush(timeout)

    def consume(self, topics: Union[str, Sequence[str]], *, group: str = "", start: Optional[Position] = None,
                until: Optional[Position] = None, **named: Any) -> Consumer:
        """A consumer to iterate over: a member of the group, or without one a reader of all partitions, from `start` (the beginning)
        to `until` (for ever). It is closed with this connection."""
        consumer = Consumer(self._address, group_id=group, **named)
        with self._lock:
            self._consumers.append(consumer)
        if group:
            consumer.subscribe(topics)
        else:
            names = [topics] if isinstance(topics, str) else topics
            consumer.assign([Assignment(name, start=start, until=until) for name in names])
        return consumer

    def close(self) -> None:
        """Sends what was taken, and closes everything. Raises what Producer.flush() would."""
        with self._lock:
            consumers, self._consumers = self._consumers, []
        try:
            for consumer in consumers:
                consumer.close()
        finally:
            self.admin.close()
            self._producer.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()


def connect(address: Optional[str] = None, **named: Any) -> Connection:
    """The cluster that this address (HOST:PORT[,HOST:PORT...], default 127.0.0.1:9470) belongs to."""
    return Connection(address, **named)
