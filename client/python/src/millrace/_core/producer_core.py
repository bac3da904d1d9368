"""The producer behind its public face.

Application threads put records into the open batch of their partition, under one lock. The loop takes batches from there, routes
them to the Produce streams of the partitions' leaders, retries, keeps sequences, and gives up at delivery.timeout.ms.

    append()                 application threads
    take()                   between the two, as all that is guarded by the lock
    everything else          the loop
"""

import logging
import random
import time
from collections import deque
from threading import Condition
from typing import Any, Deque, Dict, List, Optional, Sequence, Tuple

from millrace._core import codecs
from millrace._core.backoff import Backoff
from millrace._core.batch import Batch
from millrace._core.broker_stream import ADVERTISED_CONNECT_TIMEOUT, CONNECT_TIMEOUT
from millrace._core.control import Control
from millrace._core.encoding import HeaderLike, encode_batch, encode_record
from millrace._core.loop import Loop, Timer
from millrace._core.metadata import Metadata, Route
from millrace._core.network import Network
from millrace._core.partition_sender import IN_FLIGHT_MAX, Identity, PartitionSender, Refusal, Verdict
from millrace._core.produce_session import ProduceSession
from millrace._core.wire_errors import from_proto
from millrace.errors import ErrorCode, MillraceError, invalid_request
from millrace.partitioner import key_hash
from millrace.record import Durability, RecordMetadata
from millrace.settings import ProducerSettings
from millrace.v1 import broker_pb2, record_pb2

_BATCH_OVERHEAD = 256  # bytes of a RecordBatch besides its payload, at most
_RECORD_OVERHEAD = 24  # of a record besides its parts
_EXPIRY_PERIOD = 1.0
_LOG = logging.getLogger("millrace")


class PartitionQueue:
    """Records of one partition that were not sent yet."""

    __slots__ = ("topic", "partition", "open", "full", "sender", "session")

    def __init__(self, topic: "TopicQueues", partition: int, sender: PartitionSender) -> None:
        self.topic = topic
        self.partition = partition
        self.open: Optional[Batch] = None
        self.full: Deque[Batch] = deque()
        self.sender = sender
        self.session: Optional[ProduceSession] = None  # that has it among its `ready`


class TopicQueues:
    def __init__(self, name: str) -> None:
        self.name = name
        self.topic_id = 0
        self.batch_bytes_max = 0
        self.partitions: List[PartitionQueue] = []
        self.turn = 0  # of records without key


