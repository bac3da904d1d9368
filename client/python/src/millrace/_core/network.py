"""Calls and streams to brokers by address, on gRPC. What arrives is posted to the loop.

A connection that broke is not left to gRPC to mend, which takes its time: its channel is closed, and the next use opens another.

    network = Network(loop, settings)
    network.call("127.0.0.1:9470", "Admin", "GetMetadata", request, GetMetadataResponse, timeout=1, done=...)
    stream = network.stream("127.0.0.1:9470", "Fetch", FetchResponse, on_message, on_lost); stream.write(b"..."); stream.cancel()

Lives on the loop.
"""

import queue
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple, Type

import grpc
from google.protobuf.message import Message

from millrace._core.loop import Loop
from millrace._core.wire_errors import from_call
from millrace.errors import ErrorCode, MillraceError
from millrace.settings import ClientSettings

REPLY_BYTES_MAX = (64 << 20) + (1 << 20)  # the largest batch that a topic can be set to take, and its frame

_OPTIONS = [
    ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]

Lost = Callable[[MillraceError], None]


class Stream:
    """One bidirectional call of bytes out and messages in. Ends once, with on_lost; never after cancel()."""

    def __init__(self, loop: Loop, call: Callable[[Iterator[bytes]], Any], address: str, reply: Type[Message],
                 on_message: Callable[[Any], None], on_lost: Lost, on_broken: Callable[[], None]) -> None:
        self._loop = loop
        self._on_broken = on_broken
        self._address = address
        self._reply = reply
        self._on_message = on_message
        self._on_lost = on_lost
        self._ended = False
        self._requests: "queue.SimpleQueue[Optional[bytes]]" = queue.SimpleQueue()
        self._call = call(iter(self._requests.get, None))
        threading.Thread(target=self._read, name="millrace-read", daemon=True).start()

    def write(self, message: bytes) -> None:
        self._requests.put(message)

    def cancel(self, broken: bool = False) -> None:
        """broken: with the connection that it goes over."""
        self._ended = True
        if broken:
            self._on_broken()
        self._requests.put(None)
        self._call.cancel()

    def _read(self) -> None:
        error = MillraceError(ErrorCode.NETWORK_EXCEPTION, f"{self._address} ended the stream; the client connects again",
                              retriable=True, may_have_happened=True, address=self._address)
        try:
            for message in self._call:
                self._loop.post(self._deliver, self._reply.FromString(message))
        except grpc.RpcError as call:
            error = from_call(call, self._address)
        self._requests.put(None)
        self._loop.post(self._lose, error)

    def _deliver(self, message: Any) -> None:
        if not self._ended:
            self._on_message(message)

    def _lose(self, error: MillraceError) -> None:
        if not self._ended:
            self._ended = True
            if error.code == ErrorCode.NETWORK_EXCEPTION:
                self._on_broken()
            self._on_lost(error)


class Network:
    def __init__(self, loop: Loop, settings: ClientSettings) -> None:
        self._loop = loop
        self._channels: Dict[str, grpc.Channel] = {}
        self._credentials = None
        if settings.ssl_ca_location:
            def read(path: str) -> Optional[bytes]:
                return Path(path).read_bytes() if path else None

            self._credentials = grpc.ssl_channel_credentials(
                read(settings.ssl_ca_location), read(settings.ssl_key_location), read(settings.ssl_certificate_location))

    def _channel(self, address: str) -> grpc.Channel:
        if address not in self._channels:
            self._channels[address] = (grpc.secure_channel(address, self._credentials, _OPTIONS) if self._credentials
                                       else grpc.insecure_channel(address, _OPTIONS))
        return self._channels[address]

    def call(self, address: str, service: str, method: str, request: Message, reply: Type[Message], timeout: float,
             done: Callable[[Any, Optional[MillraceError]], None]) -> None:
        """done(reply, None) or done(None, error)."""
        channel = self._channel(address)
        call = channel.unary_unary(f"/millrace.v1.{service}/{method}", type(request).SerializeToString, reply.FromString)
        future = call.future(request, timeout=timeout)

        def finish(finished: Any) -> None:
            outcome: Tuple[Any, Optional[MillraceError]]
            try:
                outcome = (finished.result(), None)
            except grpc.RpcError as error:
                told = from_call(error, address)
                outcome = (None, told)
                if told.code == ErrorCode.NETWORK_EXCEPTION:
                    self._loop.post(self._retire, address, channel)
            except grpc.FutureCancelledError:
                return
            self._loop.post(done, *outcome)

        future.add_done_callback(finish)

    def stream(self, address: str, method: str, reply: Type[Message], on_message: Callable[[Any], None], on_lost: Lost) -> Stream:
        channel = self._channel(address)
        return Stream(self._loop, channel.stream_stream(f"/millrace.v1.Broker/{method}", None, None), address, reply, on_message, on_lost,
                      lambda: self._retire(address, channel))

    def _retire(self, address: str, channel: grpc.Channel) -> None:
        if self._channels.get(address) is channel:
            del self._channels[address]
            channel.close()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
