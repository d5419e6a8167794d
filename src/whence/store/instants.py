"""Moves stored instants by a step of the system clock. Each function runs in a transaction.

The agent calls these functions, and a drop-in's workers do: there may be no agent.
"""

from __future__ import annotations

import sqlite3

from whence.core.clock import ClockOffset
from whence.core.registration.history import EventKind
from whence.store.schema import CLOCK_OFFSET_KEY, META

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


def stored_offset(db: sqlite3.Connection) -> ClockOffset | None:
    """Return the offset of the clocks that the stored instants belong to; None without one."""
    row = db.execute(META, (CLOCK_OFFSET_KEY,)).fetchone()
    return ClockOffset.parse(str(row[0])) if row else None


def store_offset(db: sqlite3.Connection, offset: str) -> None:
    """Store the offset of the clocks, and correct nothing."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CLOCK_OFFSET_KEY, offset))


def shift(db: sqlite3.Connection, step_s: float, offset: str, now: float) -> None:
    """Add `step_s` to the ends of addresses and the instants of registrations.

    `offset`: of the clocks, after the step. Each registration gets an event.
    """
    note = {"now": now, "what": EventKind.CLOCK_STEPPED, "message": step_message(step_s)}
    for statement in _SHIFTS:
        db.execute(statement, {"step": step_s})
    rejections = db.execute(_REJECTIONS).fetchall()
    db.executemany(
        "UPDATE registration SET auth_rejections = ? WHERE trunk_id = ?",
        [(_shifted(instants, step_s), trunk_id) for trunk_id, instants in rejections],
    )
    db.execute(_NOTE, note)
    store_offset(db, offset)


def step_message(step_s: float) -> str:
    """Return the message of a step."""
    return f"the system clock was set {step_s:+.1f} s"


def offset_to_apply(db: sqlite3.Connection, present: ClockOffset) -> ClockOffset:
    """Return the offset that all stored instants have after the next `apply_offset`.

    That is the stored one. After a step, in another boot, or without a stored one, it is `present`.
    """
    stored = stored_offset(db)
    if stored is None or stored.boot_id != present.boot_id or present.step_since(stored):
        return present
    return stored


def apply_offset(db: sqlite3.Connection, offset: ClockOffset, now: float) -> float:
    """Correct all instants if `offset` differs from the stored one by a step; return the step."""
    step_s = offset.step_since(stored_offset(db))
    if step_s:
        shift(db, step_s, str(offset), now)
    elif offset.boot_id:
        store_offset(db, str(offset))
    return step_s


def _shifted(instants: str, step_s: float) -> str:
    return " ".join(repr(float(instant) + step_s) for instant in instants.split())
