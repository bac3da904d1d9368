"""The thread on which everything of one client happens: what is posted to it, and timers.

    loop = Loop("producer")
    loop.post(session.pump)
    timer = loop.after(0.05, retry); timer.cancel()

Nothing that runs here blocks, and nothing that lives here needs a lock.

Thread safety: post() and run() may be called by any thread, the rest on the loop only.
"""

import concurrent.futures
import heapq
import itertools
import logging
import queue
import threading
import time
from typing import Any, Callable, List, Optional, Tuple, TypeVar

from millrace._core import fork

T = TypeVar("T")
_LOG = logging.getLogger("millrace")


def _nothing() -> None:
    pass


class Timer:
    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Optional[Callable[[], object]] = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    def __init__(self, name: str) -> None:
        fork.check(name)
        self._inbox: "queue.SimpleQueue[Optional[Tuple[Callable[..., object], Tuple[Any, ...]]]]" = queue.SimpleQueue()
        self._timers: List[Tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread = threading.Thread(target=self._run, name=f"millrace-{name}", daemon=True)
        self._thread.start()

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        self._inbox.put((function, arguments))

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs it on the loop and waits for what it returns or raises."""
        if self.is_current():
            return function(*arguments)
        done: "concurrent.futures.Future[T]" = concurrent.futures.Future()

        def call() -> None:
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # raised again where it was asked for
                done.set_exception(error)

        self.post(call)
        return done.result()

    def after(self, seconds: float, function: Callable[..., object], *arguments: Any) -> Timer:
        timer = Timer(lambda: function(*arguments))
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Ends the thread once what was posted is done."""
        self._inbox.put(None)
        if not self.is_current():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                item = self._inbox.get(timeout=self._until_next_timer())
            except queue.Empty:
                item = (_nothing, ())
            if item is None:
                return
            function, arguments = item
            try:
                function(*arguments)
                self._fire()
            except Exception:
                _LOG.exception("a bug in millrace; please report it")

    def _until_next_timer(self) -> Optional[float]:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                call()
