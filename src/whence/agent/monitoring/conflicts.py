"""Conflicts as they are now: looked for when addresses or trunks change, and told once.

They are read beside the agent's own work, in a thread with a connection of its own: with 100 000
trunks it takes a second, and nobody waits for it.
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
"""How often it is looked at least: addresses end by themselves."""

PAUSE_S = 0.5
"""Between two looks at least; changes come in thousands when all trunks register."""

SHARE = 0.05
"""The share of the time that looking may take."""


class ConflictObserver(Protocol):
    """Acts on conflicts. Called in the loop; it must not wait, nor raise."""

    def conflict(self, found: Conflict) -> None:
        """There is a new conflict; the log has told it."""


class ConflictMonitor:
    """The conflicts among the trunks of the directory at `path`. `run` it; it observes that."""

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
        self._told: set[tuple[ConflictKind, str, str]] = set()
        self.known: list[Conflict] = []
        """As they were when it was looked last."""

    def directory_changed(self) -> None:
        """Look again soon: an address or a trunk has come, gone or changed."""
        self._changed.set()

    async def run(self) -> None:
        """Look for conflicts until cancelled."""
        while True:
            self._changed.clear()
            began_at = time.monotonic()
            await self.look()
            took_s = time.monotonic() - began_at
            await asyncio.sleep(max(PAUSE_S, took_s / SHARE))
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def look(self) -> list[Conflict]:
        """Return the conflicts of now; the log tells each once."""
        try:
            self.known = await asyncio.to_thread(read, self._path, self._clock())
        except StoreError as error:
            log.error("conflicts cannot be looked for: %s", error)  # noqa: TRY400 - a neighbour's fault
            return self.known
        now = {mark for found in self.known for mark in _marks(found)}
        for found in self.known:
            if not _marks(found) <= self._told:
                log.warning("conflict: %s", found)
                for observer in self._observers:
                    observer.conflict(found)
        self._told = now
        return self.known


def _marks(found: Conflict) -> set[tuple[ConflictKind, str, str]]:
    """By what it is known again, though one trunk more may be in it."""
    shared = found.shared[0] if found.shared else ""
    return {(found.kind, shared, address) for address in found.addresses}
