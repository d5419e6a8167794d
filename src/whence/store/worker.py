"""What the registrations of this Kamailio's own `uac` taught, written by the worker that heard it.

Several workers write: each change is one short transaction, and waits for the others no longer than
it is told. What could not be written is kept, and written before the next change of that worker; a
failure is told in the log. (Beside our own agent nobody else writes: there this is not used.)
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whence.core.registration import history
from whence.core.registration.events import Action
from whence.core.registration.history import HistoryEvent
from whence.core.registration.learning import ExpectedSources
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.phone_number import account_spellings
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store import learning, rows, statements, transactions
from whence.store import schema as tables
from whence.store.generation import Identity, OpenGeneration, identity
from whence.store.learning import RegistrationStep
from whence.trust.ownership import refuse_others

LEFT_LIMIT = 10_000
"""How many changes one worker keeps that could not be written."""


@dataclass(frozen=True, slots=True)
class UacAccount:
    """An account of `uac`, as a trunk. `id`: its l_uuid. `target`: the local user's URI."""

    id: str
    aor_user: str
    target: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one uac account's registration. `socket`: ours, on which it was heard.

    `step` makes of the registration that stands the next one, and what that teaches.
    `uac_account` None: nothing becomes known of the uac account itself.
    """

    trunk_id: str
    account: AccountKey | None
    """For whom, and where; None: as it was before."""
    socket: str
    at: float
    step: Callable[[Registration], tuple[Registration, Sequence[Action]]]
    uac_account: UacAccount | None = None


class LearningWriter:
    """The directory, written from one worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._generation: OpenGeneration | None = None
        self._opened: Identity = None
        self._left: deque[Change] = deque(maxlen=LEFT_LIMIT)

    def write(self, change: Change, wait_s: float) -> list[tuple[str, HistoryEvent]]:
        """Write a change, after those that were left; WriteDeferredError where it must wait.

        Returns (trunk id, event) of what is news.
        """
        self._left.append(change)
        return self.catch_up(wait_s)

    def catch_up(self, wait_s: float) -> list[tuple[str, HistoryEvent]]:
        """Write what was left; WriteDeferredError where it must still wait.

        Returns (trunk id, event) of what is news.
        """
        news: list[tuple[str, HistoryEvent]] = []
        if not self._left:
            return news
        try:
            database = self._open()
            database.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
            while self._left:
                try:
                    events = self._write(database, self._left[0])
                except sqlite3.OperationalError:  # busy, or the disk: it stays for later
                    raise
                except (sqlite3.Error, ValueError):  # it never will be: the others are not held up
                    self._left.popleft()
                    raise
                id_ = self._left.popleft().trunk_id
                news += [(id_, event) for event in events]
        except (sqlite3.Error, OSError, ValueError) as error:
            self.close()  # what it has open may be a file that has been replaced since
            raise WriteDeferredError(
                f"{self._path.name} cannot be written now ({error}); "
                f"{len(self._left)} changes are kept for later"
            ) from error
        return news

    def expected(self, trunk_id: str) -> ExpectedSources:
        """Return from where, besides whom was asked, a reply may teach: drop-in.toml says so.

        StoreUnavailableError where it cannot be read.
        """
        try:
            database = self._open()
            _check_version(database)
            meta = database.execute(tables.META, (tables.LEARN_FROM_KEY,)).fetchone()
            pinned = database.execute(statements.IN_FILE, (trunk_id,)).fetchall()
            return ExpectedSources(
                networks=tuple(rows.address_of(row) for row in pinned),
                anyone=rows.learns_from_any(meta[0] if meta else "", trunk_id),
            )
        except (sqlite3.Error, OSError, ValueError) as error:
            self.close()
            raise StoreUnavailableError(f"{self._path.name}: {error}") from error

    def standing(self, trunk_id: str) -> Registration | None:
        """How a registration stands; None where nothing is known of it. StoreUnavailableError."""
        try:
            database = self._open()
            _check_version(database)
            return learning.read_registration(database, trunk_id)[1]
        except (sqlite3.Error, OSError, ValueError) as error:
            self.close()
            raise StoreUnavailableError(f"{self._path.name}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._opened != identity(self._path):
            self.close()  # the operator has moved it away, and made another
        if self._connection is None:
            self._opened = identity(self._path)
            refuse_others(self._path)
            place = self._path.with_name(tables.GENERATION_FILE)
            with place.open("r+b") as file:
                self._generation = OpenGeneration(file.fileno())
            # mode=rw: what `whence drop-in` has not made is not made here, with another's rights.
            self._connection = sqlite3.connect(
                f"file:{self._path}?mode=rw", uri=True, isolation_level=None
            )
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
        return self._connection

    def close(self) -> None:
        """Let the files go; the next question opens them again."""
        if self._connection is not None:
            self._connection.close()
        if self._generation is not None:
            self._generation.close()
        self._connection = self._generation = None

    def _move(self) -> None:
        """Have the workers drop what they decided."""
        assert self._generation is not None  # noqa: S101 - `_open` has made both
        self._generation.move()

    def _write(self, database: sqlite3.Connection, change: Change) -> Sequence[HistoryEvent]:
        moves = False
        try:
            with transactions.immediate(database):
                _check_version(database)  # another Whence may have migrated it since it was opened
                account, before = learning.read_registration(database, change.trunk_id)
                after, actions = change.step(
                    before or Registration(change.trunk_id, "", next_at=None)
                )
                if after is before or (before is None and after.state is State.NEW):
                    return ()
                step = RegistrationStep(
                    change.account or account, after, actions, change.socket, change.at
                )
                moves = _is_new(database, change) or learning.changes_answers(database, step)
                if moves:
                    self._move()  # who reads the old state from here on must not keep it
                if change.uac_account is not None:
                    _put_uac_account(database, change.uac_account)
                events = _news(database, before, step)
                learning.write_step(database, step, events)
                # Without an agent, no other process removes what has ended.
                learning.sweep(database, change.at, change.trunk_id)
                return events
        finally:
            if moves:
                self._move()  # and who has kept it must not keep it any longer


def _check_version(database: sqlite3.Connection) -> None:
    """Raise sqlite3.OperationalError for a file of another version: its change stays for later."""
    (version,) = database.execute(tables.READ_VERSION).fetchone()
    if version != tables.VERSION:
        raise sqlite3.OperationalError(tables.version_fault(version))


def _is_new(database: sqlite3.Connection, change: Change) -> bool:
    """Return whether the change tells something new of the uac account itself."""
    uac_account = change.uac_account
    query = "SELECT aor_user, enabled FROM trunk WHERE id = ?"
    stands = database.execute(query, (change.trunk_id,)).fetchone()
    return uac_account is not None and stands != (uac_account.aor_user, 1)


def _put_uac_account(database: sqlite3.Connection, uac_account: UacAccount) -> None:
    named = (uac_account.id, uac_account.id, uac_account.aor_user, uac_account.target)
    database.execute(statements.PUT_UAC_ACCOUNT, named)
    forms = sorted(account_spellings(uac_account.aor_user)) if uac_account.aor_user else []
    database.executemany(statements.PUT_ACCOUNT, [(form, uac_account.id) for form in forms])


def _news(
    database: sqlite3.Connection, before: Registration | None, step: RegistrationStep
) -> Sequence[HistoryEvent]:
    """Return what is news for the trunk's history; nothing while the trunk is not known."""
    after = step.registration
    if database.execute("SELECT 1 FROM trunk WHERE id = ?", (after.trunk_id,)).fetchone() is None:
        return ()
    events = history.tracked_events(before, after, step.at)
    return events + history.ignored_replies(before, step.actions, after.last_status)
