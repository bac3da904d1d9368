"""Pauses between attempts: doubled up to a bound, each drawn between half and all of it."""

import random


class Backoff:
    def __init__(self, first_ms: int, max_ms: int) -> None:
        self._first = first_ms / 1000
        self._max = max_ms / 1000
        self._next = self._first

    def next(self) -> float:
        """Seconds."""
        pause = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._max)
        return pause

    def reset(self) -> None:
        self._next = self._first
