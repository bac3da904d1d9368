"""Reads records from topics.

    with millrace.Consumer("127.0.0.1:9470", group_id="payment") as consumer:
        consumer.subscribe(["orders"])
        for record in consumer:
            charge(record.value)  # committed as handled, every auto.commit.interval.ms

Batches are pushed by the brokers as they appear and wait in memory, up to fetch.max.bytes. Records of one partition come in offset
order. The library reconnects and goes on where it was when a broker restarts or a leader moves, without repeating or skipping a
record. Members of a group share the partitions; each record is handled at least once: what was handled and not yet committed when a
member dies comes again at its heir. A record counts as handled when the next one is asked for, or commit() is called.

Thread safety: one thread at a time, but for wakeup(), which any thread may call. Callbacks run on that thread, between two records.
Fork: a consumer that was used before a fork raises INVALID_REQUEST in the child, where gRPC would hang (see README.md).
Errors: what a retry mends is retried inside, for ever; `trouble` tells a broker that cannot be reached from a topic without news.
The rest is raised where records are asked for, and concerns one partition, named in the error, which stops until seek():
OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE (neither with on.gap=report), UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, UNSUPPORTED_VERSION;
or the membership, which ends: FENCED_INSTANCE_ID, INVALID_REGULAR_EXPRESSION, GROUP_MAX_SIZE_REACHED. That one is raised each time,
until subscribe() or assign().
"""

import itertools
import logging
import math
import operator
import queue
import threading
import time
from types import TracebackType
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Type, Union

from millrace._core import fork
from millrace._core.consumer_core import ConsumerCore, reset_position
from millrace._core.encoding import decode_batch
from millrace._core.group_member import GroupMember
from millrace._core.partition import Added, Assigned, Chunk, EndReached, Failure, Lost, MembershipEnded, Missing, News, Partition, Revoked
from millrace._core.waiting import Waiting
from millrace.errors import ErrorCode, MillraceError, invalid_request
from millrace.position import Assignment, Position, PositionKind
from millrace.record import CommittedOffset, Gap, GapReason, Record, TopicPartition
from millrace.settings import ConsumerSettings, parse
from millrace.v1 import group_pb2

_LOG = logging.getLogger("millrace")
PartitionsCallback = Callable[[Sequence[TopicPartition]], None]


def _nothing(_: Any) -> None:
    pass


