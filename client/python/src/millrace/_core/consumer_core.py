"""The I/O half of a consumer. The application's half is consumer.py.

Subscribes each partition on the Fetch stream of its leader, passes what arrives into the inbox, and subscribes anew, at the next
offset, after whatever a retry mends.

Lives on the loop, but for `inbox` and `news`, which both sides use.
"""

import queue
import warnings
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union

from millrace._core import codecs
from millrace._core.backoff import Backoff
from millrace._core.broker_stream import ADVERTISED_CONNECT_TIMEOUT, CONNECT_TIMEOUT
from millrace._core.control import Control
from millrace._core.decoded_reader import DecodedReader
from millrace._core.fetch_session import FetchSession
from millrace._core.loop import Loop
from millrace._core.metadata import Metadata, Route
from millrace._core.network import Network
from millrace._core.partition import Added, Chunk, EndReached, Failure, Missing, News, Partition
from millrace._core.wire_errors import from_proto, offset_fault
from millrace.errors import ErrorCode, MillraceError, invalid_request
from millrace.position import Assignment, Position, PositionKind
from millrace.record import Gap, GapReason
from millrace.settings import ConsumerSettings
from millrace.v1 import admin_pb2, broker_pb2, group_pb2

Item = Union[Chunk, Missing, Failure, EndReached, None]  # None: look at the news


def reset_position(settings: ConsumerSettings) -> Optional[Position]:
    """auto.offset.reset; None: an error."""
    policy, _, duration = settings.auto_offset_reset.partition(":")
    if policy == "none":
        return None
    return {"earliest": Position.beginning(), "latest": Position.end()}.get(policy) or Position.ago(int(duration))


