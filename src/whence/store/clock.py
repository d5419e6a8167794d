"""Instants in the directory, corrected after a step of the system clock."""

from __future__ import annotations

from whence.store import instants
from whence.store.connection import DirectoryConnection
from whence.store.schema import CLOCK_OFFSET_KEY


class ClockCorrection(DirectoryConnection):
    """The correction of all stored instants."""

    def clock_offset(self) -> str:
        """Return the stored offset of the clocks; empty without one."""
        rows = self._fetch("SELECT value FROM meta WHERE key = ?", (CLOCK_OFFSET_KEY,))
        return str(rows[0][0]) if rows else ""

    def set_clock_offset(self, offset: str) -> None:
        """Store the offset of the clocks."""
        with self._changing():  # the edge reads it when the generation changes
            instants.store_offset(self._db, offset)

    def shift_clock(
        self,
        step_s: float,
        offset: str,
        now: float,
    ) -> None:
        """Add `step_s` to the ends of addresses and the instants of registrations.

        `offset`: of the clocks, after the step. Each registration gets an event.
        Raises: StoreError; then nothing has changed.
        """
        with self._changing():
            instants.shift(self._db, step_s, offset, now)
