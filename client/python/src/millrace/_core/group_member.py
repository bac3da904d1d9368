"""A member's session with its group's coordinator, by heartbeats that wait for news; see group.proto.

What it tells the application's side goes into the core's news: partitions that came, that are to be let go (released() says that they
are), that were lost (the log says why). A member that gets no answer for its session time-out stops delivering by its own clock:
`valid_until`.

Lives on the loop; `valid_until` and `asked_at` are read and written by the application's thread, too.
"""

import logging
import math
import secrets
import socket
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from millrace._core.backoff import Backoff
from millrace._core.consumer_core import ConsumerCore, reset_position
from millrace._core.partition import Assigned, Lost, MembershipEnded, Partition, Revoked
from millrace.errors import ErrorCode, MillraceError
from millrace.position import Position
from millrace.v1 import group_pb2

_LOG = logging.getLogger("millrace")
_Key = Tuple[int, int]  # topic id, partition

_REJOIN = (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH)
_LEAVES, _LEAVES_FOR_A_WHILE = -1, -2
_WATCH_MAX = 0.25


class GroupMember:
    def __init__(self, core: ConsumerCore, topics: Sequence[str], pattern: str) -> None:
        settings = core.settings
        self._core = core
        self._topics = topics
        self._pattern = pattern
        self.member_id = secrets.token_hex(16)
        self._session = settings.session_timeout_ms / 1000
        self._wait = min(self._session / 3, 5.0)
        self._epoch = 0
        self._held: Dict[_Key, Partition] = {}
        self._last_sent = 0  # numbers of heartbeats: only the newest one's answer counts
        self._backoff = Backoff(settings.retry_backoff_ms, settings.retry_backoff_max_ms)
        self.away = False  # it left, until the application asks again
        self._ended = False
        self.valid_until = math.inf  # on the monotonic clock; afterwards partitions may be others'
        self.asked_at = time.monotonic()  # when the application last asked for a record; inf: it waits for one

    def start(self) -> None:
        self._heartbeat(0)
        self._watch()

    def released(self, partitions: Sequence[Partition]) -> None:
        """The application is done with them."""
        for partition in partitions:
            key = (partition.topic_id, partition.partition)
            if self._held.get(key) is partition:
                del self._held[key]
        self._core.end(partitions)
        if not self._ended and not self.away:
            self._heartbeat(0)

    def asked(self) -> None:
        """The application is back after max.poll.interval.ms."""
        if self.away and not self._ended:
            self.away = False
            self._heartbeat(0)

    def expire(self) -> None:
        """By the member's own clock its partitions are others' by now."""
        if time.monotonic() > self.valid_until:
            self._lose("the coordinator has not answered for session.timeout.ms; what was assigned is given up until it does")
            self._heartbeat(0)

    def leave(self, done: Any) -> None:
        if self._ended:
            done(None)
            return
        self._ended = True
        self._last_sent += 1
        epoch = _LEAVES_FOR_A_WHILE if self._core.settings.group_instance_id else _LEAVES
        self._core.control.call("Groups", "Heartbeat", self._request(epoch, 0), group_pb2.HeartbeatResponse, done)

    def _request(self, epoch: int, wait_ms: int) -> group_pb2.HeartbeatRequest:
        settings = self._core.settings
        request = group_pb2.HeartbeatRequest(
            group=settings.group_id, member_id=self.member_id, member_epoch=epoch, instance_id=settings.group_instance_id,
            client_id=settings.client_id, rack=settings.client_rack, session_timeout_ms=settings.session_timeout_ms,
            topics=self._topics, topic_pattern=self._pattern, assignor=settings.group_remote_assignor, max_wait_ms=wait_ms,
            host=socket.gethostname())
        for (topic_id, number), partition in self._held.items():
            request.owned.add(topic_id=topic_id, partition=number, position=partition.position)
        return request

    def _heartbeat(self, wait_ms: int) -> None:
        """wait_ms: 0 where it says something new, and the answer may be waited for by others."""
        if self._ended or self.away:
            return
        self._last_sent += 1
        number, sent_at = self._last_sent, time.monotonic()

        def answered(reply: Optional[group_pb2.HeartbeatResponse], error: Optional[MillraceError]) -> None:
            if number != self._last_sent or self._ended or self.away:
                return
            if error is not None:
                self._on_error(error)
                return
            assert reply is not None
            self._backoff.reset()
            self.valid_until = sent_at + self._session
            if reply.member_epoch >= self._epoch:
                self._epoch = reply.member_epoch
                self._take(reply.assignment)
            self._heartbeat(int(self._wait * 1000))

        attempt = wait_ms / 1000 + self._session / 3
        self._core.control.call("Groups", "Heartbeat", self._request(self._epoch, wait_ms), group_pb2.HeartbeatResponse, answered,
                                timeout=max(self._session, attempt), attempt=attempt)

    def _on_error(self, error: MillraceError) -> None:
        if error.code in _REJOIN:
            self._lose(str(error))
        elif not error.retriable:
            self._lose(str(error))
            self._ended = True
            self._core.tell(MembershipEnded(error))
            return
        self._core.trouble = error
        number = self._last_sent
        self._core.loop.after(self._backoff.next(), lambda: self._heartbeat(0) if number == self._last_sent else None)

    def _take(self, assignment: Sequence[group_pb2.AssignedPartition]) -> None:
        assigned = {(each.topic_id, each.partition): each for each in assignment}
        gone = [partition for key, partition in self._held.items() if key not in assigned and not partition.releasing]
        for partition in gone:
            partition.releasing = True
            partition.generation += 1
            self._core.halt(partition, partition.generation)
        new: List[Partition] = []
        for key, each in assigned.items():
            held = self._held.get(key)
            if held is not None and (held.releasing or held.epoch == each.epoch):
                continue
            if held is not None:  # its position was reset: it begins anew
                held.generation += 1
                self._core.end([held])
            new.append(self._partition(each))
            self._held[key] = new[-1]
        if gone:
            self._core.tell(Revoked(gone))
        if new:
            self._core.tell(Assigned(new))

    def _partition(self, each: group_pb2.AssignedPartition) -> Partition:
        has = each.HasField("committed_offset")
        start = Position.offset(each.committed_offset) if has else reset_position(self._core.settings) or Position.beginning()
        partition = self._core.new_partition(each.topic, each.partition, start)
        partition.topic_id, partition.epoch = each.topic_id, each.epoch
        if has:
            partition.position = partition.committed = each.committed_offset
        elif reset_position(self._core.settings) is None:
            partition.ended = True
        return partition

    def _lose(self, why: str) -> None:
        lost = list(self._held.values())
        for partition in lost:
            partition.generation += 1
        self._held.clear()
        self._core.end(lost)
        self._epoch = 0
        self.valid_until = math.inf  # it holds nothing
        if lost:
            _LOG.warning("this member of group %s lost its partitions (%d): %s", self._core.settings.group_id, len(lost), why)
            self._core.tell(Lost(lost))

    def _watch(self) -> None:
        if self._ended:
            return
        now = time.monotonic()
        if now > self.valid_until:
            self.expire()
        if not self.away and now - self.asked_at > self._core.settings.max_poll_interval_ms / 1000:
            self.away = True
            self._last_sent += 1
            request = self._request(_LEAVES, 0)
            self._lose("the application has not asked for records for max.poll.interval.ms, and others go on with them; poll more often, "
                       "or raise max.poll.interval.ms")
            self._core.control.call("Groups", "Heartbeat", request, group_pb2.HeartbeatResponse, lambda *_: None)
        self._core.loop.after(min(_WATCH_MAX, self._session / 10), self._watch)
