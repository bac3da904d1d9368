"""The Fetch stream to one broker: subscriptions out, batches in, and the account of credit.

Credit that the broker has left, plus what lies in the application's hands, is kept equal to this session's share of
fetch.max.bytes.

Lives on the loop.
"""

from typing import Any, Dict

from millrace._core.broker_stream import BrokerStream, StreamOwner
from millrace._core.metadata import Route
from millrace._core.network import REPLY_BYTES_MAX
from millrace._core.partition import Partition
from millrace.errors import MillraceError
from millrace.position import PositionKind
from millrace.v1 import broker_pb2

_GRANTS_PER_SHARE = 8


class FetchSession(StreamOwner):
    def __init__(self, core: Any, route: Route, connect_timeout: float) -> None:
        self._core = core
        self.route = route
        self.subscriptions: Dict[int, Partition] = {}
        self._last_id = 0
        self._share = 0
        self._held = 0  # in the application's hands
        self._outstanding = 0  # that the broker has left; below 0 after an overdraft
        self._stream = BrokerStream(core.loop, core.network, route.address, "Fetch", broker_pb2.FetchResponse, connect_timeout,
                                    core.new_backoff(), self)

    @property
    def established(self) -> bool:
        return self._stream.established

    def subscribe(self, partition: Partition, topic_id: int) -> None:
        self._last_id += 1
        partition.subscription = self._last_id
        self.subscriptions[self._last_id] = partition
        wanted = broker_pb2.FetchSubscription(
            id=self._last_id, topic=partition.topic, partition=partition.partition, topic_id=topic_id, routing=self.route.routing,
            out_of_range=broker_pb2.OUT_OF_RANGE_GAP, end_offset=partition.until or 0)
        start = partition.start
        if partition.next_offset >= 0:
            wanted.offset, wanted.leader_epoch = partition.next_offset, partition.leader_epoch
        elif start.kind is PositionKind.TIME:
            wanted.timestamp = start.value
        elif start.kind is PositionKind.BEFORE_END:
            wanted.records_before_end = start.value
        else:
            is_end = start.kind is PositionKind.END
            wanted.spec = broker_pb2.OFFSET_SPEC_LATEST if is_end else broker_pb2.OFFSET_SPEC_EARLIEST
        self._send(subscribe=[wanted])

    def unsubscribe(self, partition: Partition) -> None:
        if self.subscriptions.pop(partition.subscription, None) is not None and self.established:
            self._send(unsubscribe=[partition.subscription])
        partition.subscription = 0

    def set_share(self, size: int) -> None:
        self._share = size
        self._grant()

    def release(self, size: int) -> None:
        """The application has taken so much."""
        self._held -= size
        self._grant()

    def hold(self, size: int) -> None:
        """So much of what came goes to the application."""
        self._held += size

    def close(self) -> None:
        self._stream.close()

    def _grant(self) -> None:
        missing = self._share - self._held - self._outstanding
        if self.established and missing > 0 and (missing >= self._share // _GRANTS_PER_SHARE or self._outstanding <= 0):
            self._outstanding += missing
            self._send(credit=missing)

    def _send(self, **fields: Any) -> None:
        self._stream.write(broker_pb2.FetchRequest(**fields).SerializeToString())

    def ping_message(self, ping: int) -> bytes:
        return broker_pb2.FetchRequest(ping=ping, max_reply_bytes=REPLY_BYTES_MAX if ping == 1 else 0).SerializeToString()

    def on_established(self) -> None:
        self._core.on_session_established(self)
        self._grant()

    def on_message(self, message: broker_pb2.FetchResponse) -> None:
        for frame in message.partitions:
            for fetched in frame.batches:
                self._outstanding -= len(fetched.batch.payload)
            partition = self.subscriptions.get(frame.subscription)
            if partition is None:
                continue
            if frame.HasField("error") or frame.end_reached:
                del self.subscriptions[frame.subscription]
                partition.subscription = 0
            self._core.on_frame(self, partition, frame)
        self._grant()

    def on_lost(self, error: MillraceError, was_established: bool) -> None:
        for partition in self.subscriptions.values():
            partition.subscription = 0
        self.subscriptions.clear()
        self._outstanding = 0
        self._core.on_session_lost(self, error, was_established)
