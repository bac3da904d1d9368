"""A handler for each record, with retries that hold up nobody else, and a topic for what cannot be handled.

    consumer.subscribe(["tasks"])
    consumer.run(handle, attempts=3, backoff=0.1, dead_letter_topic="tasks.failed")

A record whose handler raises is tried again after `backoff` seconds, doubled each time up to `backoff_max`; its partition waits for
it, the others go on. After the last attempt it goes to the dead-letter topic, acked before its position is committed, with its key,
value, time, headers and these besides:

    millrace.origin.topic, millrace.origin.partition, millrace.origin.offset   where it comes from
    millrace.error                                                             what the handler raised
    millrace.attempts                                                          how often it was tried

Without a dead-letter topic run() raises what the handler raised; the record is not committed, and comes again.
on_corrupt: a damaged batch "stop"s with CORRUPT_MESSAGE, or is "skip"ped and counted in gap_records.
"""

import time
from typing import Callable, List, NamedTuple, Optional

from millrace._core.partition import Partition
from millrace.consumer import Consumer
from millrace.errors import invalid_request
from millrace.producer import Producer
from millrace.record import GapReason, Record, TopicPartition

class _Parked(NamedTuple):
    """A record that failed, whose partition waits."""

    record: Record
    place: Partition
    attempts: int
    due: float


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
        self._parked: List[_Parked] = []
        if on_corrupt == "skip":
            consumer._core().gaps_passed.add(GapReason.CORRUPT)

    def loop(self) -> None:
        try:
            while True:
                now = time.monotonic()
                wait = min((max(0.0, parked.due - now) for parked in self._parked), default=None)
                records = self._consumer.poll(wait, 1)
                if self._consumer._stopping or (not records and not self._parked and self._consumer._is_at_end()):
                    return
                self._retry()
                for record in records:
                    self._handle(record, self._place(record), 1)
        finally:
            if self._producer is not None:
                self._producer.close()

    def _place(self, record: Record) -> Partition:
        return self._consumer._partitions[TopicPartition(record.topic, record.partition)]

    def _retry(self) -> None:
        now = time.monotonic()
        due = [parked for parked in self._parked if parked.due <= now]
        self._parked = [parked for parked in self._parked if parked.due > now]
        for parked in due:
            if self._consumer._partitions.get(parked.place.name) is not parked.place:
                continue  # it is another member's by now
            if self._handle(parked.record, parked.place, parked.attempts + 1):
                self._consumer.seek(parked.place.name, parked.record.offset + 1)
                self._consumer.resume([parked.place.name])

    def _handle(self, record: Record, place: Partition, attempt: int) -> bool:
        """Whether the record is done with."""
        try:
            self._handler(record)
            return True
        except Exception as error:
            if attempt < self._attempts:
                self._consumer.seek(place.name, record.offset)
                self._consumer.pause([place.name])
                pause = min(self._backoff * 2 ** (attempt - 1), self._backoff_max)
                self._parked.append(_Parked(record, place, attempt, time.monotonic() + pause))
                return False
            if not self._dead_letter_topic:
                self._consumer.seek(place.name, record.offset)
                raise
            self._bury(record, error, attempt)
            return True

    def _bury(self, record: Record, error: Exception, attempts: int) -> None:
        if self._producer is None:
            settings = self._consumer._settings
            self._producer = Producer(settings.bootstrap_servers, ssl_ca_location=settings.ssl_ca_location,
                                      ssl_certificate_location=settings.ssl_certificate_location,
                                      ssl_key_location=settings.ssl_key_location)
        added = {"millrace.origin.topic": record.topic, "millrace.origin.partition": record.partition,
                 "millrace.origin.offset": record.offset, "millrace.error": f"{type(error).__name__}: {error}",
                 "millrace.attempts": attempts}
        headers = [*record.headers, *((name, str(value).encode()) for name, value in added.items())]
        self._producer.send(self._dead_letter_topic, record.value, key=record.key, headers=headers, timestamp=record.timestamp).result()
