"""Writes what registrations of Kamailio's `uac` teach, in the worker that received the reply.

Only the drop-in uses this. Several workers write: each change is one short transaction with a
bounded wait for the others. A worker keeps changes that it could not write, and writes them before
its next change.

There may be no agent, so a worker also corrects stored instants after a step of the system clock.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whence.core.clock import ClockOffset
from whence.core.registration import history
from whence.core.registration.events import Action
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.learning import ExpectedSources
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.phone_number import account_spellings
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store import instants, learning, rows, statements, transactions
from whence.store import schema as tables
from whence.store.generation import Identity, OpenGeneration, identity
from whence.store.learning import RegistrationStep
from whence.store.system_clock import present_offset
from whence.trust.ownership import refuse_others

DEFERRED_LIMIT = 10_000
"""How many unwritten changes one worker keeps."""


Step = Callable[[Registration, float], tuple[Registration, Sequence[Action]]]
"""(stored registration, instant of the change) → next registration, actions."""


@dataclass(frozen=True, slots=True)
class UacAccount:
    """A uac account as a trunk. `id`: its l_uuid. `target`: the URI of the local user."""

    id: str
    aor_user: str
    target: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one uac account's registration.

    `socket`: our socket that received the reply. `at`: when, in seconds of CLOCK_BOOTTIME, which no
    step of the system clock changes. `step` makes the next registration, with its actions, from the
    stored one and the instant of the change. `uac_account` None: the account itself is not written.
    """

    trunk_id: str
    account: AccountKey | None
    """The account key; None: unchanged."""
    socket: str
    at: float
    step: Step
    uac_account: UacAccount | None = None


