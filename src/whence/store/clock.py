"""Instants in the directory, corrected after a step of the system clock."""

from __future__ import annotations

from whence.core.registration.history import EventKind
from whence.store.connection import DirectoryConnection
from whence.store.schema import CLOCK_OFFSET_KEY

_DURATIONS = "origin IN ('learned', 'resolved') OR managed_by = 'allow'"
"""Addresses that end after a duration. The file pins until an instant of the calendar."""

_SHIFTS = (
    f"UPDATE address SET expires_at = expires_at + :step WHERE {_DURATIONS}",
    "UPDATE registration SET since = since + :step, expires_at = expires_at + :step,"
    " registered_at = registered_at + :step, next_at = next_at + :step,"
    " learned_until = learned_until + :step",
)

_REJECTIONS = "SELECT trunk_id, auth_rejections FROM registration WHERE auth_rejections <> ''"

_NOTE = """
INSERT INTO event (trunk_id, at, what, message)
SELECT trunk_id, :now, :what, :message FROM registration WHERE trunk_id IN (SELECT id FROM trunk)
"""


class ClockCorrection(DirectoryConnection):
    """The correction of all stored instants."""

    def clock_offset(self) -> str:
        """Return the stored offset of the clocks; empty without one."""
        rows = self._fetch("SELECT value FROM meta WHERE key = ?", (CLOCK_OFFSET_KEY,))
        return str(rows[0][0]) if rows else ""

    def set_clock_offset(self, offset: str) -> None:
        """Store the offset of the clocks."""
        with self._changing():  # the edge reads it when the generation changes
            self._set(CLOCK_OFFSET_KEY, offset)

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
        message = f"the system clock was set {step_s:+.1f} s"
        note = {"now": now, "what": EventKind.CLOCK_STEPPED, "message": message}
        with self._changing():
            for shift in _SHIFTS:
                self._db.execute(shift, {"step": step_s})
            rejections = self._db.execute(_REJECTIONS).fetchall()
            self._db.executemany(
                "UPDATE registration SET auth_rejections = ? WHERE trunk_id = ?",
                [(_shifted(instants, step_s), trunk_id) for trunk_id, instants in rejections],
            )
            self._db.execute(_NOTE, note)
            self._set(CLOCK_OFFSET_KEY, offset)


def _shifted(instants: str, step_s: float) -> str:
    return " ".join(repr(float(instant) + step_s) for instant in instants.split())
