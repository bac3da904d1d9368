"""A broker that does what a test says, served by gRPC's own Python server.

    with FakeBroker() as broker:
        broker.topics["t"] = [1]                      # leaders of its partitions
        broker.on_batch = lambda place: ack  # None: the stream breaks
"""

import threading
from concurrent import futures

import grpc

from millrace.v1 import admin_pb2, broker_pb2, group_pb2


class Refused(Exception):
    def __init__(self, error):
        super().__init__()
        self.error = error


class FakeBroker:
    def __init__(self, broker_id=1):
        self.broker_id = broker_id
        self.topics = {}
        self.brokers = {}  # besides this one: id to address
        self.batches = []  # (routing, PartitionBatch) as they came
        self.on_batch = lambda place: broker_pb2.ProduceAck(base_offset=0)
        self.frames = []  # what each subscription gets
        self.coordinator = None
        self.groups = group_pb2.ListGroupsResponse()
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("millrace.v1.Admin", {
                "GetMetadata": self._unary(self._metadata, admin_pb2.GetMetadataRequest)}),
            grpc.method_handlers_generic_handler("millrace.v1.Broker", {
                "InitProducer": self._unary(lambda request: broker_pb2.InitProducerResponse(producer_id=7, producer_epoch=65_536),
                                            broker_pb2.InitProducerRequest),
                "Produce": self._stream(self._produce, broker_pb2.ProduceRequest),
                "Fetch": self._stream(self._fetch, broker_pb2.FetchRequest)}),
            grpc.method_handlers_generic_handler("millrace.v1.Groups", {
                "ListGroups": self._unary(lambda request: self.groups, group_pb2.ListGroupsRequest),
                "Heartbeat": self._unary(lambda request: self.coordinator.heartbeat(request), group_pb2.HeartbeatRequest),
                "CommitOffsets": self._unary(lambda request: self.coordinator.commit(request), group_pb2.CommitOffsetsRequest)})))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stop(None)

    @staticmethod
    def _unary(function, request):
        def call(message, context):
            try:
                return function(message)
            except Refused as refused:
                context.set_trailing_metadata((("millrace-error-bin", refused.error.SerializeToString()),))
                context.abort(grpc.StatusCode.ABORTED, "refused")

        return grpc.unary_unary_rpc_method_handler(call, request.FromString, lambda reply: reply.SerializeToString())

    @staticmethod
    def _stream(function, request):
        return grpc.stream_stream_rpc_method_handler(lambda messages, _: function(messages), request.FromString,
                                                     lambda reply: reply.SerializeToString())

    def _metadata(self, request):
        reply = admin_pb2.GetMetadataResponse(controller=self.broker_id)
        for number, address in {self.broker_id: self.address, **self.brokers}.items():
            reply.brokers.add(broker_id=number, address=address)
        for name in request.topics:
            topic = reply.topics.add(name=name, topic_id=5, partitioner=1, max_message_bytes=1 << 20)
            for number, leader in enumerate(self.topics[name]):
                topic.partitions.add(partition=number, leader=leader, leader_epoch=1)
        return reply

    def _produce(self, requests):
        for request in requests:
            acks = []
            for place in request.batches:
                self.batches.append((request.routing, place))
                ack = self.on_batch(place)
                if ack is None:
                    return
                ack.id = place.id
                acks.append(ack)
            yield broker_pb2.ProduceResponse(ping=request.ping, acks=acks)

    def _fetch(self, requests):
        for request in requests:
            frames = [frame for subscription in request.subscribe for frame in self._frames_of(subscription)]
            yield broker_pb2.FetchResponse(ping=request.ping, partitions=frames)

    def _frames_of(self, subscription):
        for frame in self.frames:
            copy = broker_pb2.FetchPartition()
            copy.CopyFrom(frame)
            copy.subscription = subscription.id
            if subscription.offset <= frame.start_offset:
                yield copy


class FakeCoordinator:
    """Gives one member what the test says, by the rules of group.proto."""

    def __init__(self):
        self._changed = threading.Condition()
        self.epoch = 1
        self.assignment = []
        self.heartbeats = []
        self.commits = []
        self.sequences = []
        self.refuses = None  # an Error for the next heartbeat

    def assign(self, *assignment):
        with self._changed:
            self.epoch += 1
            self.assignment = list(assignment)
            self._changed.notify_all()

    def refuse(self, error):
        with self._changed:
            self.refuses = error
            self._changed.notify_all()

    def until(self, condition):
        """Waits for something that a heartbeat or commit brings."""
        with self._changed:
            return self._changed.wait_for(condition, 30)

    def heartbeat(self, request):
        with self._changed:
            self.heartbeats.append(request)
            number = len(self.heartbeats)
            self._changed.notify_all()
            if request.member_epoch == self.epoch:
                self._changed.wait_for(lambda: self.epoch != request.member_epoch or self.refuses is not None
                                       or len(self.heartbeats) > number, request.max_wait_ms / 1000)
            if self.refuses is not None and request.member_epoch > 0:
                error, self.refuses = self.refuses, None
                self.epoch += 1
                raise Refused(error)
            return group_pb2.HeartbeatResponse(member_epoch=self.epoch, heartbeat_interval_ms=5_000, assignment=self.assignment)

    def commit(self, request):
        with self._changed:
            self.commits += request.offsets
            self.sequences.append(request.sequence)
            self._changed.notify_all()
        return group_pb2.CommitOffsetsResponse()
