"""A limit for requests in flight, so that a cold start is no flood.

A request holds a place until its answer, but for one second at most. Otherwise the requests to one
dead registrar would hold all places for half a minute. Other refreshes would wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

SLOT_LIMIT_S = 1.0
"""Twice T1: enough for an answer, also for one after a first retransmission."""


class _Place:
    """A place that a request holds in the context."""

    __slots__ = ("_limit", "ends_at", "held")

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self._limit = limit
        self.held = False
        self.ends_at = 0.0

    async def __aenter__(self) -> None:
        await self._limit.acquire(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._limit.release(self)


class ConcurrencyLimit:
    """A number of places. `held_s`: how long a request holds one at most."""

    def __init__(self, limit: int, held_s: float = SLOT_LIMIT_S) -> None:
        self._free = asyncio.Semaphore(limit)
        self._held_s = held_s
        self._taken: deque[_Place] = deque()
        """The places in the order in which they end, also those that were given back."""
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> _Place:
        """Wait for a place; hold it in the context, but no longer than `held_s`."""
        return _Place(self)

    async def acquire(self, place: _Place) -> None:
        """Wait until a place is free."""
        await self._free.acquire()
        place.held = True
        place.ends_at = asyncio.get_running_loop().time() + self._held_s
        self._taken.append(place)
        if self._timer is None:
            self._start_timer()

    def release(self, place: _Place) -> None:
        """Give a place back, unless it was given back already."""
        if place.held:
            place.held = False
            self._free.release()

    def _start_timer(self) -> None:
        while self._taken and not self._taken[0].held:
            self._taken.popleft()
        if self._taken:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._taken[0].ends_at, self._time_over)

    def _time_over(self) -> None:
        """Give back the places that were held for too long."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._taken and (self._taken[0].ends_at <= now or not self._taken[0].held):
            self.release(self._taken.popleft())
        self._start_timer()
