"""A queue of items with an instant each, and a sleep until the earliest instant."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

NAP_S = 10.0
"""The longest sleep, in seconds. The sleep follows a steady clock, the instants the wall clock.
So the queue reads a wall clock that jumped after this time at the latest."""

STALE_LEAST = 1024
"""The queue keeps this many replaced or cancelled entries before it rebuilds its heap."""

Item = TypeVar("Item", bound=Hashable)


class DueQueue(Generic[Item]):
    """Items with the instant at which each is due: at most one instant for an item.

    All changes cost O(log n). A replaced or cancelled entry is stale. It stays in the heap
    until it reaches the top, or until more than half of the heap is stale. Items due at one instant
    come in the order of scheduling. One task at a time may `wait`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns the present instant, in the seconds of all instants here."""
        self._clock = clock
        self._heap: list[tuple[float, int, Item]] = []
        self._entries: dict[Item, tuple[float, int, Item]] = {}
        """The valid entry of each item; another one in the heap is stale."""
        self._ties = count()
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def at(self, item: Item) -> float | None:
        """Return when an item is due; None where it is not scheduled."""
        entry = self._entries.get(item)
        return None if entry is None else entry[0]

    @property
    def next_at(self) -> float | None:
        """The earliest instant; None where the queue is empty."""
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def schedule(self, item: Item, at: float) -> None:
        """Make an item due at `at`. This replaces its former instant."""
        entry = self._entries[item] = (at, next(self._ties), item)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._woken.set()
        self._drop_stale()

    def cancel(self, item: Item) -> None:
        """Remove an item. One that is not scheduled is ignored."""
        if self._entries.pop(item, None) is not None:
            self._drop_stale()

    def due(self, now: float) -> Iterator[Item]:
        """Remove and yield each item that is due at `now`, the earliest first.

        This includes an item that the caller schedules meanwhile.
        """
        while (next_at := self.next_at) is not None and next_at <= now:
            _, _, item = heapq.heappop(self._heap)
            del self._entries[item]
            yield item

    def wake(self) -> None:
        """End the present sleep, or else the next one."""
        self._woken.set()

    async def wait(self, until: float | None = None) -> None:
        """Sleep until the earliest item is due, or `until`, or until `wake` is called.

        The sleep may end early: it lasts `NAP_S` at most. Other tasks always get a turn.
        """
        instants = [at for at in (self.next_at, until) if at is not None]
        wait_s = min([at - self._clock() for at in instants] + [NAP_S])
        if wait_s <= 0 or self._woken.is_set():
            await asyncio.sleep(0)
        else:
            await self._sleep(wait_s)
        self._woken.clear()

    async def _sleep(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            return

    def _drop_stale(self) -> None:
        if len(self._heap) > 2 * len(self._entries) + STALE_LEAST:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)
