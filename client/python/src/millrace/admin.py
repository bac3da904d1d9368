"""Topics, offsets, groups and the cluster.

    with millrace.Admin("127.0.0.1:9470") as admin:
        admin.create_topic("orders", partitions=4, config={"retention.ms": "7d"})
        print(admin.group_lag("payment"))

Each call waits, at most request.timeout.ms, and retries what a retry mends. Replies are the messages of admin.proto and group.proto
where those say it best, else values of this library.

Thread safety: all methods may be called by any number of threads.
Fork: an admin that was used before a fork raises INVALID_REQUEST in the child, where gRPC would hang (see README.md).
Errors: MillraceError; those of each call stand at it in admin.proto and group.proto.
"""

import logging
import threading
from types import TracebackType
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Type, TypeVar

from google.protobuf.message import Message

from millrace._core import fork
from millrace._core.control import Control, Fault
from millrace._core.loop import Loop
from millrace._core.network import Network
from millrace._core.waiting import Waiting
from millrace._core.wire_errors import from_proto, offset_fault
from millrace.errors import invalid_request
from millrace.position import Position, PositionKind
from millrace.record import CommittedOffset, TopicPartition
from millrace.settings import ClientSettings, parse
from millrace.v1 import admin_pb2, broker_pb2, group_pb2

_LOG = logging.getLogger("millrace")
M = TypeVar("M", bound=Message)


class Topic(NamedTuple):
    name: str
    topic_id: int
    partitions: int
    replication_factor: int


class PartitionOffsets(NamedTuple):
    partition: int
    earliest: int  # log start offset
    latest: int  # high watermark
    at: int  # of the position asked for


class Lag(NamedTuple):
    topic: str
    partition: int
    committed: int  # -1: none
    high_watermark: int  # -1: not known, as lag and lag_ms
    lag: int  # records
    lag_ms: int  # since the first of them was appended
    member_id: str  # empty: nobody's


class ResetResult(NamedTuple):
    topic: str
    partition: int
    old_offset: int  # -1: none
    new_offset: int


