"""A handler for each record, with retries that hold up nobody else, and a topic for what cannot be handled.

    consumer.subscribe(["tasks"])
    consumer.run(handle, attempts=3, backoff=0.1, dead_letter_topic="tasks.failed")

A record whose handler raises is tried again after `backoff` seconds, doubled each time up to `backoff_max`; its partition waits for
it, the others go on. After the last attempt it goes to the dead-letter topic, acked before its position is committed, with its key,
value, time, headers and these besides (the other partitions do not wait for that):

    millrace.origin.topic, millrace.origin.partition, millrace.origin.offset   where it comes from
    millrace.error                                                             what the handler raised
    millrace.attempts                                                          how often it was tried

It must be there: UNKNOWN_TOPIC_OR_PARTITION when run() begins. Without a dead-letter topic run() raises what the handler raised; the
record is not committed, and comes again. Whatever ends run(), each partition goes on, with the next run() or otherwise, at its first
record that was not handled.
on_corrupt: a damaged batch "stop"s with CORRUPT_MESSAGE, or is "skip"ped and counted in gap_records.
"""

import contextlib
import time
from typing import Any, Callable, List, NamedTuple, Optional

from millrace._core.partition import Partition
from millrace._core.waiting import Waiting
from millrace.consumer import Consumer
from millrace.errors import ErrorCode, MillraceError, invalid_request
from millrace.position import Assignment
from millrace.producer import Delivery, Producer
from millrace.record import GapReason, Record, TopicPartition


class _Parked(NamedTuple):
    """A record that failed, whose partition waits."""

    record: Record
    place: Partition
    attempts: int
    due: float


class _Buried(NamedTuple):
    """A record that is on its way to the dead-letter topic, whose partition waits."""

    record: Record
    place: Partition
    delivery: Delivery


_SOON = 0.02  # s: how long the others wait for the dead-letter topic, or it for them


class Run:
    def __init__(self, consumer: Consumer, handler: Callable[[Record], None], attempts: int, backoff: float, backoff_max: float,
                 dead_letter_topic: str, on_corrupt: str) -> None:
        if attempts < 1 or backoff < 0 or on_corrupt not in ("stop", "skip"):
            raise invalid_request("run() takes attempts of at least 1, backoff of at least 0 s, on_corrupt stop or skip")
        self._consumer = consumer
        self._handler = handler
        self._attempts = attempts
        self._backoff = backoff
        self._backoff_max = backoff_max
        self._dead_letter_topic = dead_letter_topic
        self._producer: Optional[Producer] = None
        self._closing = contextlib.ExitStack()  # closes it; an error that ends run() comes before those of closing
        self._parked: List[_Parked] = []
        self._buried: List[_Buried] = []
        if on_corrupt == "skip":
            consumer._core().gaps_passed.add(GapReason.CORRUPT)

    def loop(self) -> None:
        self._check_dead_letter_topic()
        try:
            with self._closing:
                self._handle_all()
        finally:
            self._let_waiting_go_on()

    def _check_dead_letter_topic(self) -> None:
        """Before the first poison record, which may be weeks away, finds that nobody has made it."""
        if not self._dead_letter_topic:
            return
        core, found = self._consumer._core(), Waiting[Any]()
        core.loop.post(core.expand, [Assignment(self._dead_letter_topic)], found)
        try:
            found.get()
        except MillraceError as error:
            if error.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                raise error.changed(message=f"run() needs its dead-letter topic: {error.message}") from None
            if not error.retriable:
                raise

    def _handle_all(self) -> None:
        while True:
            self._retry()
            self._go_on_behind_buried()
            records = self._consumer.poll(self._until_due(), 1)
            waits = self._parked or self._buried
            if self._consumer._stopping or (not records and not waits and self._consumer._is_at_end()):
                return
            for record in records:
                if self._handle(record, self._place(record), 1):
                    self._consumer._settle()

    def _until_due(self) -> Optional[float]:
        now = time.monotonic()
        waits = [max(0.0, parked.due - now) for parked in self._parked]
        return min([*waits, _SOON] if self._buried else waits, default=None)

    def _place(self, record: Record) -> Partition:
        return self._consumer._partitions[TopicPartition(record.topic, record.partition)]

    def _retry(self) -> None:
        now = time.monotonic()
        for parked in [each for each in self._parked if each.due <= now]:
            if not self._has(parked.place) or self._handle_again(parked):
                self._go_on_at(parked.place, parked.record.offset + 1)
            self._parked.remove(parked)

    def _handle_again(self, parked: _Parked) -> bool:
        self._consumer._polled = parked.record  # so that a commit() of the handler's includes it
        return self._handle(parked.record, parked.place, parked.attempts + 1)

    def _go_on_behind_buried(self) -> None:
        for buried in [each for each in self._buried if each.delivery.done()]:
            buried.delivery.result()
            self._go_on_at(buried.place, buried.record.offset + 1)
            self._buried.remove(buried)

    def _let_waiting_go_on(self) -> None:
        for parked in self._parked:
            self._go_on_at(parked.place, parked.record.offset)
        for buried in self._buried:
            acked = buried.delivery.done() and buried.delivery.exception() is None
            self._go_on_at(buried.place, buried.record.offset + acked)

    def _has(self, place: Partition) -> bool:
        """Whether it has not become another member's, nor was its position reset."""
        return self._consumer._partitions.get(place.name) is place

    def _go_on_at(self, place: Partition, offset: int) -> None:
        """One whose position was reset goes on there, and is paused as it was before."""
        if self._has(place):
            self._consumer.seek(place.name, offset)
        if place.name in self._consumer._partitions:
            self._consumer.resume([place.name])

    def _wait_at(self, record: Record, place: Partition) -> None:
        self._consumer.seek(place.name, record.offset)
        self._consumer.pause([place.name])

    def _handle(self, record: Record, place: Partition, attempt: int) -> bool:
        """Whether the record is done with; else, also when it raises, it is the next of its partition."""
        try:
            return self._attempt(record, place, attempt)
        except BaseException:
            self._go_on_at(place, record.offset)
            raise

    def _attempt(self, record: Record, place: Partition, attempt: int) -> bool:
        try:
            self._handler(record)
            return True
        except Exception as error:
            if attempt < self._attempts:
                self._wait_at(record, place)
                pause = min(self._backoff * 2 ** min(attempt - 1, 20), self._backoff_max)
                self._parked.append(_Parked(record, place, attempt, time.monotonic() + pause))
                return False
            if not self._dead_letter_topic:
                raise
            delivery = self._bury(record, error, attempt)
            try:
                delivery.result(_SOON)
                return True
            except TimeoutError:
                self._wait_at(record, place)
                self._buried.append(_Buried(record, place, delivery))
                return False

    def _bury(self, record: Record, error: Exception, attempts: int) -> Delivery:
        if self._producer is None:
            settings = self._consumer._settings
            self._producer = self._closing.enter_context(Producer(
                settings.bootstrap_servers, ssl_ca_location=settings.ssl_ca_location,
                ssl_certificate_location=settings.ssl_certificate_location, ssl_key_location=settings.ssl_key_location))
        added = {"millrace.origin.topic": record.topic, "millrace.origin.partition": record.partition,
                 "millrace.origin.offset": record.offset, "millrace.error": f"{type(error).__name__}: {error}",
                 "millrace.attempts": attempts}
        headers = [*record.headers, *((name, str(value).encode()) for name, value in added.items())]
        return self._producer.send(self._dead_letter_topic, record.value, key=record.key, headers=headers, timestamp=record.timestamp)
