"""The Produce stream to one broker: messages of batches out, acks in.

With nothing in flight a message takes whatever waits, so a record alone is sent at once; beside one in flight only full batches
are worth another message: load makes batches grow.

Lives on the loop.
"""

from typing import Any, Dict, List, Optional, Tuple

from millrace._core.batch import Batch
from millrace._core.broker_stream import BrokerStream, StreamOwner
from millrace._core.encoding import encode_produce_request
from millrace._core.metadata import Route
from millrace._core.partition_sender import PartitionSender
from millrace.errors import MillraceError
from millrace.v1 import broker_pb2

_MESSAGES_MAX = 5  # in flight
_MESSAGE_BYTES = 1 << 20


class ProduceSession(StreamOwner):
    def __init__(self, core: Any, route: Route, connect_timeout: float) -> None:
        self._core = core
        self.route = route
        self.ready: Dict[Any, None] = {}  # queues with records, in turn; guarded by the core's lock
        self._retries: List[PartitionSender] = []
        self._in_flight: Dict[int, Tuple[Batch, int]] = {}  # by id: the batch, and its message
        self._unanswered: Dict[int, int] = {}  # batches by message
        self._last_id = 0
        self._last_message = 0
        self._stream = BrokerStream(core.loop, core.network, route.address, "Produce", broker_pb2.ProduceResponse, connect_timeout,
                                    core.new_backoff(), self)

    def pump(self) -> None:
        """Sends what can be sent."""
        while self._stream.established and len(self._unanswered) < _MESSAGES_MAX:
            batches = self._take()
            if not batches:
                return
            self._send(batches)

    def add_retry(self, sender: PartitionSender) -> None:
        if sender not in self._retries:
            self._retries.append(sender)
        self.pump()

    def forget(self, batch: Batch) -> None:
        """Its answer will be ignored."""
        for key, (known, message) in list(self._in_flight.items()):
            if known is batch:
                self._answered(key, message)

    def give_up(self) -> None:
        self._stream.give_up()

    def close(self) -> None:
        self._stream.close()

    def _take(self) -> List[Batch]:
        identity = self._core.identity_for_sending()
        if identity is None:
            return []
        batches: List[Batch] = []
        waiting = []
        for sender in self._retries:
            if sender.session is not self or not sender.retry_wanted or sender.in_flight:
                continue
            if sender.refused == identity:
                waiting.append(sender)  # for another one
                continue
            batches += sender.restart(identity)
        self._retries = waiting
        for batch in self._core.take(self, _MESSAGE_BYTES, only_full=bool(self._unanswered or batches)):
            batch.queue.sender.start(batch, identity)
            batches.append(batch)
        return batches

    def _send(self, batches: List[Batch]) -> None:
        self._last_message += 1
        places = []
        for batch in batches:
            self._last_id += 1
            self._in_flight[self._last_id] = (batch, self._last_message)
            places.append((self._core.place_of(batch, self._last_id), self._core.encode(batch)))
        self._unanswered[self._last_message] = len(batches)
        self._stream.write(encode_produce_request(self._core.settings.acks, self.route.routing, places))
        if self._core.settings.acks == broker_pb2.ACKS_NONE:
            for key, (batch, message) in list(self._in_flight.items()):
                self._answered(key, message)
                self._core.on_ack(batch, broker_pb2.ProduceAck())

    def _answered(self, key: int, message: int) -> None:
        del self._in_flight[key]
        self._unanswered[message] -= 1
        if not self._unanswered[message]:
            del self._unanswered[message]

    def ping_message(self, ping: int) -> bytes:
        return broker_pb2.ProduceRequest(acks=self._core.settings.acks, ping=ping).SerializeToString()

    def on_established(self) -> None:
        self.pump()

    def on_message(self, message: broker_pb2.ProduceResponse) -> None:
        for ack in message.acks:
            entry: Optional[Tuple[Batch, int]] = self._in_flight.get(ack.id)
            if entry is not None:
                self._answered(ack.id, entry[1])
                self._core.on_ack(entry[0], ack)
        self.pump()

    def on_lost(self, error: MillraceError, was_established: bool) -> None:
        lost = [batch for batch, _ in self._in_flight.values()]
        self._in_flight.clear()
        self._unanswered.clear()
        self._core.on_session_lost(self, lost, error, was_established)

    def expects_answer(self) -> bool:
        return bool(self._unanswered)

    def on_silent(self) -> None:
        self._core.on_session_silent(self)