class Admin:
    def __init__(self, address: Optional[str] = None, *, settings: Optional[Mapping[str, Any]] = None, **named: Any) -> None:
        self._settings = parse(ClientSettings, address, settings, named)
        self._opening = threading.Lock()
        self._loop: Optional[Loop] = None
        self._closed = False

    # --- Topics ---

    def create_topic(self, name: str, *, partitions: int = 1, replication_factor: int = 0, config: Optional[Mapping[str, str]] = None,
                     if_not_exists: bool = False) -> Topic:
        """replication_factor 0: 3, or 1 below three brokers. Safe to repeat with if_not_exists."""
        reply = self._call("Admin", "CreateTopic", admin_pb2.CreateTopicRequest(
            name=name, partitions=partitions, replication_factor=replication_factor, config=config or {}, if_not_exists=if_not_exists),
            admin_pb2.CreateTopicResponse, repeat=if_not_exists)
        return Topic(name, reply.topic_id, reply.partitions, reply.replication_factor)

    def delete_topic(self, name: str) -> None:
        self._call("Admin", "DeleteTopic", admin_pb2.DeleteTopicRequest(name=name), admin_pb2.DeleteTopicResponse, repeat=False)

    def list_topics(self, *, include_internal: bool = False) -> List[Topic]:
        reply = self._call("Admin", "ListTopics", admin_pb2.ListTopicsRequest(include_internal=include_internal),
                           admin_pb2.ListTopicsResponse)
        return [Topic(each.name, each.topic_id, each.partitions, each.replication_factor) for each in reply.topics]

    def describe_topic(self, name: str) -> admin_pb2.DescribeTopicResponse:
        return self._call("Admin", "DescribeTopic", admin_pb2.DescribeTopicRequest(name=name), admin_pb2.DescribeTopicResponse)

    def alter_topic(self, name: str, *, config: Optional[Mapping[str, str]] = None, unset: Sequence[str] = ()) -> None:
        self._call("Admin", "AlterTopic", admin_pb2.AlterTopicRequest(name=name, set=config or {}, unset=unset),
                   admin_pb2.AlterTopicResponse)

    def add_partitions(self, name: str, total: int) -> None:
        """Keys will then map to other partitions than before."""
        self._call("Admin", "AddPartitions", admin_pb2.AddPartitionsRequest(name=name, partitions=total),
                   admin_pb2.AddPartitionsResponse, repeat=False)

    def trim(self, partition: TopicPartition, before: int) -> int:
        """Removes records below an offset (-1: all). Returns the log start offset."""
        reply = self._call("Admin", "TrimPartition", admin_pb2.TrimPartitionRequest(
            name=partition[0], partition=partition[1], before=before), admin_pb2.TrimPartitionResponse, repeat=before >= 0)
        return int(reply.log_start_offset)

    # --- Offsets ---

    def offsets(self, topic: str, at: Optional[Position] = None) -> List[PartitionOffsets]:
        """Of all partitions. By time: the base offset of the first batch that has such a record."""
        count = len(self.describe_topic(topic).partitions)
        queries = []
        for number in range(count):
            query = broker_pb2.OffsetQuery(topic=topic, partition=number, spec=broker_pb2.OFFSET_SPEC_LATEST)
            if at is not None and at.kind is PositionKind.TIME:
                query.timestamp = at.value
            queries.append(query)
        reply = self._call("Broker", "ListOffsets", broker_pb2.ListOffsetsRequest(queries=queries), broker_pb2.ListOffsetsResponse,
                           fault=offset_fault)
        found = []
        for each in reply.results:
            first, end = each.log_start_offset, each.high_watermark
            there = each.offset
            if at is not None and at.kind is not PositionKind.TIME:
                there = {PositionKind.BEGINNING: first, PositionKind.END: end, PositionKind.OFFSET: at.value,
                         PositionKind.BEFORE_END: max(first, end - at.value)}[at.kind]
            found.append(PartitionOffsets(each.partition, first, end, there))
        return found

    # --- Groups ---

    def list_groups(self) -> List[group_pb2.GroupSummary]:
        """Those whose coordinator does not answer are missing; a warning in the log (logger "millrace") says so then."""
        reply = self._call("Groups", "ListGroups", group_pb2.ListGroupsRequest(), group_pb2.ListGroupsResponse)
        if reply.incomplete:
            _LOG.warning("list_groups() does not have the groups of a coordinator that did not answer; ask again")
        return list(reply.groups)

    def describe_group(self, group: str) -> group_pb2.DescribeGroupResponse:
        return self._call("Groups", "DescribeGroup", group_pb2.DescribeGroupRequest(group=group), group_pb2.DescribeGroupResponse)

    def group_lag(self, group: str) -> List[Lag]:
        """Of each partition that is assigned or committed."""
        return [Lag(each.topic, each.partition, each.committed, each.high_watermark, each.lag, each.lag_ms, each.member_id)
                for each in self.describe_group(group).partitions]

    def committed(self, group: str) -> List[CommittedOffset]:
        reply = self._call("Groups", "FetchOffsets", group_pb2.FetchOffsetsRequest(group=group), group_pb2.FetchOffsetsResponse)
        return [CommittedOffset(each.topic, each.partition, each.offset, each.leader_epoch, each.metadata, each.commit_time)
                for each in reply.offsets]

    def reset_group(self, group: str, topic: str, to: Position, *, dry_run: bool = False) -> List[ResetResult]:
        """Sets the group's positions in all partitions of the topic, also while members are running: they go on there."""
        request = group_pb2.ResetOffsetsRequest(group=group, dry_run=dry_run)
        for place in self.offsets(topic, to):
            request.offsets.add(topic=topic, partition=place.partition, offset=place.at)
        reply = self._call("Groups", "ResetOffsets", request, group_pb2.ResetOffsetsResponse)
        for each in reply.results:
            if each.HasField("error"):
                raise from_proto(each.error, topic=each.topic, partition=each.partition)
        return [ResetResult(each.topic, each.partition, each.old_offset, each.new_offset) for each in reply.results]

    def delete_group(self, group: str) -> None:
        self._call("Groups", "DeleteGroup", group_pb2.DeleteGroupRequest(group=group), group_pb2.DeleteGroupResponse)

    # --- Cluster ---

    def describe_cluster(self) -> admin_pb2.DescribeClusterResponse:
        return self._call("Admin", "DescribeCluster", admin_pb2.DescribeClusterRequest(), admin_pb2.DescribeClusterResponse)

    def close(self) -> None:
        with self._opening:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None and not fork.in_child():
            loop.stop()
            self._network.close()

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def _call(self, service: str, method: str, request: Message, reply: Type[M], repeat: bool = True,
              fault: Fault = lambda reply: None) -> M:
        fork.check("admin")
        with self._opening:
            if self._closed:
                raise invalid_request("the admin was closed; make another one")
            if self._loop is None:
                self._loop = Loop("admin")
                self._network = Network(self._loop, self._settings)
                self._control = Control(self._loop, self._network, self._settings)
            loop, control = self._loop, self._control
        found: Waiting[M] = Waiting()
        loop.post(lambda: control.call(service, method, request, reply, found, repeat=repeat, fault=fault))
        return found.get()
