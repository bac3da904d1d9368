"""Who leads which partition: asked when topics are first used, when something shows that it changed, and once in a while.

Lives on the loop.
"""

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

from millrace._core.backoff import Backoff
from millrace._core.control import Control
from millrace._core.loop import Loop, Timer
from millrace._core.wire_errors import from_proto
from millrace.errors import MillraceError
from millrace.settings import ClientSettings
from millrace.v1 import admin_pb2, broker_pb2, error_pb2

ANY, LEADER_ONLY = broker_pb2.ROUTING_ANY, broker_pb2.ROUTING_LEADER_ONLY

_PACE = 0.02  # two questions are at least so far apart, however many partitions complain
_UNREACHABLE_FOR = 10.0
_ATTEMPT = 1.0  # brokers answer from memory: one that takes longer stands still


class Route(NamedTuple):
    address: str
    routing: Any  # ANY or LEADER_ONLY


class Metadata:
    def __init__(self, loop: Loop, control: Control, settings: ClientSettings, changed: Callable[[], None]) -> None:
        self._loop = loop
        self._control = control
        self._changed = changed
        self._max_age = settings.metadata_max_age_ms / 1000
        self._bootstrap = settings.addresses()
        self._backoff = Backoff(settings.retry_backoff_ms, settings.retry_backoff_max_ms)
        self._tracked: Set[str] = set()
        self._brokers: Dict[int, str] = {}
        self._unreachable: Dict[str, float] = {}  # until when
        self._asking = False
        self._again = False
        self._asked_at = 0.0
        self._timer: Optional[Timer] = None
        self._timer_at = 0.0
        self.topics: Dict[str, admin_pb2.TopicMetadata] = {}
        self.missing: Dict[str, MillraceError] = {}  # of the last answer
        self.last_error: Optional[MillraceError] = None

    def track(self, topic: str) -> None:
        self.missing.pop(topic, None)
        if topic in self._tracked and topic in self.topics:
            return
        self._tracked.add(topic)
        if self._asking:
            self._again = True
        else:
            self._ask()

    def refresh(self) -> None:
        if self._asking:
            self._again = True
        else:
            self._ask_after(max(0.0, self._asked_at + _PACE - time.monotonic()))

    def refresh_elsewhere(self, address: str) -> None:
        self._control.avoid(address)
        self.refresh()

    def is_advertised(self, address: str) -> bool:
        """And was not given by the user: it may be one that this client cannot reach."""
        return address not in self._bootstrap

    def mark_unreachable(self, address: str) -> None:
        self._unreachable[address] = time.monotonic() + _UNREACHABLE_FOR
        self.refresh()

    def route(self, topic: str, partition: int) -> Optional[Route]:
        known = self.topics.get(topic)
        if known is None or partition >= len(known.partitions) or known.partitions[partition].leader < 0:
            return None
        if len(self._brokers) <= 1:  # it is the one that answers at the address that was given, whatever it advertises
            return Route(self._control.address, LEADER_ONLY)
        address = self._brokers.get(known.partitions[partition].leader)
        if address is None or self._unreachable.get(address, 0.0) > time.monotonic():
            return Route(self._control.address, ANY)
        return Route(address, LEADER_ONLY)

    def take_hint(self, topic: str, partition: int, hint: error_pb2.LeaderHint) -> None:
        known = self.topics.get(topic)
        if hint.broker_id < 0 or not hint.address or known is None or partition >= len(known.partitions):
            return
        place = known.partitions[partition]
        if hint.leader_epoch >= place.leader_epoch:
            place.leader, place.leader_epoch = hint.broker_id, hint.leader_epoch
            self._brokers[hint.broker_id] = hint.address

    def _ask_after(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.after(seconds, self._ask), at

    def _ask(self) -> None:
        self._timer = None
        if self._asking or not self._tracked:
            return
        self._asking, self._again, self._asked_at = True, False, time.monotonic()
        self._control.call("Admin", "GetMetadata", admin_pb2.GetMetadataRequest(topics=sorted(self._tracked)),
                           admin_pb2.GetMetadataResponse, self._answered, attempt=_ATTEMPT)

    def _answered(self, reply: Optional[admin_pb2.GetMetadataResponse], error: Optional[MillraceError]) -> None:
        self._asking = False
        self.last_error = error
        if reply is None:
            self._ask_after(self._backoff.next())
        else:
            self._take(reply)
        self._changed()

    def _take(self, reply: admin_pb2.GetMetadataResponse) -> None:
        self._brokers = {broker.broker_id: broker.address for broker in reply.brokers}
        if len(self._brokers) > 1:
            self._control.set_advertised(list(self._brokers.values()))
        leaderless = False
        self.topics, self.missing = {}, {}
        for topic in reply.topics:
            if topic.HasField("error"):
                self.missing[topic.name] = from_proto(topic.error, topic=topic.name)
                self._tracked.discard(topic.name)
            else:
                self.topics[topic.name] = topic
                leaderless = leaderless or any(partition.leader < 0 for partition in topic.partitions)
        if leaderless:
            self._ask_after(self._backoff.next())
            return
        self._backoff.reset()
        if self._again:
            self.refresh()
        else:
            self._ask_after(self._max_age)

    def names(self) -> List[str]:
        return sorted(self._tracked)
