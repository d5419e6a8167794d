"""Writes one step of a registration: its state, learned and ended addresses, and events.

The agent and a drop-in's workers call these functions, each in its own transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from whence.core.identification.address import Address, Origin
from whence.core.registration import history
from whence.core.registration.events import Action, ForgetAddresses, IgnoreReply, Learn
from whence.core.registration.history import HistoryEvent
from whence.core.registration.model import AccountKey, Registration
from whence.store import outbound, statements
from whence.store.outbound import Home
from whence.store.rows import event_row, registration_of, registration_row, row_of

FORMER_S = 86_400.0
"""How long an ended address is kept, to explain refused calls."""


class RegistrationStep(NamedTuple):
    """A registration after a step, the actions of that step, and its events for the history.

    `socket`: our socket that received the answer. `at`: seconds since the epoch. `exact`: whether
    each learned address admits only the port that answered, even if its action is not exact.
    `contact`: the URI in the Contact of the REGISTER; empty: not ours, as in a drop-in.
    """

    account: AccountKey
    registration: Registration
    actions: Sequence[Action]
    socket: str
    at: float
    exact: bool = False
    events: Sequence[HistoryEvent] = ()
    contact: str = ""

    @property
    def trunk_id(self) -> str:
        """Return the id of the trunk that is registered."""
        return self.registration.trunk_id


def read_registration(
    db: sqlite3.Connection, trunk_id: str
) -> tuple[AccountKey, Registration | None]:
    """Return the account and the stored registration of a trunk; None as registration if none."""
    row = db.execute(statements.REGISTRATION, (trunk_id,)).fetchone()
    return registration_of(row) if row else (AccountKey(""), None)


def changes_answers(db: sqlite3.Connection, step: RegistrationStep) -> bool:
    """Return whether a decision could change: a later expiry alone changes none."""
    return any(
        _is_new(db, step, action)
        if isinstance(action, Learn)
        else isinstance(action, ForgetAddresses)
        for action in step.actions
    )


def _home(step: RegistrationStep) -> Home | None:
    server = step.registration.home
    if server is None or not step.contact:
        return None
    return Home(step.trunk_id, str(server), step.socket, step.contact)


def _is_new(db: sqlite3.Connection, step: RegistrationStep, learn: Learn) -> bool:
    source = learn.source
    place = (step.trunk_id, source.ip_text, source.port, str(source.transport))
    known = db.execute(statements.LEARNED_UNTIL, place).fetchone()
    if known is None:
        return True
    home = _home(step)
    if home is not None and outbound.is_new_home(db, home):
        return True
    expires_at, exact = known
    return not step.at < expires_at <= learn.expires_at or exact != (learn.exact or step.exact)


def write_steps(db: sqlite3.Connection, steps: Sequence[RegistrationStep]) -> None:
    """Write registrations, the addresses of their steps, and the events for the histories."""
    db.executemany(
        statements.PUT_REGISTRATION,
        [registration_row(step.account, step.registration) for step in steps],
    )
    for step in steps:
        _write_actions(db, step)
    events = [(step.trunk_id, step.at, event) for step in steps for event in step.events]
    if events:
        db.executemany(statements.PUT_EVENT, [event_row(*event) for event in events])
        trimmed = dict.fromkeys(trunk_id for trunk_id, _, _ in events)
        limits = [{"id": trunk_id, "limit": history.LIMIT} for trunk_id in trimmed]
        db.executemany(statements.TRIM_EVENTS, limits)


def _write_actions(db: sqlite3.Connection, step: RegistrationStep) -> None:
    for action in step.actions:
        if isinstance(action, Learn):
            _learn(db, step, action)
        elif isinstance(action, IgnoreReply):
            row = (step.trunk_id, action.source.ip_text, action.asked, step.at)
            db.execute(statements.PUT_IGNORED, row)
            db.execute(statements.TRIM_IGNORED, (step.trunk_id,))
        elif isinstance(action, ForgetAddresses):
            forget(db, step.trunk_id, step.at)


def _learn(db: sqlite3.Connection, step: RegistrationStep, learn: Learn) -> None:
    source = learn.source
    learned = Address(
        source.ip,
        source.port,
        source.transport,
        Origin.LEARNED,
        step.socket,
        step.at,
        learn.expires_at,
        learn.exact or step.exact,
        ground=learn.ground,
    )
    put(db, step.trunk_id, learned)
    db.execute(statements.DROP_IGNORED, (step.trunk_id, source.ip_text))
    if home := _home(step):
        outbound.put_home(db, home)


def put(db: sqlite3.Connection, trunk_id: str, address: Address) -> None:
    """Write an address. One that is already stored keeps its `learned_at`."""
    db.execute(statements.PUT_ADDRESS, row_of(trunk_id, address))


def note(db: sqlite3.Connection, trunk_id: str, event: HistoryEvent, at: float) -> None:
    """Add an event to the history of a trunk."""
    db.execute(statements.PUT_EVENT, event_row(trunk_id, at, event))
    db.execute(statements.TRIM_EVENTS, {"id": trunk_id, "limit": history.LIMIT})


def forget(db: sqlite3.Connection, trunk_id: str, now: float) -> None:
    """End the learned and resolved addresses of a trunk."""
    end(db, "trunk_id = :id AND origin IN ('learned', 'resolved')", now, id=trunk_id)


def end(db: sqlite3.Connection, which: str, now: float, **parameters: str | int) -> None:
    """Move addresses to `former_address`, which explains refusals.

    `which`: an SQL condition on rows of `address`, with `parameters`.
    """
    named = {"now": now, **parameters}
    db.execute(statements.END_ADDRESSES.format(which=which), named)
    db.execute(f"DELETE FROM address WHERE {which}", named)


def sweep(db: sqlite3.Connection, now: float, trunk_id: str | None = None) -> None:
    """Remove expired addresses, and old entries for explanations, of one trunk or of all."""
    one, named = ("", {}) if trunk_id is None else (" AND trunk_id = :id", {"id": trunk_id})
    end(db, f"expires_at <= :now{one}", now, **named)
    before = {"before": now - FORMER_S, **named}
    db.execute(f"DELETE FROM former_address WHERE ended_at <= :before{one}", before)
    db.execute(f"DELETE FROM ignored_reply WHERE at <= :before{one}", before)