class LearningWriter:
    """One worker's connection for writing to the directory."""

    def __init__(
        self, path: Path, present_offset: Callable[[], ClockOffset] = present_offset
    ) -> None:
        self._path = path
        self._present_offset = present_offset
        self._connection: sqlite3.Connection | None = None
        self._generation: OpenGeneration | None = None
        self._opened: Identity = None
        self._deferred: deque[Change] = deque(maxlen=DEFERRED_LIMIT)

    def write(self, change: Change, wait_s: float) -> list[tuple[str, HistoryEvent]]:
        """Write a change after the deferred ones, and return the new events as (trunk id, event).

        Raises WriteDeferredError if the directory cannot be written within `wait_s`. The change is
        then kept.
        """
        self._deferred.append(change)
        return self.catch_up(wait_s)

    def catch_up(self, wait_s: float) -> list[tuple[str, HistoryEvent]]:
        """Write the deferred changes, and return the new events as (trunk id, event).

        Raises WriteDeferredError if the directory cannot be written within `wait_s`.
        """
        news: list[tuple[str, HistoryEvent]] = []
        if not self._deferred:
            return news
        try:
            database = self._open()
            database.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
            while self._deferred:
                try:
                    events = self._write(database, self._deferred[0])
                except sqlite3.OperationalError:  # busy, or a fault of the disk: keep the change
                    raise
                except (sqlite3.Error, ValueError):
                    # It can never be written: do not block the others.
                    self._deferred.popleft()
                    raise
                id_ = self._deferred.popleft().trunk_id
                news += [(id_, event) for event in events]
        except (sqlite3.Error, OSError, ValueError) as error:
            self.close()  # the open file may have been replaced
            raise WriteDeferredError(
                f"{self._path.name} cannot be written now ({error}); "
                f"{len(self._deferred)} changes are kept for later"
            ) from error
        return news

    def expected(self, trunk_id: str) -> ExpectedSources:
        """Return the sources that drop-in.toml permits, besides the server that was asked.

        Raises StoreUnavailableError.
        """
        try:
            database = self._open()
            _check_version(database)
            meta = database.execute(tables.META, (tables.LEARN_FROM_KEY,)).fetchone()
            pinned = database.execute(statements.IN_FILE, (trunk_id,)).fetchall()
            return ExpectedSources(
                networks=tuple(rows.address_of(row) for row in pinned),
                any_source=rows.learns_from_any(meta[0] if meta else "", trunk_id),
            )
        except (sqlite3.Error, OSError, ValueError) as error:
            self.close()
            raise StoreUnavailableError(f"{self._path.name}: {error}") from error

    def registration(self, trunk_id: str) -> Registration | None:
        """Return the stored registration of a trunk, or None. Raises StoreUnavailableError."""
        try:
            database = self._open()
            _check_version(database)
            return learning.read_registration(database, trunk_id)[1]
        except (sqlite3.Error, OSError, ValueError) as error:
            self.close()
            raise StoreUnavailableError(f"{self._path.name}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._opened != identity(self._path):
            self.close()  # the operator moved the file away and made another
        if self._connection is None:
            self._opened = identity(self._path)
            refuse_others(self._path)
            place = self._path.with_name(tables.GENERATION_FILE)
            with place.open("r+b") as file:
                self._generation = OpenGeneration(file.fileno())
            # mode=rw: only `whence drop-in` makes the file, because its owner and mode matter.
            self._connection = sqlite3.connect(
                f"file:{self._path}?mode=rw", uri=True, isolation_level=None
            )
            # A worker of Kamailio must not wait for the disk: a power cut may lose commits.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
        return self._connection

    def close(self) -> None:
        """Close the files. The next call opens them again."""
        if self._connection is not None:
            self._connection.close()
        if self._generation is not None:
            self._generation.close()
        self._connection = self._generation = None

    def _move(self) -> None:
        """Change the generation, so that all workers drop their cached decisions."""
        assert self._generation is not None  # noqa: S101 - `_open` has made both
        self._generation.move()

    def _write(self, database: sqlite3.Connection, change: Change) -> Sequence[HistoryEvent]:
        moves = False
        try:
            with transactions.immediate(database):
                _check_version(database)  # another Whence may have migrated it since it was opened
                moves, at, clock_events = self._follow_clock(database, change.at)
                account, before = learning.read_registration(database, change.trunk_id)
                after, actions = change.step(
                    before or Registration(change.trunk_id, "", next_at=None), at
                )
                if after is before or (before is None and after.state is State.NEW):
                    return clock_events
                step = RegistrationStep(
                    change.account or account, after, actions, change.socket, at
                )
                moves = (
                    moves or _is_new(database, change) or learning.changes_answers(database, step)
                )
                if moves:
                    self._move()  # a worker that reads the old state meanwhile must not cache it
                if change.uac_account is not None:
                    _put_uac_account(database, change.uac_account)
                events = _news(database, before, step)
                learning.write_steps(database, [step._replace(events=events)])
                # Without an agent, no other process removes what has ended.
                learning.sweep(database, at, change.trunk_id)
                return (*clock_events, *events)
        finally:
            if moves:
                self._move()  # a worker that cached it nevertheless must drop it

    def _follow_clock(
        self, database: sqlite3.Connection, steady_at: float
    ) -> tuple[bool, float, tuple[HistoryEvent, ...]]:
        """Correct all instants if the system clock was set.

        Return whether the stored offset changed, the instant of `steady_at`, and the event of a
        step.
        """
        offset = instants.offset_to_apply(database, self._present_offset())
        at = steady_at + offset.seconds
        if offset == instants.stored_offset(database):
            return False, at, ()
        self._move()
        step_s = instants.apply_offset(database, offset, at)
        if not step_s:
            return True, at, ()
        return True, at, (HistoryEvent(EventKind.CLOCK_STEPPED, instants.step_message(step_s)),)


def _check_version(database: sqlite3.Connection) -> None:
    """Raise sqlite3.OperationalError for a file of another version, so that the change is kept."""
    (version,) = database.execute(tables.READ_VERSION).fetchone()
    if version != tables.VERSION:
        raise sqlite3.OperationalError(tables.version_fault(version))


def _is_new(database: sqlite3.Connection, change: Change) -> bool:
    """Return whether the change differs from the stored uac account."""
    uac_account = change.uac_account
    query = "SELECT aor_user, enabled FROM trunk WHERE id = ?"
    stored = database.execute(query, (change.trunk_id,)).fetchone()
    return uac_account is not None and stored != (uac_account.aor_user, 1)


def _put_uac_account(database: sqlite3.Connection, uac_account: UacAccount) -> None:
    named = (uac_account.id, uac_account.id, uac_account.aor_user, uac_account.target)
    database.execute(statements.PUT_UAC_ACCOUNT, named)
    forms = sorted(account_spellings(uac_account.aor_user)) if uac_account.aor_user else []
    database.executemany(statements.PUT_ACCOUNT, [(form, uac_account.id) for form in forms])


def _news(
    database: sqlite3.Connection, before: Registration | None, step: RegistrationStep
) -> Sequence[HistoryEvent]:
    """Return the new events for the trunk's history; none while the trunk is not stored."""
    after = step.registration
    if database.execute("SELECT 1 FROM trunk WHERE id = ?", (after.trunk_id,)).fetchone() is None:
        return ()
    events = history.tracked_events(before, after, step.at)
    return events + history.ignored_replies(before, step.actions, after.last_status)
