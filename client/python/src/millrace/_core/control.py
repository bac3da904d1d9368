"""Unary calls to whichever broker answers, with retries.

A call goes to the broker that answered last, and on to the next address when that one cannot be reached. What a retry mends is
retried, with growing pauses, until the time-out; what may have happened only where the call is safe to repeat.

Lives on the loop.
"""

import time
from typing import Any, Callable, List, Optional, Type

from google.protobuf.message import Message

from millrace._core.backoff import Backoff
from millrace._core.loop import Loop
from millrace._core.network import Network
from millrace.errors import ErrorCode, MillraceError
from millrace.settings import ClientSettings

Done = Callable[[Any, Optional[MillraceError]], None]
Fault = Callable[[Any], Optional[MillraceError]]  # what in a reply says that a part of it failed


class Control:
    def __init__(self, loop: Loop, network: Network, settings: ClientSettings) -> None:
        self._loop = loop
        self._network = network
        self._settings = settings
        self._bootstrap = settings.addresses()
        self._addresses = list(self._bootstrap)
        self._current = 0

    @property
    def address(self) -> str:
        return self._addresses[self._current]

    def set_advertised(self, addresses: List[str]) -> None:
        current = self.address
        self._addresses = self._bootstrap + [address for address in addresses if address not in self._bootstrap]
        self._current = self._addresses.index(current) if current in self._addresses else 0

    def avoid(self, address: str) -> None:
        if self.address == address:
            self._current = (self._current + 1) % len(self._addresses)

    def call(self, service: str, method: str, request: Message, reply: Type[Message], done: Done, *, timeout: Optional[float] = None,
             repeat: bool = True, attempt: Optional[float] = None, fault: Fault = lambda reply: None) -> None:
        """timeout: of all attempts together, in seconds; attempt: of each. repeat: whether it may happen twice. fault: what a retry may
        mend is tried again, and else is the call's error."""
        _Call(self, service, method, request, reply, done, timeout or self._settings.request_timeout_ms / 1000, repeat, attempt, fault)


class _Call:
    """One call with all its attempts."""

    def __init__(self, control: Control, service: str, method: str, request: Message, reply: Type[Message], done: Done, timeout: float,
                 repeat: bool, attempt: Optional[float], fault: Fault) -> None:
        self._control = control
        self._fault = fault
        self._what = (service, method, request, reply)
        self._done = done
        self._repeat = repeat
        self._attempt = attempt
        started = time.monotonic()
        self._until = started + timeout
        self._connect_until = started + min(timeout, control._settings.connect_timeout_ms / 1000)
        self._backoff = Backoff(control._settings.retry_backoff_ms, control._settings.retry_backoff_max_ms)
        self._maybe_happened = False
        self._try()

    def _try(self) -> None:
        left = max(0.001, self._until - time.monotonic())
        self._address = self._control.address
        self._control._network.call(self._address, *self._what, timeout=min(left, self._attempt or left), done=self._finish)

    def _finish(self, reply: Any, error: Optional[MillraceError]) -> None:
        error = error or self._fault(reply)
        if error is None:
            return self._done(reply, None)
        unreachable = error.code in (ErrorCode.NETWORK_EXCEPTION, ErrorCode.REQUEST_TIMED_OUT)
        if unreachable:
            self._control.avoid(self._address)
        else:
            self._connect_until = self._until
        never_sent = error.code == ErrorCode.NETWORK_EXCEPTION and "failed to connect" in error.message.lower()
        if error.may_have_happened and not never_sent:
            self._maybe_happened = True
        pause = self._backoff.next()
        again = time.monotonic() + pause < (self._connect_until if unreachable else self._until)
        if error.retriable and again and (self._repeat or not self._maybe_happened):
            self._control._loop.after(pause, self._try)
            return None
        return self._done(None, error.changed(may_have_happened=self._maybe_happened))
