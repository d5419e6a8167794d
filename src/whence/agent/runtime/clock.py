"""Detects steps of the system clock, and has all instants corrected."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from whence.core.clock import BOOT_ID_FILE, ClockOffset
from whence.errors import StoreError
from whence.store.system_clock import boottime

log = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the clocks are compared."""


class ClockObserver(Protocol):
    """Follows steps of the system clock, in the event loop. It must not wait."""

    def clock_stepped(self, step_s: float, offset: ClockOffset, /) -> None:
        """Add `step_s` to all instants. `offset`: of the clocks, after the step.

        Raises: StoreError; then nothing has changed, and it is called again.
        """


class Clocks:
    """The system clock and the steady clock of this machine."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = boottime,
        boot_id: str | None = None,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._boot_id = Path(BOOT_ID_FILE).read_text().strip() if boot_id is None else boot_id

    def offset(self) -> ClockOffset:
        """Return their difference now."""
        return ClockOffset(self._boot_id, self._wall() - self._steady())


class ClockWatch:
    """Compares the clocks, and calls the observers after a step. `run` it."""

    def __init__(
        self, clocks: Clocks, observers: Sequence[ClockObserver], since: ClockOffset | None = None
    ) -> None:
        """`since`: the offset that the stored instants belong to; None: the present one.

        If the first observer raises StoreError, the others are not called.
        """
        self._clocks = clocks
        self._observers = observers
        self._applied = clocks.offset() if since is None else since
        self._is_logged = False

    def check(self) -> None:
        """Compare the clocks once."""
        offset = self._clocks.offset()
        step_s = offset.step_since(self._applied)
        if not step_s:
            return
        try:
            for observer in self._observers:
                observer.clock_stepped(step_s, offset)
        except StoreError as error:
            if not self._is_logged:
                log.error("the clock was set; no instant is corrected: %s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours
            self._is_logged = True
            return
        self._applied, self._is_logged = offset, False

    async def run(self) -> None:
        """Compare the clocks until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            self.check()