class ConsumerCore:
    def __init__(self, settings: ConsumerSettings) -> None:
        self.settings = settings
        self.inbox: "queue.SimpleQueue[Item]" = queue.SimpleQueue()
        self.news: Deque[News] = deque()
        self.loop = Loop("consumer")
        self.network = Network(self.loop, settings)
        self.control = Control(self.loop, self.network, settings)
        self.metadata = Metadata(self.loop, self.control, settings, self._on_metadata)
        # After these, reading goes on; set before it begins.
        self.gaps_passed: Set[GapReason] = set(GapReason) if settings.on_gap == "report" else set()
        self.trouble: Optional[MillraceError] = None  # what keeps records from coming, while the library goes on trying
        self._partitions: List[Partition] = []
        self._sessions: Dict[Route, FetchSession] = {}
        self._whole_topics: Dict[str, int] = {}  # and how many partitions they have

    def new_backoff(self) -> Backoff:
        return Backoff(self.settings.retry_backoff_ms, self.settings.retry_backoff_max_ms)

    def new_partition(self, topic: str, number: int, start: Position) -> Partition:
        return Partition(topic, number, start, self.new_backoff())

    def put(self, item: Item) -> None:
        self.inbox.put(item)

    def tell(self, news: News) -> None:
        self.news.append(news)
        self.inbox.put(None)

    # --- What is read ---

    def begin(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            partition.wanted = not partition.paused
            partition.fetch_generation = partition.generation
            self._partitions.append(partition)
            self.metadata.track(partition.topic)
            self._route(partition)

    def end(self, partitions: Sequence[Partition]) -> None:
        """Reads them no more, ever."""
        for partition in partitions:
            self._leave(partition)
            partition.wanted = False
            if partition in self._partitions:
                self._partitions.remove(partition)
        self._drop_unused_sessions()

    def reposition(self, partition: Partition, generation: int, start: Position) -> None:
        """Reads it from another place."""
        self._leave(partition)
        partition.start = start
        partition.next_offset = start.value if start.kind is PositionKind.OFFSET else -1
        partition.leader_epoch = 0
        partition.fetch_generation = generation
        partition.wanted = not partition.paused
        if partition in self._partitions:
            self.metadata.track(partition.topic)
            self._route(partition)

    def halt(self, partition: Partition, generation: int) -> None:
        """Reads it no more until reposition()."""
        self._leave(partition)
        partition.wanted = False
        partition.fetch_generation = generation

    def follow_topic(self, topic: str, known: int) -> None:
        """Tells of each partition that the topic gets beyond so many."""
        self._whole_topics[topic] = known

    def _leave(self, partition: Partition) -> None:
        if isinstance(partition.source, FetchSession):
            partition.source.unsubscribe(partition)
        partition.source = None

    def _on_metadata(self) -> None:
        for topic, known in self._whole_topics.items():
            count = len(self.metadata.topics[topic].partitions) if topic in self.metadata.topics else known
            for number in range(known, count):
                self.tell(Added(topic, number))
            self._whole_topics[topic] = max(known, count)
        for partition in list(self._partitions):
            error = self.metadata.missing.get(partition.topic)
            if error is not None and partition.wanted:
                self._stop(partition, error)
            else:
                self._route(partition)
        self.trouble = self.metadata.last_error
        self._drop_unused_sessions()

    def _route(self, partition: Partition) -> None:
        if not partition.wanted or isinstance(partition.source, DecodedReader):
            return
        if partition.decoded_by_broker and partition.next_offset >= 0:
            self._leave(partition)
            partition.source = DecodedReader(self, partition)
            partition.source.start()
            return
        route = self.metadata.route(partition.topic, partition.partition)
        if route is None:
            return
        session = self._sessions.get(route)
        if session is None:
            limit = ADVERTISED_CONNECT_TIMEOUT if self.metadata.is_advertised(route.address) else CONNECT_TIMEOUT
            session = self._sessions[route] = FetchSession(self, route, limit)
            for each in self._sessions.values():
                each.set_share(self.settings.fetch_max_bytes // len(self._sessions))
        if partition.source is not session:
            self._leave(partition)
            partition.source = session
        self._subscribe(session, partition)

    def _subscribe(self, session: FetchSession, partition: Partition) -> None:
        if session.established and not partition.subscription and partition.source is session and partition.wanted:
            known = self.metadata.topics.get(partition.topic)
            session.subscribe(partition, known.topic_id if known is not None else 0)

    def _drop_unused_sessions(self) -> None:
        for route, session in list(self._sessions.items()):
            if not any(partition.source is session for partition in self._partitions):
                session.close()
                del self._sessions[route]

    def _stop(self, partition: Partition, error: MillraceError) -> None:
        self._leave(partition)
        partition.wanted = False
        self.put(Failure(partition, partition.fetch_generation,
                         error.changed(topic=error.topic or partition.topic, partition=partition.partition)))

    # --- What the sessions tell ---

    def on_session_established(self, session: FetchSession) -> None:
        self.trouble = None
        for partition in self._partitions:
            self._subscribe(session, partition)

    def on_session_lost(self, session: FetchSession, error: MillraceError, was_established: bool) -> None:
        self.trouble = error
        if not was_established and self.metadata.is_advertised(session.route.address):
            self.metadata.mark_unreachable(session.route.address)
            self._on_metadata()
        else:
            self.metadata.refresh_elsewhere(session.route.address)

    def on_frame(self, session: FetchSession, partition: Partition, frame: broker_pb2.FetchPartition) -> None:
        if frame.HasField("error"):
            self._on_partition_error(session, partition, frame)
            return
        partition.backoff.reset()
        partition.high_watermark, partition.log_start_offset = frame.high_watermark, frame.log_start_offset
        if frame.HasField("start_offset") and partition.next_offset < 0:
            partition.next_offset = frame.start_offset
        if frame.HasField("gap") and not self._on_gap(partition, frame):
            return
        for fetched in frame.batches:
            if not codecs.can_read(fetched.batch.codec):
                self._let_broker_decode(partition, fetched)
                return
            size = len(fetched.batch.payload)
            session.hold(size)
            self.put(Chunk(partition, partition.fetch_generation, partition.next_offset, fetched, frame.log_append_time, session,
                           size))
            partition.next_offset = fetched.base_offset + fetched.batch.record_count
            partition.leader_epoch = fetched.leader_epoch
        if frame.end_reached:
            partition.wanted = False
            self.put(EndReached(partition, partition.fetch_generation))

    def _on_gap(self, partition: Partition, frame: broker_pb2.FetchPartition) -> bool:
        """Whether reading goes on."""
        gap = Gap(partition.topic, partition.partition, getattr(frame.gap, "from"), frame.gap.to, GapReason(frame.gap.reason))
        goes_on = gap.reason in self.gaps_passed
        if not goes_on:
            self._leave(partition)
            partition.wanted = False
        elif gap.reason is GapReason.TRUNCATED:
            partition.next_offset = min(partition.next_offset, gap.start)
        else:
            partition.next_offset = gap.end
        self.put(Missing(partition, partition.fetch_generation, gap))
        return goes_on

    def _let_broker_decode(self, partition: Partition, fetched: broker_pb2.FetchedBatch) -> None:
        partition.decoded_by_broker = True
        partition.next_offset = max(partition.next_offset, fetched.base_offset)
        warnings.warn('compressed batches are decoded by the broker for this process, which is slower; pip install "millrace[fast]"',
                      RuntimeWarning, stacklevel=2)
        self._route(partition)

    def _on_partition_error(self, session: FetchSession, partition: Partition, frame: broker_pb2.FetchPartition) -> None:
        error = from_proto(frame.error, session.route.address, partition.topic, partition.partition)
        if not error.retriable:
            self._stop(partition, error)
            return
        self.trouble = error
        partition.source = None
        if frame.error.HasField("leader"):
            self.metadata.take_hint(partition.topic, partition.partition, frame.error.leader)
        self.metadata.refresh()
        self.loop.after(partition.backoff.next(), self._route, partition)

    # --- Questions ---

    def list_offsets(self, partitions: Sequence[Tuple[str, int]], at: Position, done: Callable[..., None]) -> None:
        """done([(log start, high watermark, offset)], None), the offset being that of `at`."""
        queries = []
        for topic, number in partitions:
            query = broker_pb2.OffsetQuery(topic=topic, partition=number, spec=broker_pb2.OFFSET_SPEC_LATEST)
            if at.kind is PositionKind.TIME:
                query.timestamp = at.value
            queries.append(query)

        def answered(reply: Any, error: Optional[MillraceError]) -> None:
            if error is not None:
                done(None, error)
                return
            done([(result.log_start_offset, result.high_watermark, result.offset) for result in reply.results], None)

        self.control.call("Broker", "ListOffsets", broker_pb2.ListOffsetsRequest(queries=queries), broker_pb2.ListOffsetsResponse,
                          answered, fault=offset_fault)

    def expand(self, assignments: Sequence[Assignment], done: Callable[..., None]) -> None:
        """done([(assignment, partition number)], None)."""
        def answered(reply: Any, error: Optional[MillraceError]) -> None:
            if error is not None:
                done(None, error)
                return
            known = {topic.name: topic for topic in reply.topics}
            found = []
            for each in assignments:
                topic = known[each.topic]
                if topic.HasField("error"):
                    done(None, from_proto(topic.error, topic=each.topic))
                    return
                count = len(topic.partitions)
                if each.partition is not None and not 0 <= each.partition < count:
                    done(None, MillraceError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{each.topic} has partitions 0 to {count - 1}",
                                             topic=each.topic, partition=each.partition))
                    return
                found += [(each, number) for number in (range(count) if each.partition is None else [each.partition])]
            if len({(each.topic, number) for each, number in found}) < len(found):
                done(None, invalid_request("a partition is assigned twice; name each once"))
                return
            done(found, None)

        names = sorted({each.topic for each in assignments})
        self.control.call("Admin", "GetMetadata", admin_pb2.GetMetadataRequest(topics=names), admin_pb2.GetMetadataResponse,
                          answered)

    def commit(self, request: group_pb2.CommitOffsetsRequest, done: Callable[[Optional[MillraceError]], None]) -> None:
        def fault(reply: group_pb2.CommitOffsetsResponse) -> Optional[MillraceError]:
            for place, error in zip(request.offsets, reply.errors):
                if error.code:
                    return from_proto(error, topic=place.topic, partition=place.partition)
            return None

        self.control.call("Groups", "CommitOffsets", request, group_pb2.CommitOffsetsResponse, lambda _, error: done(error),
                          fault=fault)

    def stop(self) -> None:
        """From the application's thread."""
        self.loop.run(self._close_sessions)
        self.loop.stop()
        self.network.close()

    def _close_sessions(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
