"""The present conflicts. The monitor searches again when an address or a trunk changes.

The search runs in a thread with its own database connection. With 100 000 trunks it takes a second;
meanwhile the agent continues. The log gets each conflict once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from whence.core.identification.conflicts import Conflict, ConflictKind
from whence.errors import StoreError
from whence.store.conflicts import read

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""The longest time between two searches, in seconds: addresses expire without a change."""

PAUSE_S = 0.5
"""The shortest time between two searches: thousands of changes arrive when all trunks register."""

SHARE = 0.05
"""The share of the time that searches may take."""


class ConflictObserver(Protocol):
    """Acts on conflicts. Called in the loop; it must not wait, nor raise."""

    def conflict(self, found: Conflict) -> None:
        """Act on a new conflict, which the log has already."""

    def conflicts_found(self, found: Sequence[Conflict]) -> None:
        """Act on all present conflicts, after each search."""


class ConflictMonitor:
    """The conflicts among the trunks of the directory at `path`, which it observes."""

    def __init__(
        self,
        path: Path,
        observers: Sequence[ConflictObserver] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._observers = observers
        self._clock = clock
        self._changed = asyncio.Event()
        self._reported: set[tuple[ConflictKind, str, str]] = set()
        self.known: list[Conflict] = []
        """The conflicts that the last search found."""

    def directory_changed(self) -> None:
        """Search again soon, since an address or a trunk was added, removed or changed."""
        self._changed.set()

    async def run(self) -> None:
        """Search for conflicts until cancelled."""
        while True:
            self._changed.clear()
            began_at = time.monotonic()
            await self.search()
            took_s = time.monotonic() - began_at
            await asyncio.sleep(max(PAUSE_S, took_s / SHARE))
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def search(self) -> list[Conflict]:
        """Search, and return the present conflicts. The log gets each once."""
        try:
            self.known = await asyncio.to_thread(read, self._path, self._clock())
        except StoreError as error:
            log.error("conflicts cannot be searched: %s", error)  # noqa: TRY400 - no fault of this program
            return self.known
        present = {identity for found in self.known for identity in _identities(found)}
        for found in self.known:
            if not _identities(found) <= self._reported:
                log.warning("conflict: %s", found)
                for observer in self._observers:
                    observer.conflict(found)
        self._reported = present
        for observer in self._observers:
            observer.conflicts_found(self.known)
        return self.known


def _identities(found: Conflict) -> set[tuple[ConflictKind, str, str]]:
    """Return what identifies a conflict, also after one more trunk has joined it."""
    shared = found.shared[0] if found.shared else ""
    return {(found.kind, shared, address) for address in found.addresses}
