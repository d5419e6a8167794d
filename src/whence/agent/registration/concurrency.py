"""A limit for requests in flight, so that a cold start is no flood.

A request holds a place until its answer, but for one second at most. Otherwise the requests to one
dead registrar would hold all places for half a minute. Other refreshes would wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLOT_LIMIT_S = 1.0
"""Twice T1: enough for an answer, also for one after a first retransmission."""


class ConcurrencyLimit:
    """A number of places. `held_s`: how long a request holds one at most."""

    def __init__(self, limit: int, held_s: float = SLOT_LIMIT_S) -> None:
        self._free = asyncio.Semaphore(limit)
        self._held_s = held_s

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a place; hold it in the context, but no longer than `held_s`."""
        await self._free.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._held_s, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