class Consumer:
    def __init__(self, address: Optional[str] = None, *, settings: Optional[Mapping[str, Any]] = None,
                 on_assigned: PartitionsCallback = _nothing, on_revoked: PartitionsCallback = _nothing,
                 on_lost: PartitionsCallback = _nothing, on_missing: Callable[[Gap], None] = _nothing, **named: Any) -> None:
        """Does not wait for a broker. Settings by Kafka's names: a map, or with underscores (group_id="g"). INVALID_CONFIG.

        on_assigned: these partitions of the group came; may seek(). on_revoked: they are to be let go, and are once it returns: commit
        what is done of them (enable.auto.commit does so after it). on_lost: they are others' already. on_missing: told of gaps, with
        on.gap=report."""
        self._settings: ConsumerSettings = parse(ConsumerSettings, address, settings, named)
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._on_missing_records = on_missing
        self._opened: Optional[ConsumerCore] = None
        self._member: Optional[GroupMember] = None
        self._membership_error: Optional[MillraceError] = None  # what ended it
        self._partitions: Dict[TopicPartition, Partition] = {}
        self._rest: Iterator[Record] = iter([])  # a list's, which knows what is left: of the batch that is being given out,
        self._rest_of: Optional[Partition] = None
        self._rest_generation = 0
        self._in_hand: Optional[Partition] = None  # whose record before its position the application has, not handled yet
        self._polled: Optional[Record] = None  # the last that poll() gave
        self._woken = False
        self._stopping = False  # wakeup() ended the last question
        self._committing = False
        self._commit_order = threading.Lock()
        self._commit_numbers = itertools.count(1)
        self._closed = False
        self.gap_records = 0  # missing, as gaps told

    # --- What is read ---

    def assign(self, assignments: Iterable[Union[str, TopicPartition, Assignment]]) -> None:
        """Reads these and nothing else from now on; no membership. With a group.id, partitions without `start` begin where the group
        has committed. Waits, at most request.timeout.ms. UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST: nothing is assigned then."""
        wanted = [Assignment(each) if isinstance(each, str) else Assignment(*each) for each in assignments]
        core = self._core()
        self._leave_everything()
        found: Waiting[Any] = Waiting()
        core.loop.post(core.expand, wanted, found)
        places = found.get()
        committed = {}
        if self._settings.group_id and any(each.start is None for each, _ in places):
            names = [TopicPartition(each.topic, number) for each, number in places]
            committed = {(offset.topic, offset.partition): offset.offset for offset in self.committed(names) if offset.offset >= 0}
        partitions = []
        for each, number in places:
            start = each.start
            if start is None and (each.topic, number) in committed:
                start = Position.offset(committed[each.topic, number])
            partition = core.new_partition(each.topic, number, self._start(start))
            if start is None and reset_position(self._settings) is None:
                raise self._no_position(partition)
            partition.position = partition.next_offset
            partitions.append(partition)
        self._find_untils(partitions, [each.until for each, _ in places])
        self._partitions = {partition.name: partition for partition in partitions}
        core.loop.post(core.begin, partitions)
        for each in wanted:
            if each.partition is None and each.until is None:
                count = sum(1 for place, _ in places if place.topic == each.topic)
                core.loop.post(core.follow_topic, each.topic, count)
        self._start_committing()

    def subscribe(self, topics: Union[str, Sequence[str]] = (), *, pattern: str = "") -> None:
        """Joins the group group.id and reads what its coordinator assigns to this member, from where the group has come. Topics that
        are not there yet are waited for. pattern: RE2, of whole names. Does not wait. Called again: another subscription.
        INVALID_REQUEST: no topics and no pattern, or no group.id."""
        if not self._settings.group_id:
            raise invalid_request("subscribe() needs a group: set group.id, or assign() partitions to this consumer alone")
        names = [topics] if isinstance(topics, str) else list(topics)
        if not any(names) and not pattern:
            raise invalid_request("subscribe() names neither a topic nor a pattern; name what to read")
        core = self._core()
        self._leave_everything()
        self._member = GroupMember(core, names, pattern)
        core.loop.post(self._member.start)
        self._start_committing()

    def seek(self, partition: TopicPartition, position: Union[int, Position]) -> None:
        """Goes on elsewhere; also after an error there. A position that is not in the log is told where records are asked for."""
        place = self._place(partition)
        start = Position.offset(position) if isinstance(position, int) else position
        if place is self._in_hand:
            self._in_hand = None
        if self._polled is not None and place.name == self._polled[:2]:
            self._polled = None
        place.move(start)
        core = self._core()
        core.loop.post(core.reposition, place, place.generation, start)

    def pause(self, partitions: Optional[Sequence[TopicPartition]] = None) -> None:
        """Gives nothing of these (None: all) until resume(), and fetches nothing: what was received is dropped and comes again."""
        for place in self._places(partitions):
            if not place.paused:
                place.paused = True
                place.generation += 1
                core = self._core()
                core.loop.post(core.halt, place, place.generation)

    def resume(self, partitions: Optional[Sequence[TopicPartition]] = None) -> None:
        for place in self._places(partitions):
            if place.paused:
                place.paused = False
                place.generation += 1
                core = self._core()
                polled = self._polled if self._polled is not None and place.name == self._polled[:2] else None
                if polled is not None:
                    place.position = polled.offset + 1
                start = Position.offset(place.position) if place.position >= 0 else place.start
                core.loop.post(core.reposition, place, place.generation, start)

    def assignment(self) -> List[TopicPartition]:
        return list(self._partitions)

    def position(self, partition: TopicPartition) -> int:
        """Offset of the record that comes next; -1: not known yet."""
        return self._place(partition).position

    def lag(self, partition: TopicPartition) -> int:
        """Records from there to the end, as last heard; -1: not known yet."""
        place = self._place(partition)
        return place.high_watermark - place.position if place.high_watermark >= 0 and place.position >= 0 else -1

    @property
    def trouble(self) -> Optional[MillraceError]:
        """What keeps records from coming, while the library goes on trying."""
        return self._opened.trouble if self._opened is not None else None

    # --- Records ---

    def __iter__(self) -> Iterator[Record]:
        """Waits for records without limit. Ends when every partition reached its `until`, or after wakeup()."""
        while self._fill(None):
            yield from self._give()

    def _give(self) -> Iterator[Record]:
        """What is left of the batch that is being given out, as long as it is wanted."""
        partition, generation, member = self._rest_of, self._rest_generation, self._member
        assert partition is not None
        if member is None:
            for record in self._rest:
                if partition.generation != generation:
                    return
                self._in_hand = partition  # first: an automatic commit may look in between
                partition.position = record.offset + 1
                yield record
            return
        news, now = self._core().news, time.monotonic
        for record in self._rest:
            if partition.generation != generation:
                return
            asked_at = now()
            if news or asked_at > member.valid_until:
                self._rest = iter([record, *self._rest])
                return
            member.asked_at = asked_at
            self._in_hand = partition  # first: an automatic commit may look in between
            partition.position = record.offset + 1
            yield record

    def poll(self, timeout: Optional[float] = None, max_records: Optional[int] = None) -> List[Record]:
        """Up to max.poll.records records of one partition; none when so many seconds pass. They count as handled at the next poll(), or
        commit()."""
        if not self._fill(timeout):
            return []
        partition = self._rest_of
        assert partition is not None
        if partition.generation != self._rest_generation:
            return []
        records = list(itertools.islice(self._rest, max_records or self._settings.max_poll_records))
        if records:
            self._polled = records[-1]
        return records

    def wakeup(self) -> None:
        """Makes a waiting poll() return nothing, and an iteration end; or else the next one. Any thread."""
        self._woken = True
        if self._opened is not None:
            self._opened.put(None)

    def forget_wakeup(self) -> None:
        """Takes back a wakeup() that nothing was waiting for."""
        self._woken = False

    # --- How far the group has come ---

    def commit(self, record: Optional[Record] = None, *, offsets: Optional[Sequence[CommittedOffset]] = None) -> None:
        """Stores how far this consumer has come: all that poll() or an iteration gave, the record in hand included. With `record`: in its
        partition up to that one, in the others what was asked past. Or what is named. What is committed so counts as handled. Waits, at
        most request.timeout.ms. FENCED_MEMBER_EPOCH, UNKNOWN_MEMBER_ID (the partition is not this member's any more),
        OFFSET_OUT_OF_RANGE (behind the end)."""
        done: Waiting[None] = Waiting()
        self._commit(lambda: self._to_commit(record, offsets), lambda error: done(None, error))
        done.get()

    def commit_async(self, done: Callable[[Optional[MillraceError]], None] = _nothing) -> None:
        """As commit(), but does not wait; `done` is told on the library's thread."""
        self._commit(lambda: self._to_commit(None, None), done)

    def committed(self, partitions: Sequence[TopicPartition] = ()) -> List[CommittedOffset]:
        """What the group has committed of these, in order; none named: all."""
        self._need_group()
        request = group_pb2.FetchOffsetsRequest(group=self._settings.group_id)
        for topic, number in partitions:
            request.partitions.add(topic=topic, partition=number)
        core, found = self._core(), Waiting[Any]()
        core.loop.post(lambda: core.control.call("Groups", "FetchOffsets", request, group_pb2.FetchOffsetsResponse, found))
        return [CommittedOffset(each.topic, each.partition, each.offset, each.leader_epoch, each.metadata, each.commit_time)
                for each in found.get().offsets]

    def close(self) -> None:
        """Commits what was handled (with enable.auto.commit; a record that the application still has was not, unless it has committed
        it) and leaves the group, so that others take over at once."""
        if self._closed or fork.in_child():
            self._closed = True
            return
        self._closed = True
        if self._opened is None:
            return
        try:
            self._leave_everything()
        finally:
            self._opened.stop()

    def __enter__(self) -> "Consumer":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def run(self, handler: Callable[[Record], None], *, attempts: int = 3, backoff: float = 0.1, backoff_max: float = 10.0,
            dead_letter_topic: str = "", on_corrupt: str = "stop") -> None:
        """Calls handler(record) for each record, until wakeup(), the end of all partitions, or an error; see millrace/run.py.
        backoff, backoff_max: seconds."""
        from millrace.run import Run  # needs this module

        Run(self, handler, attempts, backoff, backoff_max, dead_letter_topic, on_corrupt).loop()

    # --- Inside ---

    def _core(self) -> ConsumerCore:
        if fork.in_child():
            fork.check("consumer")
        if self._closed and self._opened is None:
            raise invalid_request("the consumer was closed; make another one")
        if self._opened is None:
            self._opened = ConsumerCore(self._settings)
        return self._opened

    def _place(self, partition: TopicPartition) -> Partition:
        place = self._partitions.get(TopicPartition(*partition))
        if place is None:
            raise invalid_request(f"{partition[0]}[{partition[1]}] is not assigned to this consumer", topic=partition[0],
                                  partition=partition[1])
        return place

    def _places(self, partitions: Optional[Sequence[TopicPartition]]) -> List[Partition]:
        return list(self._partitions.values()) if partitions is None else [self._place(each) for each in partitions]

    def _start(self, start: Optional[Position]) -> Position:
        return start or reset_position(self._settings) or Position.beginning()

    def _no_position(self, partition: Partition) -> MillraceError:
        return MillraceError(ErrorCode.OFFSET_OUT_OF_RANGE, f"nothing is committed of {partition.topic}[{partition.partition}], and "
                             "auto.offset.reset is none; seek() it", topic=partition.topic, partition=partition.partition)

    def _find_untils(self, partitions: List[Partition], untils: List[Optional[Position]]) -> None:
        core = self._core()
        for until in set(untils) - {None}:
            assert until is not None
            chosen = [partition for partition, each in zip(partitions, untils) if each == until]
            found: Waiting[Any] = Waiting()
            core.loop.post(core.list_offsets, [partition.name for partition in chosen], until, found)
            for partition, (first, end, at) in zip(chosen, found.get()):
                partition.until = {PositionKind.BEGINNING: first, PositionKind.OFFSET: until.value,
                                   PositionKind.BEFORE_END: max(first, end - until.value)}.get(until.kind, at)
                partition.ended = partition.until <= first

    def _leave_everything(self) -> None:
        core = self._core()
        if self._settings.enable_auto_commit and self._settings.group_id:
            self._commit_quietly(list(self._partitions.values()))
        if self._member is not None:
            left: Waiting[Any] = Waiting()
            core.loop.post(self._member.leave, left)
            try:
                left.get()
            except MillraceError as error:
                _LOG.warning("the group %s was not told that this member leaves: %s", self._settings.group_id, error)
        self._member = self._membership_error = None
        for partition in self._partitions.values():
            partition.generation += 1
        core.loop.run(core.end, list(self._partitions.values()))
        core.news.clear()  # of what was left
        self._partitions = {}
        self._rest_of = self._in_hand = self._polled = None

    def _settle(self) -> None:
        """The application asks for the next: what it has is handled."""
        self._in_hand = None
        if self._polled is not None:
            place = self._partitions.get(TopicPartition(*self._polled[:2]))
            if place is not None:
                place.position = self._polled.offset + 1
            self._polled = None

    def _settle_up_to(self, record: Record) -> None:
        """The application says that this one is handled, and what comes before it."""
        place = self._place(TopicPartition(record.topic, record.partition))
        if place is self._in_hand and place.position == record.offset + 1:
            self._in_hand = None
        if self._polled is not None and place.name == self._polled[:2]:
            place.position = max(place.position, record.offset + 1)

    def _fill(self, timeout: Optional[float]) -> bool:
        """Waits until there is a rest to give out. False: time-out, wakeup(), or all partitions ended."""
        core = self._core()
        if self._closed:
            raise invalid_request("the consumer was closed; make another one")
        if self._member is None and not self._partitions:
            raise invalid_request("nothing is assigned; assign() or subscribe() first")
        self._settle()
        self._stopping = False
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        member = self._member
        if member is not None:
            member.asked_at = math.inf
            if member.away:
                core.loop.post(member.asked)
        try:
            while not self._woken:
                if member is not None and time.monotonic() > member.valid_until:
                    core.loop.run(member.expire)
                if member is not None and member.away:  # found out while this asked
                    core.loop.post(member.asked)
                while core.news:
                    self._on_news(core.news.popleft())
                if self._membership_error is not None:
                    raise self._membership_error.changed()  # a new one, as it may be raised often
                if self._has_rest():
                    return True
                if self._is_at_end():
                    return False
                try:
                    item = core.inbox.get(timeout=None if timeout is None else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    return False
                if item is not None and item.generation == item.partition.generation:
                    self._on_item(item)
                elif isinstance(item, Chunk):
                    core.loop.post(item.source.release, item.bytes)
            self._woken = False
            self._stopping = True
            return False
        finally:
            if member is not None:
                member.asked_at = time.monotonic()

    def _is_at_end(self) -> bool:
        return bool(self._partitions) and all(each.ended and each.until is not None for each in self._partitions.values())

    def _has_rest(self) -> bool:
        if self._rest_of is None or self._rest_of.generation != self._rest_generation:
            return False
        return operator.length_hint(self._rest) > 0

    def _on_item(self, item: Union[Chunk, Missing, Failure, EndReached]) -> None:
        partition = item.partition
        if isinstance(item, Chunk):
            self._on_chunk(item)
        elif isinstance(item, Missing):
            self._on_missing(partition, item.gap)
        elif isinstance(item, Failure):
            raise item.error
        else:
            partition.ended = True

    def _on_chunk(self, chunk: Chunk) -> None:
        core, partition = self._core(), chunk.partition
        core.loop.post(chunk.source.release, chunk.bytes)
        if isinstance(chunk.fetched, list):
            records = chunk.fetched
        else:
            try:
                records = decode_batch(partition.topic, partition.partition, chunk.fetched, chunk.log_append_time,
                                       self._settings.check_crcs)
            except MillraceError as error:
                self._on_damage(partition, chunk, error)
                return
        next_offset = records[-1].offset + 1 if records else chunk.first
        if records and records[0].offset < chunk.first:
            records = records[chunk.first - records[0].offset:]
        if partition.until is not None and next_offset >= partition.until:
            records = [record for record in records if record.offset < partition.until]
            partition.ended = True
        if partition.not_before is not None:
            after = partition.not_before
            records = list(itertools.dropwhile(lambda record: record.timestamp < after, records))
            if records:
                partition.not_before = None
        if records:
            if partition.position < 0:
                partition.position = records[0].offset
            self._rest, self._rest_of, self._rest_generation = iter(records), partition, partition.generation

    def _on_damage(self, partition: Partition, chunk: Chunk, error: MillraceError) -> None:
        core = self._core()
        assert not isinstance(chunk.fetched, list)
        end = chunk.fetched.base_offset + chunk.fetched.batch.record_count
        if error.code == ErrorCode.CORRUPT_MESSAGE and GapReason.CORRUPT in core.gaps_passed:
            self._on_missing(partition, Gap(partition.topic, partition.partition, chunk.first, end, GapReason.CORRUPT))
            return
        partition.generation += 1
        core.loop.post(core.halt, partition, partition.generation)
        raise error

    def _on_missing(self, partition: Partition, gap: Gap) -> None:
        if gap.reason in self._core().gaps_passed:
            self.gap_records += gap.end - gap.start
            if gap.reason is not GapReason.TRUNCATED:
                partition.position = gap.end
            self._on_missing_records(gap)
            return
        where = f"{gap.topic}[{gap.partition}]"
        if gap.reason is GapReason.CORRUPT:
            raise MillraceError(ErrorCode.CORRUPT_MESSAGE, f"offsets {gap.start} to {gap.end} of {where} are damaged on every replica; "
                                f"seek to {gap.end}, or read with on.gap=report", topic=gap.topic, partition=gap.partition)
        raise MillraceError(ErrorCode.OFFSET_OUT_OF_RANGE, f"offsets {gap.start} to {gap.end} of {where} are not in the log (any more: "
                            f"{gap.reason.name.lower()}); it has {partition.log_start_offset} to {partition.high_watermark}. Seek there, "
                            "or read with on.gap=report", topic=gap.topic, partition=gap.partition,
                            log_start_offset=partition.log_start_offset, high_watermark=partition.high_watermark)

    # --- Group ---

    def _on_news(self, news: News) -> None:
        core, member = self._core(), self._member
        if isinstance(news, MembershipEnded):
            self._membership_error = news.error
            return
        if isinstance(news, Added):
            added = core.new_partition(news.topic, news.partition, Position.beginning())
            self._partitions[added.name] = added
            core.loop.post(core.begin, [added])
            return
        names = [partition.name for partition in news.partitions]
        if isinstance(news, Assigned):
            for partition in news.partitions:
                before = self._partitions.get(partition.name)  # there is one if its position was reset
                partition.paused = before is not None and before.paused
                self._partitions[partition.name] = partition
            self._on_assigned(names)
            held = [partition for partition in news.partitions if self._partitions.get(partition.name) is partition]
            core.loop.post(core.begin, held)
            for partition in held:
                if partition.ended:  # nothing is committed, and auto.offset.reset is none
                    core.loop.post(core.halt, partition, partition.generation)
                    core.put(Failure(partition, partition.generation, self._no_position(partition)))
                    partition.ended = False
            return
        mine = [partition for partition in news.partitions if self._partitions.get(partition.name) is partition]
        if isinstance(news, Lost):
            self._on_lost(names)
        else:
            self._on_revoked(names)
            if self._settings.enable_auto_commit:
                self._commit_quietly(mine)
        for partition in mine:
            del self._partitions[partition.name]
        if member is not None and isinstance(news, Revoked):
            core.loop.post(member.released, news.partitions)

    def _need_group(self) -> None:
        if not self._settings.group_id:
            raise invalid_request("there is no group: set group.id")

    def _start_committing(self) -> None:
        if self._settings.enable_auto_commit and self._settings.group_id and not self._committing:
            self._committing = True
            core = self._core()
            core.loop.post(lambda: core.loop.after(self._settings.auto_commit_interval_ms / 1000, self._auto_commit))

    def _auto_commit(self) -> None:
        """On the loop."""
        core = self._core()
        core.loop.after(self._settings.auto_commit_interval_ms / 1000, self._auto_commit)
        partitions = [partition for partition in list(self._partitions.values()) if not partition.releasing]
        self._commit(lambda: self._handled(partitions), self._note_commit)

    def _note_commit(self, error: Optional[MillraceError]) -> None:
        if error is not None:
            _LOG.warning("the positions of group %s were not committed, and will be with the next commit: %s", self._settings.group_id,
                         error)

    def _commit_quietly(self, partitions: Sequence[Partition]) -> None:
        done: Waiting[None] = Waiting()
        self._commit(lambda: self._handled(partitions), lambda error: done(None, error))
        try:
            done.get()
        except MillraceError as error:
            self._note_commit(error)

    def _handled(self, partitions: Sequence[Partition]) -> List[group_pb2.OffsetCommit]:
        """Positions of what was handled, where the group does not have them yet."""
        offsets = []
        for partition in partitions:
            position = partition.position
            if partition is self._in_hand and position != partition.committed:  # else a commit has said that it is done
                position -= 1
            if position >= 0 and position != partition.committed and (position > 0 or partition.committed > 0):
                offsets.append(group_pb2.OffsetCommit(topic=partition.topic, topic_id=partition.topic_id, partition=partition.partition,
                                                      epoch=partition.epoch, offset=position))
        return offsets

    def _to_commit(self, record: Optional[Record], named: Optional[Sequence[CommittedOffset]]) -> List[group_pb2.OffsetCommit]:
        self._need_group()
        if named is not None:
            offsets = []
            for each in named:
                held = self._partitions.get(TopicPartition(each.topic, each.partition))
                offsets.append(group_pb2.OffsetCommit(
                    topic=each.topic, partition=each.partition, offset=each.offset, leader_epoch=each.leader_epoch,
                    metadata=each.metadata, epoch=held.epoch if held else 0, topic_id=held.topic_id if held else 0))
            return offsets
        if record is None:
            self._settle()
        else:
            self._settle_up_to(record)
        offsets = self._handled(list(self._partitions.values()))
        if record is not None:
            place = self._place(TopicPartition(record.topic, record.partition))
            offsets = [each for each in offsets if (each.topic, each.partition) != place.name]
            offsets.append(group_pb2.OffsetCommit(
                topic=record.topic, topic_id=place.topic_id, partition=record.partition, epoch=place.epoch, offset=record.offset + 1,
                leader_epoch=record.leader_epoch))
        return offsets

    def _commit(self, choose: Callable[[], List[group_pb2.OffsetCommit]], done: Callable[[Optional[MillraceError]], None]) -> None:
        core, member = self._core(), self._member
        with self._commit_order:  # a later number has later positions
            offsets = choose()
            number = next(self._commit_numbers)
        if not offsets:
            done(None)
            return
        request = group_pb2.CommitOffsetsRequest(group=self._settings.group_id, offsets=offsets)
        if member is not None:
            request.member_id, request.sequence = member.member_id, number
        held = [self._partitions.get(TopicPartition(each.topic, each.partition)) for each in offsets]

        def stored(error: Optional[MillraceError]) -> None:
            if error is None:
                for each, partition in zip(offsets, held):
                    if partition is not None:
                        partition.committed = each.offset
            done(error)

        core.loop.post(core.commit, request, stored)
