"""Places for requests under way: so many at once, so that a cold start is no flood.

Whoever is answered soon holds a place until then. A silent registrar would hold all of them, for
half a minute each, and everybody's refreshes would wait for one registrar's outage: so a place is
given back after a second, while its request goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HELD_S = 1.0
"""T1 doubled: an ordinary answer, and the answer to one retransmission, come sooner."""


class ConcurrencyLimit:
    """So many places; `held_s`: how long one is held at most."""

    def __init__(self, limit: int, held_s: float = HELD_S) -> None:
        self._free = asyncio.Semaphore(limit)
        self._held_s = held_s

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it while inside, or for `held_s`."""
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