class ProducerCore:
    def __init__(self, settings: ProducerSettings) -> None:
        codecs.require(settings.compression_type)
        self.settings = settings
        self._idempotent = settings.enable_idempotence and settings.acks != broker_pb2.ACKS_NONE
        self.loop = Loop("producer")
        self.network = Network(self.loop, settings)
        self._control = Control(self.loop, self.network, settings)
        self._metadata = Metadata(self.loop, self._control, settings, self._on_metadata)
        self._sessions: Dict[Route, ProduceSession] = {}
        self._identity: Optional[Identity] = None if self._idempotent else Identity(0, 0)  # as it was given out
        self._last_identity = Identity(0, 0)
        self._session = random.getrandbits(64) | 1  # of a producer with a name
        self._asking_identity = False
        self._identity_backoff = self.new_backoff()
        self._session_error: Optional[MillraceError] = None
        self._linger_timer: Optional[Timer] = None
        self._stopped = False
        # Guarded by the lock, as all queues' `open` and `full` and all sessions' `ready`:
        self.changed = Condition()
        self._topics: Dict[str, TopicQueues] = {}
        self._missing: Dict[str, MillraceError] = {}
        self._buffered = 0
        self.unfinished: Dict[Batch, None] = {}
        self.failure: Optional[MillraceError] = None  # the first since the last flush
        self.loop.post(self._expire)
        if settings.producer_name:
            self.loop.post(self._ask_identity)  # whoever had the name is fenced from now on, not from the first record on

    def new_backoff(self) -> Backoff:
        return Backoff(self.settings.retry_backoff_ms, self.settings.retry_backoff_max_ms)

    # --- Application threads ---

    def append(self, topic: str, value: Optional[bytes], key: Optional[bytes], headers: Sequence[HeaderLike], partition: Optional[int],
               timestamp: int) -> Tuple[Batch, int]:
        """Returns the batch that the record went to, and its place there."""
        size = _RECORD_OVERHEAD + len(value or b"") + len(key or b"")
        with self.changed:
            queues = self._topics.get(topic)
            if queues is None:
                queues = self._await_topic(topic)
            if self._buffered + size > self.settings.buffer_memory:
                self._await_room(size)
            partitions = queues.partitions
            if partition is not None:
                if not 0 <= partition < len(partitions):
                    raise MillraceError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{topic} has partitions 0 to {len(partitions) - 1}, not "
                                        f"{partition}; add partitions, or leave the choice to the key", topic=topic, partition=partition)
                queue = partitions[partition]
            elif key is not None:
                queue = partitions[key_hash(key) % len(partitions)]
            else:
                queue = partitions[queues.turn % len(partitions)]
            batch = queue.open
            if batch is None or batch.size + size > queues.batch_bytes_max:
                batch = self._open(queue, batch, timestamp)
            record = encode_record(timestamp - batch.base_timestamp, key, value, headers)
            size = len(record)
            if batch.size + size > queues.batch_bytes_max and (headers or not batch.count):
                batch = self._open_larger(queue, batch, timestamp, size)
                record = encode_record(0, key, value, headers)
                size = len(record)
            batch.parts.append(record)
            batch.count += 1
            batch.size += size
            self._buffered += size
            if timestamp > batch.max_timestamp:
                batch.max_timestamp = timestamp
            return batch, batch.count - 1

    def has_room(self, topic: str, size: int) -> bool:
        return topic in self._topics and self._buffered + _RECORD_OVERHEAD + size <= self.settings.buffer_memory

    def _open(self, queue: PartitionQueue, old: Optional[Batch], timestamp: int) -> Batch:
        if old is not None:
            self._close_open(queue)
        batch = queue.open = Batch(queue, timestamp)
        self.unfinished[batch] = None
        if queue.session is not None:
            queue.session.ready[queue] = None
            self.loop.post(queue.session.pump)
        return batch

    def _open_larger(self, queue: PartitionQueue, batch: Batch, timestamp: int, size: int) -> Batch:
        """A record that fills a batch by itself."""
        known = self._metadata.topics.get(queue.topic.name)
        limit = (known.max_message_bytes if known is not None else queue.topic.batch_bytes_max) - _BATCH_OVERHEAD
        if size > limit:
            if not batch.count:
                queue.open = None
                self.unfinished.pop(batch, None)
            raise MillraceError(ErrorCode.MESSAGE_TOO_LARGE, f"a record of {size} bytes is over the limit of {queue.topic.name}, "
                                f"{limit}; split it, or raise the topic's max.message.bytes", topic=queue.topic.name,
                                partition=queue.partition, limit=limit, size=size)
        return self._open(queue, batch, timestamp) if batch.count else batch

    def _close_open(self, queue: PartitionQueue) -> None:
        if queue.open is not None:
            queue.full.append(queue.open)
            queue.open = None
            queue.topic.turn += 1  # records without key go on to the next partition

    def _await_topic(self, topic: str) -> TopicQueues:
        self._missing.pop(topic, None)
        self.loop.post(self._metadata.track, topic)
        self._wait(lambda: topic in self._topics or topic in self._missing, topic, "metadata of the topic did not come")
        if topic in self._missing:
            error = self._missing[topic]
            raise error.changed(message=f'{error.message}; in Python: connect().declare("{topic}")')
        return self._topics[topic]

    def _await_room(self, size: int) -> None:
        self._wait(lambda: self._buffered + size <= self.settings.buffer_memory, "", "buffer.memory stayed full")

    def _wait(self, ready: Any, topic: str, what: str) -> None:
        if self.loop.is_current():
            raise MillraceError(ErrorCode.THROTTLING_QUOTA_EXCEEDED, f"{what}, and a callback must not wait; send from another thread",
                                retriable=True, topic=topic)
        if not self.changed.wait_for(lambda: ready() or self._stopped, self.settings.max_block_ms / 1000):
            cause = self._metadata.last_error or self._session_error
            code = ErrorCode.REQUEST_TIMED_OUT if topic else ErrorCode.THROTTLING_QUOTA_EXCEEDED
            why = f"; last: {cause.message}" if cause else ""
            raise MillraceError(code, f"{what} within max.block.ms ({self.settings.max_block_ms}){why}. Nothing was sent; try again",
                                retriable=True, topic=topic, address=cause.address if cause else "")
        if self._stopped:
            raise invalid_request("the producer was closed; make another one")

    def close_batches(self, batches: Sequence[Batch]) -> None:
        """They leave without lingering."""
        with self.changed:
            for batch in batches:
                batch.urgent = True
        self.loop.post(self._pump_all)

    # --- Between the two ---

    def take(self, session: ProduceSession, bytes_max: int, only_full: bool) -> List[Batch]:
        """Batches to be sent now, in turn over partitions."""
        taken: List[Batch] = []
        size = 0
        now = time.monotonic()
        with self.changed:
            for queue in list(session.ready):
                room = queue.sender.room
                while room > 0 and size < bytes_max:
                    if not queue.full:
                        batch = queue.open
                        if batch is None or (only_full and not batch.urgent) or not self._may_leave(batch, now):
                            break
                        self._close_open(queue)
                    batch = queue.full.popleft()
                    taken.append(batch)
                    size += batch.size
                    room -= 1
                del session.ready[queue]
                if queue.full or queue.open is not None:
                    session.ready[queue] = None  # at the end: the others come first next time
        return taken

    def _may_leave(self, batch: Batch, now: float) -> bool:
        left = batch.created + self.settings.linger_ms / 1000 - now
        if left <= 0 or batch.urgent:
            return True
        if self._linger_timer is None:
            self._linger_timer = self.loop.after(left, self._lingered)
        return False

    # --- The loop ---

    def _lingered(self) -> None:
        self._linger_timer = None
        self._pump_all()

    def _pump_all(self) -> None:
        for session in list(self._sessions.values()):
            session.pump()

    def identity_for_sending(self) -> Optional[Identity]:
        if self._identity is None:
            self._ask_identity()
        return self._identity

    def _ask_identity(self) -> None:
        if not self._asking_identity and not self._stopped:
            self._asking_identity = True
            request = broker_pb2.InitProducerRequest()
            if self.settings.producer_name:
                request.name, request.session = self.settings.producer_name, self._session
                request.producer_id, request.producer_epoch = self._last_identity
            self._control.call("Broker", "InitProducer", request, broker_pb2.InitProducerResponse, self._on_identity)

    def _on_identity(self, reply: Optional[broker_pb2.InitProducerResponse], error: Optional[MillraceError]) -> None:
        self._asking_identity = False
        if reply is None:
            self._session_error = error
            self.loop.after(self._identity_backoff.next(), self._ask_identity)
            return
        self._identity_backoff.reset()
        self._identity = Identity(reply.producer_id, reply.producer_epoch)
        self._pump_all()

    def place_of(self, batch: Batch, key: int) -> broker_pb2.PartitionBatch:
        topic = batch.queue.topic
        return broker_pb2.PartitionBatch(id=key, topic=topic.name, partition=batch.queue.partition, topic_id=topic.topic_id)

    def encode(self, batch: Batch) -> bytes:
        if batch.payload is None:
            batch.payload = b"".join(batch.parts)
            batch.parts.clear()
            if self.settings.compression_type:
                smaller = codecs.compress(self.settings.compression_type, batch.payload)
                if len(smaller) < len(batch.payload):
                    batch.codec, batch.uncompressed_bytes = self.settings.compression_type, len(batch.payload)
                    batch.payload = smaller
        header = record_pb2.RecordBatch(
            base_timestamp=batch.base_timestamp, max_timestamp=batch.max_timestamp, record_count=batch.count, payload_format=1,
            codec=batch.codec, uncompressed_bytes=batch.uncompressed_bytes)
        if batch.stamps:
            header.producer_id, header.producer_epoch, header.base_sequence = batch.stamps[-1]
        return encode_batch(header, batch.payload)

    def on_ack(self, batch: Batch, ack: broker_pb2.ProduceAck) -> None:
        queue: PartitionQueue = batch.queue
        sender = queue.sender
        refusal = None
        if ack.HasField("error"):
            refusal = Refusal(from_proto(ack.error, sender.session.route.address, queue.topic.name, queue.partition),
                              ack.error.producer_epoch, ack.error.expected_sequence)
        verdict = sender.on_answer(batch, refusal)
        if verdict is Verdict.STORED:
            known = refusal is None and self.settings.acks != broker_pb2.ACKS_NONE
            self._finish(batch, RecordMetadata(queue.topic.name, queue.partition, ack.base_offset if known else -1, ack.append_time,
                                               ack.leader_epoch, Durability(ack.durability)))
        elif verdict is Verdict.FAILED:
            assert sender.last_error is not None
            if sender.last_error.code == ErrorCode.UNKNOWN_TOPIC_ID:
                self._metadata.refresh()
            self._finish(batch, sender.last_error)
        else:
            if ack.error.HasField("leader"):
                self._metadata.take_hint(queue.topic.name, queue.partition, ack.error.leader)
            self._metadata.refresh()
        self._advance(queue)

    def on_session_lost(self, session: ProduceSession, lost: List[Batch], error: MillraceError, was_established: bool) -> None:
        self._session_error = error
        for batch in lost:
            batch.queue.sender.on_lost(batch, error)
        for batch in lost:
            self._advance(batch.queue)
        if not was_established and self._metadata.is_advertised(session.route.address):
            self._metadata.mark_unreachable(session.route.address)
            self._on_metadata()
        else:
            self._metadata.refresh_elsewhere(session.route.address)

    def on_session_silent(self, session: ProduceSession) -> None:
        """What is in flight to a broker that stands still would wait for it for ever, though another leads by now."""
        self._metadata.refresh_elsewhere(session.route.address)
        for queues in self._topics.values():
            for queue in queues.partitions:
                if queue.sender.session is session and queue.sender.in_flight:
                    route = self._metadata.route(queues.name, queue.partition)
                    if route is not None and route != session.route:
                        session.give_up()
                        return

    def _on_metadata(self) -> None:
        if self._stopped:
            return
        for name, known in self._metadata.topics.items():
            with self.changed:
                queues = self._topics.get(name) or TopicQueues(name)
                queues.topic_id = known.topic_id
                queues.batch_bytes_max = min(self.settings.batch_size, known.max_message_bytes - _BATCH_OVERHEAD)
                in_flight_max = IN_FLIGHT_MAX if self._idempotent or self.settings.acks == broker_pb2.ACKS_NONE else 1
                while len(queues.partitions) < len(known.partitions):
                    sender = PartitionSender(self._idempotent, self.new_backoff(), in_flight_max)
                    queues.partitions.append(PartitionQueue(queues, len(queues.partitions), sender))
                self._topics[name] = queues
                self.changed.notify_all()
            for queue in queues.partitions:
                self._route(queue)
        for name, error in self._metadata.missing.items():
            self._fail_topic(name, error)
        for route, session in list(self._sessions.items()):
            if not any(queue.sender.session is session for queues in self._topics.values() for queue in queues.partitions):
                del self._sessions[route]
                session.close()

    def _fail_topic(self, name: str, error: MillraceError) -> None:
        with self.changed:
            self._missing[name] = error
            queues = self._topics.pop(name, None)
            self.changed.notify_all()
        for queue in queues.partitions if queues else ():
            self._fail_queue(queue, error)

    def _fail_queue(self, queue: PartitionQueue, error: MillraceError) -> None:
        with self.changed:
            self._close_open(queue)
            waiting = list(queue.full)
            queue.full.clear()
            if queue.session is not None:
                queue.session.ready.pop(queue, None)
        for batch in [*queue.sender.unacked, *waiting]:
            self._finish(batch, error.changed(may_have_happened=batch.maybe_stored or batch.in_flight, topic=queue.topic.name,
                                              partition=queue.partition))
        self._advance(queue)

    def _route(self, queue: PartitionQueue) -> None:
        """A partition changes its session only when nothing of it is in flight, or order would be lost."""
        sender = queue.sender
        route = self._metadata.route(queue.topic.name, queue.partition)
        if route is None or sender.in_flight or (sender.session is not None and sender.session.route == route):
            return
        session = self._sessions.get(route)
        if session is None:
            limit = ADVERTISED_CONNECT_TIMEOUT if self._metadata.is_advertised(route.address) else CONNECT_TIMEOUT
            session = self._sessions[route] = ProduceSession(self, route, limit)
        with self.changed:
            if queue.session is not None:
                queue.session.ready.pop(queue, None)
            queue.session = sender.session = session
            if queue.full or queue.open is not None:
                session.ready[queue] = None
        if sender.retry_wanted and sender.pause is None:
            self._end_pause(queue)
        self.loop.post(session.pump)

    def _advance(self, queue: PartitionQueue) -> None:
        """After anything about a partition changed."""
        sender = queue.sender
        if self._stopped:
            return
        if not sender.in_flight and sender.retry_wanted and sender.pause is None:
            sender.pause = self.loop.after(sender.backoff.next(), self._end_pause, queue)
        self._route(queue)

    def _end_pause(self, queue: PartitionQueue) -> None:
        sender = queue.sender
        sender.pause = None
        if self._stopped or not sender.retry_wanted or sender.in_flight or sender.session is None:
            return
        if sender.refused is not None and sender.refused == self._identity:
            self._last_identity, self._identity = self._identity, None
        sender.session.add_retry(sender)

    def _finish(self, batch: Batch, outcome: Any) -> None:
        sender = batch.queue.sender
        if batch.in_flight and sender.session is not None:
            sender.session.forget(batch)
        if batch in sender.unacked:
            sender.remove(batch)
        with self.changed:
            batch.outcome = outcome
            batch.payload = None
            batch.parts.clear()
            self._buffered -= batch.size
            self.unfinished.pop(batch, None)
            if isinstance(outcome, MillraceError) and self.failure is None:
                self.failure = outcome
            callbacks = batch.callbacks
            batch.callbacks = []
            self.changed.notify_all()
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _LOG.exception("a delivery callback for %s[%d] raised; the producer goes on", batch.queue.topic.name,
                               batch.queue.partition)

    def _expire(self) -> None:
        if self._stopped:
            return
        cutoff = time.monotonic() - self.settings.delivery_timeout_ms / 1000
        with self.changed:
            old = [batch for batch in self.unfinished if batch.created < cutoff]
            for batch in old:
                queue = batch.queue
                if queue.open is batch:
                    self._close_open(queue)
                if batch in queue.full:
                    queue.full.remove(batch)
        for batch in old:
            self._finish(batch, self._timed_out(batch))
            self._advance(batch.queue)
        self.loop.after(min(_EXPIRY_PERIOD, self.settings.delivery_timeout_ms / 8000), self._expire)

    def _timed_out(self, batch: Batch) -> MillraceError:
        queue = batch.queue
        cause = queue.sender.last_error or self._metadata.last_error or self._session_error
        maybe = batch.maybe_stored or batch.in_flight
        text = (f"records for {queue.topic.name}[{queue.partition}] were not stored within delivery.timeout.ms "
                f"({self.settings.delivery_timeout_ms})" + (f"; last: {cause.message}" if cause else "")
                + ("; they were sent and may be stored: read the partition's end before sending them again" if maybe
                   else "; they were not stored, sending them again is safe"))
        return MillraceError(ErrorCode.REQUEST_TIMED_OUT, text, retriable=True, may_have_happened=maybe, topic=queue.topic.name,
                             partition=queue.partition, address=cause.address if cause else "")

    def stop(self) -> None:
        """Gives up what is left, and ends the loop. From an application thread."""
        self.loop.run(self._stop)
        self.loop.stop()
        self.network.close()

    def _stop(self) -> None:
        error = MillraceError(ErrorCode.CANCELLED, "the producer was closed before the record was stored; flush() first, or allow more "
                              "time", retriable=True)
        for queues in list(self._topics.values()):
            for queue in queues.partitions:
                self._fail_queue(queue, error)
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        for session in self._sessions.values():
            session.close()
