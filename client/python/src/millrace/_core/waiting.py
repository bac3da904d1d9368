"""An answer that comes on the loop and is waited for on another thread.

    found = Waiting(); loop.post(core.expand, wanted, found); places = found.get()
"""

import concurrent.futures
from typing import Any, Generic, Optional, TypeVar

from millrace.errors import MillraceError

T = TypeVar("T")


class Waiting(Generic[T]):
    def __init__(self) -> None:
        self._future: "concurrent.futures.Future[T]" = concurrent.futures.Future()

    def __call__(self, value: T, error: Optional[MillraceError] = None) -> None:
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(value)

    def get(self) -> T:
        return self._future.result()
