"""Sends records to topics.

    with millrace.Producer("127.0.0.1:9470") as producer:
        for order in orders:
            producer.send("orders", order.json, key=order.customer)
    # here everything is stored, in order for each customer, once

send() puts the record into the open batch of its partition and returns; batches leave by themselves (linger.ms, batch.size). The
library reconnects, finds new leaders and retries until delivery.timeout.ms, without storing anything twice and without changing the
order within a partition. What was not flushed or closed when the program ends is lost: use `with`.

Thread safety: all methods may be called by any number of threads. Callbacks run on the library's thread; they must not block.
Fork: nothing happens before the first send(). A producer that was used before a fork raises INVALID_REQUEST in the child, where
gRPC would hang (see README.md).
Errors: of one record, by its Delivery; of any, by the next flush() or close(). send() itself raises for records that it did not take:
MESSAGE_TOO_LARGE, UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST (closed, or no bytes), INVALID_TIMESTAMP, THROTTLING_QUOTA_EXCEEDED
(buffer.memory stayed full for max.block.ms), REQUEST_TIMED_OUT (no metadata within max.block.ms).
"""

import threading
import time
from types import TracebackType
from typing import Any, Callable, Mapping, Optional, Sequence, Type

from millrace._core import fork
from millrace._core.batch import Batch
from millrace._core.encoding import Bytes, HeaderLike, to_bytes
from millrace._core.producer_core import ProducerCore
from millrace.errors import ErrorCode, MillraceError, invalid_request
from millrace.record import RecordMetadata
from millrace.settings import ProducerSettings, parse


class Delivery:
    """What becomes of one record; like a concurrent.futures.Future. Thread-safe."""

    __slots__ = ("_core", "_batch", "_index")

    def __init__(self, core: ProducerCore, batch: Batch, index: int) -> None:
        self._core = core
        self._batch = batch
        self._index = index

    def done(self) -> bool:
        return self._batch.outcome is not None

    def result(self, timeout: Optional[float] = None) -> RecordMetadata:
        """Waits until the record is stored. Raises what became of it instead, or TimeoutError after so many seconds."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        first = self._batch.outcome
        assert isinstance(first, RecordMetadata)
        return first._replace(offset=first.offset + self._index if first.offset >= 0 else -1)

    def exception(self, timeout: Optional[float] = None) -> Optional[MillraceError]:
        batch, core = self._batch, self._core
        if batch.outcome is None:
            if core.loop.is_current():
                raise invalid_request("a callback must not wait; use add_done_callback()")
            with core.changed:
                if not core.changed.wait_for(lambda: batch.outcome is not None, timeout):
                    raise TimeoutError(f"no ack within {timeout} s; the record goes on being sent")
        return batch.outcome if isinstance(batch.outcome, MillraceError) else None

    def add_done_callback(self, function: Callable[["Delivery"], object]) -> None:
        """Called on the library's thread, or at once if the record is done."""
        with self._core.changed:
            if self._batch.outcome is None:
                self._batch.callbacks.append(lambda: function(self))
                return
        function(self)


class Producer:
    def __init__(self, address: Optional[str] = None, *, settings: Optional[Mapping[str, Any]] = None, **named: Any) -> None:
        """Does not wait for a broker. Settings by Kafka's names: a map, or with underscores (linger_ms=5). INVALID_CONFIG."""
        self._settings = parse(ProducerSettings, address, settings, named)
        self._open: Optional[ProducerCore] = None
        self._closed = False
        self._opening = threading.Lock()

    def _core(self) -> ProducerCore:
        if fork.in_child():
            fork.check("producer")
        with self._opening:
            if self._closed:
                raise invalid_request("the producer was closed; make another one")
            if self._open is None:
                self._open = ProducerCore(self._settings)
            return self._open

    def send(self, topic: str, value: Optional[Bytes], *, key: Optional[Bytes] = None, headers: Sequence[HeaderLike] = (),
             partition: Optional[int] = None, timestamp: Optional[int] = None) -> Delivery:
        """Takes a record; waits while buffer.memory is full. timestamp: milliseconds since 1970; None: now."""
        if value.__class__ is not bytes and value is not None:
            value = to_bytes(value)
        if key.__class__ is not bytes and key is not None:
            key = to_bytes(key)
        if timestamp is None:
            timestamp = int(time.time() * 1000)
        elif timestamp < 0:
            raise MillraceError(ErrorCode.INVALID_TIMESTAMP, f"a record's time cannot be {timestamp}; give milliseconds since 1970")
        core = self._open
        if core is None or self._closed or fork.in_child():
            core = self._core()
        return Delivery(core, *core.append(topic, value, key, headers, partition, timestamp))

    def would_not_wait(self, topic: str, value: Optional[Bytes], key: Optional[Bytes]) -> bool:
        """Whether send() would return at once."""
        return self._open is not None and self._open.has_room(topic, len(value or b"") + len(key or b""))

    def flush(self, timeout: Optional[float] = None) -> None:
        """Waits until every record taken before the call is stored or failed. Raises the first error since the last flush();
        REQUEST_TIMED_OUT when so many seconds pass first: the records go on being sent."""
        core = self._open
        if core is None:
            return
        core = self._core()
        if core.loop.is_current():
            raise invalid_request("a callback must not wait; flush from another thread")
        with core.changed:
            batches = list(core.unfinished)
        core.close_batches(batches)
        with core.changed:
            done = core.changed.wait_for(lambda: all(batch.outcome is not None for batch in batches), timeout)
            failure, core.failure = core.failure, None
        if failure is not None:
            raise failure
        if not done:
            raise MillraceError(ErrorCode.REQUEST_TIMED_OUT, f"not everything was stored within {timeout} s; it goes on being sent: "
                                "flush again", retriable=True, may_have_happened=True)

    def close(self, timeout: Optional[float] = None) -> None:
        """Flushes for up to so many seconds and gives up the rest (CANCELLED). Raises what flush() would; again: does nothing."""
        if self._closed or fork.in_child():
            self._closed = True
            return
        try:
            self.flush(timeout)
        finally:
            with self._opening:
                self._closed = True
                core, self._open = self._open, None
            if core is not None:
                core.stop()

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except MillraceError:
            pass  # the first error is the one to be told
