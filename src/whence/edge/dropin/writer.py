"""What the registrations of this Kamailio's own `uac` taught, written by the worker that heard it.

Several workers write: each change is one short transaction, and waits for the others no longer than
it is told. What could not be written is kept, and written before the next change of that worker; a
failure is told in the log. (Beside our own agent nobody else writes: there this is not used.)
"""

from __future__ import annotations

import mmap
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whence.core.identification.address import Address, Origin
from whence.core.registration import history
from whence.core.registration.events import Action, ForgetAddresses, IgnoreReply, Learn
from whence.core.registration.learning import ExpectedSources
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.phone_number import account_spellings
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store import rows, statements
from whence.store import schema as tables
from whence.store.generation import Identity, identity
from whence.trust.ownership import refuse_others

FORMER_S = 86_400.0
"""How long an address that has ended is kept, to explain why a call was refused."""

LEFT_LIMIT = 10_000
"""How many changes one worker keeps that could not be written."""


@dataclass(frozen=True, slots=True)
class UacAccount:
    """A record of `uac`, as a trunk. `id`: its l_uuid. `target`: the local user's URI."""

    id: str
    aor_user: str
    target: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one record's registration. `socket`: ours, on which it was heard.

    `step` makes of the registration that stands the next one, and what that teaches. `record` None:
    nothing becomes known of the record itself.
    """

    trunk_id: str
    account: AccountKey | None
    """For whom, and where; None: as it was before."""
    socket: str
    at: float
    step: Callable[[Registration], tuple[Registration, Sequence[Action]]]
    record: UacAccount | None = None


class LearningWriter:
    """The directory, written from one worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._generation: mmap.mmap | None = None
        self._opened: Identity = None
        self._left: deque[Change] = deque(maxlen=LEFT_LIMIT)

    def write(self, change: Change, wait_s: float) -> list[tuple[str, history.HistoryEvent]]:
        """Write a change, after those that were left; WriteDeferredError where it must wait.

        Returns (trunk id, event) of what is news.
        """
        self._left.append(change)
        return self.catch_up(wait_s)

    def catch_up(self, wait_s: float) -> list[tuple[str, history.HistoryEvent]]:
        """Write what was left; WriteDeferredError where it must still wait.

        Returns (trunk id, event) of what is news.
        """
        news: list[tuple[str, history.HistoryEvent]] = []
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
            return _standing(self._open(), trunk_id)[1]
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
                self._generation = mmap.mmap(file.fileno(), tables.GENERATION_BYTES)
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
        """Have the workers forget. Random: two that counted on at once would be one move."""
        assert self._generation is not None  # noqa: S101 - `_open` has made both
        self._generation[:] = os.urandom(tables.GENERATION_BYTES)

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[None]:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _write(
        self, database: sqlite3.Connection, change: Change
    ) -> Sequence[history.HistoryEvent]:
        moves = False
        try:
            with self._transaction(database):
                account, before = _standing(database, change.trunk_id)
                after, actions = change.step(
                    before or Registration(change.trunk_id, "", next_at=None)
                )
                if after is before or (before is None and after.state is State.NEW):
                    return ()
                moves = _moves(database, change, actions)
                if moves:
                    self._move()  # who reads the old state from here on must not keep it
                if change.record is not None:
                    _put_record(database, change.record)
                row = rows.registration_row(change.account or account, after)
                database.execute(statements.PUT_REGISTRATION, row)
                for action in actions:
                    _carry_out(database, change, action)
                events = _tell(database, before, after, actions, change.at)
                _sweep(database, change)
                return events
        finally:
            if moves:
                self._move()  # and who has kept it must not keep it any longer


def _standing(
    database: sqlite3.Connection, trunk_id: str
) -> tuple[AccountKey, Registration | None]:
    row = database.execute(statements.REGISTRATION, (trunk_id,)).fetchone()
    return rows.registration_of(row) if row else (AccountKey(""), None)


def _moves(database: sqlite3.Connection, change: Change, actions: Sequence[Action]) -> bool:
    """Whether an answer could change: an address that only lives longer changes none."""
    record = change.record
    stands = database.execute(
        "SELECT aor_user, enabled FROM trunk WHERE id = ?", (change.trunk_id,)
    ).fetchone()
    if record is not None and stands != (record.aor_user, 1):
        return True
    for action in actions:
        if isinstance(action, ForgetAddresses):
            return True
        if isinstance(action, Learn):
            s = action.source
            place = (change.trunk_id, str(s.ip), s.port, s.transport)
            known = database.execute(statements.LEARNED_UNTIL, place).fetchone()
            if known is None or not change.at < known[0] <= action.expires_at:
                return True
            if known[1] != action.exact:
                return True
    return False


def _put_record(database: sqlite3.Connection, record: UacAccount) -> None:
    named = (record.id, record.id, record.aor_user, record.target)
    database.execute(statements.PUT_RECORD, named)
    forms = sorted(account_spellings(record.aor_user)) if record.aor_user else []
    database.executemany(statements.PUT_ACCOUNT, [(form, record.id) for form in forms])


def _carry_out(database: sqlite3.Connection, change: Change, action: Action) -> None:
    if isinstance(action, Learn):
        source = action.source
        learned = Address(
            source.ip,
            source.port,
            source.transport,
            Origin.LEARNED,
            change.socket,
            change.at,
            action.expires_at,
            action.exact,
            ground=action.ground,
        )
        database.execute(statements.PUT_ADDRESS, rows.row_of(change.trunk_id, learned))
        database.execute(statements.DROP_IGNORED, (change.trunk_id, str(source.ip)))
    elif isinstance(action, IgnoreReply):
        row = (change.trunk_id, str(action.source.ip), action.asked, change.at)
        database.execute(statements.PUT_IGNORED, row)
        database.execute(statements.TRIM_IGNORED, (change.trunk_id,))
    elif isinstance(action, ForgetAddresses):
        _end(database, "trunk_id = :id AND origin IN ('learned', 'resolved')", change)


def _tell(
    database: sqlite3.Connection,
    before: Registration | None,
    after: Registration,
    actions: Sequence[Action],
    at: float,
) -> Sequence[history.HistoryEvent]:
    """Keep what is news in the trunk's history, as far as the trunk is known; and return it."""
    if database.execute("SELECT 1 FROM trunk WHERE id = ?", (after.trunk_id,)).fetchone() is None:
        return ()
    events = history.heard(before, after, at)
    events += history.ignored(before, actions, after.last_status)
    for event in events:
        database.execute(statements.PUT_EVENT, rows.event_row(after.trunk_id, at, event))
        database.execute(statements.TRIM_EVENTS, {"id": after.trunk_id, "limit": history.LIMIT})
    return events


def _sweep(database: sqlite3.Connection, change: Change) -> None:
    """Take away what has ended of this trunk: without an agent nobody else does."""
    _end(database, "trunk_id = :id AND expires_at <= :now", change)
    database.execute(
        "DELETE FROM former_address WHERE trunk_id = ? AND ended_at <= ?",
        (change.trunk_id, change.at - FORMER_S),
    )
    database.execute(
        "DELETE FROM ignored_reply WHERE trunk_id = ? AND at <= ?",
        (change.trunk_id, change.at - FORMER_S),
    )


def _end(database: sqlite3.Connection, which: str, change: Change) -> None:
    named = {"id": change.trunk_id, "now": change.at}
    database.execute(statements.END_ADDRESSES.format(which=which), named)
    database.execute(f"DELETE FROM address WHERE {which}", named)  # noqa: S608 - our own words
