"""A stream to one broker that is opened again whenever it breaks.

The first message is a ping: its answer shows that connection and broker work. Later pings find out that they do not any more.

Lives on the loop.
"""

import time
from typing import Any, Callable, Optional, Type

from google.protobuf.message import Message

from millrace._core.backoff import Backoff
from millrace._core.loop import Loop, Timer
from millrace._core.network import Network, Stream
from millrace.errors import ErrorCode, MillraceError

ADVERTISED_CONNECT_TIMEOUT = 0.5  # gone around rather than waited for
CONNECT_TIMEOUT = 2.0
_PING_AFTER = 2.0  # of silence
_PONG_TIMEOUT = 10.0
_SILENT = 0.75  # without an answer that is due: look whether another leads by now


class StreamOwner:
    def ping_message(self, ping: int) -> bytes:
        raise NotImplementedError

    def on_established(self) -> None:
        raise NotImplementedError

    def on_message(self, message: Any) -> None:
        raise NotImplementedError

    def on_lost(self, error: MillraceError, was_established: bool) -> None:
        raise NotImplementedError

    def expects_answer(self) -> bool:
        return False

    def on_silent(self) -> None:
        """Answers are due, and none comes."""


class BrokerStream:
    def __init__(self, loop: Loop, network: Network, address: str, method: str, reply: Type[Message], connect_timeout: float,
                 backoff: Backoff, owner: StreamOwner) -> None:
        self._loop = loop
        self._open: Callable[[], Stream] = lambda: network.stream(address, method, reply, self._received, self._broke)
        self.address = address
        self._connect_timeout = connect_timeout
        self._backoff = backoff
        self._owner = owner
        self._stream: Optional[Stream] = None
        self._timer: Optional[Timer] = None
        self._closed = False
        self.established = False
        self._was_established = False  # since it was last lost
        self._connect()

    def write(self, message: bytes) -> None:
        assert self._stream is not None
        self._stream.write(message)

    def close(self) -> None:
        self._closed = True
        self._drop()

    def give_up(self) -> None:
        """Takes it for broken."""
        self._fail("says nothing")

    def _connect(self) -> None:
        if self._closed:
            return
        self._pings = 1
        self._stream = self._open()
        self._stream.write(self._owner.ping_message(1))
        self._timer = self._loop.after(self._connect_timeout, self._fail, "does not answer")

    def _drop(self, broken: bool = False) -> None:
        self.established = False
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is not None:
            self._stream.cancel(broken)
            self._stream = None

    def _received(self, message: Any) -> None:
        self._heard_at = time.monotonic()
        if not self.established:
            self.established = self._was_established = True
            self._backoff.reset()
            self._pinged_at = 0.0
            assert self._timer is not None
            self._timer.cancel()
            self._timer = self._loop.after(_SILENT, self._watch)
            self._owner.on_established()
        self._owner.on_message(message)

    def _watch(self) -> None:
        now = time.monotonic()
        quiet = now - self._heard_at
        if quiet >= _PONG_TIMEOUT + _PING_AFTER:
            return self._fail("says nothing")
        if quiet >= _PING_AFTER and now - self._pinged_at >= _PING_AFTER:
            self._pings += 1
            self._pinged_at = now
            self.write(self._owner.ping_message(self._pings))
        self._timer = self._loop.after(_SILENT, self._watch)
        if quiet >= _SILENT and self._owner.expects_answer():
            self._owner.on_silent()
        return None

    def _fail(self, why: str) -> None:
        self._drop(broken=True)
        self._broke(MillraceError(ErrorCode.NETWORK_EXCEPTION, f"{self.address} {why}; check that the broker runs and the address is "
                                  "right", retriable=True, may_have_happened=True, address=self.address))

    def _broke(self, error: MillraceError) -> None:
        was_established, self._was_established = self._was_established, False
        self._drop()
        if not self._closed:
            self._timer = self._loop.after(self._backoff.next(), self._connect)
            self._owner.on_lost(error, was_established)
