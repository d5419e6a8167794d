"""Watches whether the agent can write the directory, and whether its disk is nearly full.

It commits a small row every few seconds. A write of another part that failed counts, too: it may
need more space than the row. On a disk that is nearly full it keeps the write-ahead log short.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from whence.agent.monitoring.alarms import Alarms
from whence.core.monitoring.alarms import Alarm, AlarmKind
from whence.errors import StoreError
from whence.store.space import Space, space_at

log = logging.getLogger(__name__)

PROBE_S = 10.0
"""The time between two probes, in seconds."""

FRESH_S = 1.0
"""How long a result answers `/healthz` without another probe, in seconds."""

HOLD_S = 60.0
"""How long a failed write counts, unless a later one succeeds. Failed steps are repeated sooner."""


class WatchedStore(Protocol):
    """The part of the directory that is watched."""

    path: Path
    write_errors: int
    write_error: str

    def probe(self) -> None:
        """Commit a small row. Raises: StoreError."""

    def keep_reserve(self, size: int) -> None:
        """Keep space for writes on a full disk."""

    def checkpoint(self) -> None:
        """Empty the write-ahead log."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """The result of a check. `fault`: why the directory cannot be written; empty where it can."""

    fault: str
    space: Space

    @property
    def is_writable(self) -> bool:
        """Whether the last write succeeded."""
        return not self.fault


@dataclass
class StoreMonitor:
    """The state of the directory's disk, checked at most once in `FRESH_S`."""

    store: WatchedStore
    alarms: Alarms
    clock: Callable[[], float] = time.monotonic
    space: Callable[[Path], Space] = space_at
    _state: StoreState | None = None
    _checked_at: float = field(default=float("-inf"))
    _errors: int = 0
    _failed_at: float = field(default=float("-inf"))

    @property
    def state(self) -> StoreState:
        """The state now. It checks again where the last result is older than `FRESH_S`."""
        now = self.clock()
        failed = self.store.write_errors != self._errors
        if self._state is None or failed or not 0 <= now - self._checked_at < FRESH_S:
            return self.check()
        return self._state

    def check(self) -> StoreState:
        """Probe the directory and its disk; raise or clear their alarms."""
        now = self.clock()
        state = StoreState(self._fault(now), self._space())
        self._state, self._checked_at = state, now
        if state.is_writable:
            self.alarms.clear(
                AlarmKind.DIRECTORY_UNWRITABLE, None, "the directory is written again"
            )
        else:
            self.alarms.raise_alarm(Alarm(AlarmKind.DIRECTORY_UNWRITABLE, None, state.fault))
        self._check_space(state)
        return state

    async def run(self) -> None:
        """Check every few seconds, until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(PROBE_S)

    def _fault(self, now: float) -> str:
        if self.store.write_errors != self._errors:
            self._errors, self._failed_at = self.store.write_errors, now
        try:
            self.store.probe()
        except StoreError as error:
            return str(error)
        return self.store.write_error if now - self._failed_at < HOLD_S else ""

    def _space(self) -> Space:
        try:
            return self.space(self.store.path.parent)
        except OSError:
            return Space(0, 0)

    def _check_space(self, state: StoreState) -> None:
        free, least = state.space.free, state.space.least
        if state.space.is_low:
            message = (
                f"{free // 1024} KiB are free on the disk of {self.store.path.parent}, and "
                f"{least // 1024} KiB are the least; make room on it"
            )
            self.alarms.raise_alarm(Alarm(AlarmKind.DISK_FULL, None, message))
        elif free >= 2 * least:
            self.alarms.clear(AlarmKind.DISK_FULL, None, f"{free // 1024} KiB are free again")
            self.store.keep_reserve(state.space.reserve)
        if state.space.is_low or not state.is_writable:
            self.store.checkpoint()
