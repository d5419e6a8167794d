"""The directory, written: one transaction for each fact. The agent is its one writer, but beside a
drop-in: there Kamailio's workers write too what they learned (edge/dropin/writer.py).

WAL, so that the edge's readers never wait for us. `synchronous=NORMAL`: what is committed survives
any crash of a process; a power cut may cost the last moments, and never the consistency.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2s
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from whence.agent.config.models import Config
from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.dns_siblings import LIMIT
from whence.core.identification.explain import FormerAddress, IgnoredReply, NearbyTrunk
from whence.core.identification.request import Evidence, Request
from whence.core.registration import history
from whence.core.registration.events import Action, ForgetAddresses, IgnoreReply, Learn
from whence.core.registration.grant import GRANT_LIMIT_S
from whence.core.registration.history import HistoryEvent
from whence.core.registration.learning import ExpectedSources, Ground, permit
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.digest import Credentials
from whence.core.sip.transport_address import (
    IP,
    Network,
    Transport,
    TransportAddress,
    bits_of,
    canonical_ip,
    canonical_network,
)
from whence.errors import DisabledTrunkError, StoreError, UnknownTrunkError, UntrustedError
from whence.store import lookup, migrate, statements
from whence.store import schema as tables
from whence.store.lookup import Row
from whence.store.migrate import BEGIN_ANEW
from whence.store.rows import (
    address_of,
    event_of,
    event_row,
    registration_of,
    registration_row,
    row_of,
)
from whence.trust import paths

FILE = "directory.db"

EXPLAINED = 100
"""How many candidates an explanation names at most, besides those that the request names."""


FORMER_S = 86_400.0
"""How long an address that has ended is kept, to explain why a call was refused."""

FORMER_LIMIT = 100_000
"""How many of them at most, the latest ones."""

GONE_S = float(GRANT_LIMIT_S)
"""How long the token of a trunk that is gone is kept: its registrar may go on calling by it."""


_REMEDIES = {
    sqlite3.SQLITE_NOTADB: BEGIN_ANEW,
    sqlite3.SQLITE_CORRUPT: BEGIN_ANEW,
    sqlite3.SQLITE_BUSY: "end what has locked it",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look at its disk, which may be full, or broken",
}
"""SQLite's primary result code → what the operator can do about it."""


class GenerationWriter:
    """The bytes beside the database that tell the workers when an answer could have changed."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it; it moves at once, for what the last agent may have left undone."""
        opened = paths.open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with os.fdopen(opened, "a+b", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            # Written, not only made long: on a full disk this fails, and writing to memory would
            # end the process.
            file.write(bytes(max(0, tables.GENERATION_BYTES - file.tell())))
            file.truncate(tables.GENERATION_BYTES)
            self._mapped = mmap.mmap(file.fileno(), tables.GENERATION_BYTES)
        self.move()

    def move(self) -> None:
        """Be what it never was. Random, not one more: beside a drop-in there are several writers,
        and two that count from the same number would be one move. Eight bytes are written at once.
        """
        self._mapped[:] = secrets.token_bytes(tables.GENERATION_BYTES)

    def close(self) -> None:
        """Let it go; it stays for the workers."""
        self._mapped.close()


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """A registration as the directory keeps it, and the account that it is for."""

    account: AccountKey
    registration: Registration


class Directory:
    """The directory of one node."""

    def __init__(self, path: Path) -> None:
        """Open the directory, or make it; StoreError if that cannot be done."""
        self.path = path
        self.on_change: Callable[[], None] = lambda: None
        """Called after each change that could change an answer."""
        self._exact: set[str] = set()
        """Trunks whose learned addresses admit the port that answered, and no other."""
        try:
            with ExitStack() as undo:
                paths.make_database(path)
                self._db = sqlite3.connect(path, isolation_level=None, timeout=2.0)
                undo.callback(self._db.close)
                migrate.check_version(self._db, path)  # before anything is written into it
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._prepare()
                self._generation = GenerationWriter(path.with_name(tables.GENERATION_FILE))
                undo.pop_all()
        except UntrustedError as error:
            raise StoreError(
                f"the directory {path} cannot be opened: {error.path} {error.why}; {error.cure}"
            ) from error
        except (sqlite3.Error, OSError) as error:
            permit = "make its folder writable for this user, or name another one as agent state"
            raise self._fault("opened", error, permit) from error

    def close(self) -> None:
        """Close it; the edge goes on reading."""
        self._generation.close()
        self._db.close()

    def _prepare(self) -> None:
        """Make the tables, or migrate them."""
        if migrate.check_version(self._db, self.path) == tables.VERSION:
            return
        remedy = f"it is as it was before; {BEGIN_ANEW}"
        with self._transaction("migrated", remedy):
            migrate.upgrade(self._db, self.path)

    def _fault(self, done: str, error: sqlite3.Error | OSError, remedy: str = "") -> StoreError:
        """Say what could not be done, why, and what to do; `remedy` where SQLite knows no more."""
        remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, remedy)
        said = f"the directory {self.path} cannot be {done}: {error}"
        return StoreError(f"{said}; {remedy}" if remedy else said)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction that may change answers: workers drop what they know, before and after.

        Before, because one that reads the old state in between must not keep it; after, because
        one that kept it all the same must not keep it any longer.
        """
        self._generation.move()
        try:
            with self._transaction():
                yield
        finally:
            self._generation.move()
        self.on_change()

    @contextmanager
    def _transaction(self, done: str = "written", remedy: str = "") -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._undo()
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._fault(done, error, remedy) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._fault("read", error) from error

    def _fetch(self, query: str, parameters: dict[str, Any] | Sequence[Any] = ()) -> list[Row]:
        """All rows of one SELECT; StoreError where they cannot be read."""
        with self._reading():
            return self._db.execute(query, parameters).fetchall()

    def _undo(self) -> None:
        """End a transaction, as if it had not been. What a full disk ends, SQLite has ended."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    # Written once at the start, and at each reload.

    def new_inside_key(self) -> str:
        """Make the key that seals what edge and agent say to each other; good until the next."""
        key = secrets.token_hex(32)
        with self._transaction():
            self._set(tables.INSIDE_KEY, key)
            self._lasting_key(tables.DIALOG_KEY)  # dialogs outlive us
        return key

    def _lasting_key(self, name: str) -> str:
        """The key of this name, made where there is none yet."""
        made = self._db.execute(tables.META, (name,)).fetchone()
        if made is None:
            made = (secrets.token_hex(32),)
            self._set(name, made[0])
        return str(made[0])

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def install(
        self, settings: Config, now: float | None = None, others: Iterable[str] = ()
    ) -> frozenset[str]:
        """Make trunks, numbers and users those of the file; what is gone takes its addresses along.

        A trunk that stays keeps its token: the registrar knows it by that. One that is disabled
        loses its addresses, those too that were pinned at run time. `others`: ids of registrations
        that are no trunk's any more, or another account's. Returns the ids of those that stay and
        have other credentials than before, as far as that is remembered. StoreError, and then
        nothing has changed.
        """
        now = time.time() if now is None else now
        with self._changing():
            for id_ in others:
                self._let_go(id_, now)
            renewed = self._install_trunks(settings)
            pinned = {trunk.id: trunk.pinned(now) for trunk in settings.trunk if trunk.enabled}
            self._install_pins(pinned)
            anyone = {trunk.id for trunk in settings.trunk if trunk.learn_from == "any"}
            self._end_what_is_not_permitted(
                lambda id_: ExpectedSources(networks=pinned.get(id_, ()), anyone=id_ in anyone), now
            )
            self._db.execute("DELETE FROM user")
            self._db.executemany(
                "INSERT INTO user VALUES (?, ?, ?)",
                [
                    (user.name, settings.edge.domain, user.md5(settings.edge.domain).reveal())
                    for user in settings.user
                ],
            )
        self._exact = {trunk.id for trunk in settings.trunk if trunk.port == "exact"}
        return renewed

    def _let_go(self, trunk_id: str, now: float) -> None:
        """Forget a registration and all that it taught. Another account has another token: the old
        contact is taken back while the new one is registered, and the two must not be one. The old
        one stays nobody else's: its registrar may not have heard, and call by it.
        """
        self._db.execute("DELETE FROM registration WHERE trunk_id = ?", (trunk_id,))
        self._db.execute("DELETE FROM ignored_reply WHERE trunk_id = ?", (trunk_id,))
        self._forget(trunk_id, now)
        before = self._db.execute("SELECT token FROM trunk WHERE id = ?", (trunk_id,)).fetchone()
        if before is None:
            return
        self._db.execute(
            "UPDATE trunk SET token = ? WHERE id = ?", (secrets.token_hex(12), trunk_id)
        )
        self._db.execute(statements.PUT_GONE, (_gone_id(trunk_id, now), *before, now))

    def _install_trunks(self, settings: Config) -> frozenset[str]:
        db = self._db
        key = self._lasting_key(tables.MARK_KEY)
        marks = {trunk.id: _mark(key, trunk.credentials()) for trunk in settings.trunk}
        known = "SELECT id, mark FROM trunk WHERE gone_at IS NULL"
        marked = dict(db.execute(known).fetchall())
        for id_ in marked.keys() - marks.keys():
            db.execute("DELETE FROM trunk WHERE id = ?", (id_,))
        db.execute("DELETE FROM number")
        db.execute("DELETE FROM range")
        self._set(tables.NUMBER_HEADERS_KEY, " ".join(settings.number_headers))
        for trunk in settings.trunk:
            db.execute(
                statements.PUT_TRUNK,
                (
                    trunk.id,
                    secrets.token_hex(12),
                    trunk.user,
                    trunk.target,
                    trunk.unmatched,
                    trunk.fallback,
                    trunk.enabled,
                    marks[trunk.id],
                    " ".join(trunk.number_headers),
                    settings.number_style(trunk),
                ),
            )
            if not trunk.enabled:
                db.execute("DELETE FROM address WHERE trunk_id = ?", (trunk.id,))
            db.execute(
                "UPDATE address SET exact = ? WHERE trunk_id = ? AND origin = 'learned'"
                " AND ground <> 'networks'",
                (trunk.port == "exact", trunk.id),
            )
            named = (settings.spellings(trunk), settings.account_spellings(trunk))
            db.executemany(
                statements.PUT_NUMBER,
                [
                    (spelling, trunk.id, of_account, e164)
                    for of_account, forms in enumerate(named)
                    for spelling, e164 in sorted(forms.items())
                ],
            )
        db.execute(statements.PUT_RANGES)
        return frozenset(id_ for id_, mark in marks.items() if marked.get(id_, mark) != mark)

    def _install_pins(self, pinned: Mapping[str, Sequence[Address]]) -> None:
        """Pin what the file pins, and no longer what it does not; what stays keeps its age."""
        db = self._db
        stood = {
            tuple(row[1:]): row[0]
            for row in db.execute(
                "SELECT rowid, trunk_id, ip, port, transport, expires_at, note FROM address"
                " WHERE managed_by = 'file'"
            )
        }
        written = {
            (trunk_id, str(a.ip), a.port, a.transport, a.expires_at, a.note): a
            for trunk_id, addresses in pinned.items()
            for a in addresses
        }
        gone = [(stood[key],) for key in stood.keys() - written.keys()]
        db.executemany("DELETE FROM address WHERE rowid = ?", gone)
        for key in written.keys() - stood.keys():
            self._put(key[0], written[key])
        self._list_networks()

    def _end_what_is_not_permitted(
        self, expected: Callable[[str], ExpectedSources], now: float
    ) -> None:
        """End learned addresses that the former file permitted, and this one does not.

        `expected`: of a trunk's id. Where a trunk has no learned address left, no address that DNS
        names stands beside it.
        """
        grounds = (Ground.ANY, Ground.NETWORKS)
        query = (
            "SELECT trunk_id, ip, port, transport, rowid FROM address"
            " WHERE origin = 'learned' AND ground IN (?, ?)"
        )
        for id_, ip, port, transport, row in self._db.execute(query, grounds).fetchall():
            source = TransportAddress(Transport(transport), canonical_ip(ip), port)
            if permit(source, (), expected(id_), now) is not None:
                continue
            self._end("rowid = :row", now, row=row)
            if not self._has_learned(id_):
                self._end("trunk_id = :id AND origin = 'resolved'", now, id=id_)

    def _has_learned(self, trunk_id: str) -> bool:
        query = "SELECT 1 FROM address WHERE trunk_id = ? AND origin = 'learned'"
        return bool(self._fetch(query, (trunk_id,)))

    def have_learned(self) -> frozenset[str]:
        """Return the ids of the trunks with a learned address, also one that has just expired."""
        query = "SELECT DISTINCT trunk_id FROM address WHERE origin = 'learned'"
        return frozenset(id_ for (id_,) in self._fetch(query))

    def _list_networks(self) -> None:
        """Have in `network` what there is in `address`, and nothing that is gone."""
        db = self._db
        pinned = db.execute("SELECT DISTINCT ip FROM address WHERE origin = 'pinned'").fetchall()
        db.execute("DELETE FROM network")
        db.execute("DELETE FROM prefix")
        for (ip,) in pinned:
            self._list_network(canonical_network(ip))

    def _list_network(self, ip: IP | Network) -> None:
        if isinstance(ip, IPv4Network | IPv6Network):
            bits = bits_of(ip)
            self._db.execute("INSERT OR IGNORE INTO network VALUES (?, ?)", (bits, str(ip)))
            self._db.execute("INSERT OR IGNORE INTO prefix VALUES (?, ?)", (ip.version, len(bits)))

    def _put(self, trunk_id: str, address: Address) -> None:
        self._db.execute(statements.PUT_ADDRESS, row_of(trunk_id, address))

    # What the operator pins at run time.

    def pin(
        self, trunk_id: str, address: Address, note: str = "", event: HistoryEvent | None = None
    ) -> None:
        """Admit `address` as this trunk's until it expires, or is unpinned; new files leave it.

        Its port, where it has one, is the only one that is admitted. UnknownTrunkError;
        DisabledTrunkError for one that takes no calls. Once more: it gets the new expiry and
        note. `event` goes into the trunk's history.
        """
        pinned = address._replace(
            origin=Origin.PINNED,
            exact=address.port is not None,
            note=note,
            managed_by=ManagedBy.ALLOW,
        )
        with self._changing():
            self._must_be_enabled(trunk_id)
            self._put(trunk_id, pinned)
            self._list_network(pinned.ip)
            if event is not None:
                self._note(trunk_id, event, address.learned_at)

    def unpin(
        self, trunk_id: str, ip: IP | Network, now: float, event: HistoryEvent | None = None
    ) -> bool:
        """End what was pinned at run time at this ip or network, over any transport; False where
        there is nothing. `event` goes into the trunk's history.
        """
        which = "trunk_id = :id AND ip = :ip AND managed_by = 'allow'"
        named = {"id": trunk_id, "ip": str(ip)}
        with self._changing():
            found = self._db.execute(f"SELECT 1 FROM address WHERE {which}", named).fetchone()
            if found is not None:
                self._end(which, now, **named)
                if event is not None:
                    self._note(trunk_id, event, now)
        return found is not None

    def _must_be_enabled(self, trunk_id: str) -> None:
        row = self._db.execute("SELECT enabled FROM trunk WHERE id = ?", (trunk_id,)).fetchone()
        if row is None:
            raise UnknownTrunkError(trunk_id)
        if not row[0]:
            raise DisabledTrunkError(f"trunk {trunk_id} is disabled: no call of it is admitted")

    def tokens(self) -> dict[str, str]:
        """Trunk id → its token, of those of the file."""
        query = "SELECT id, token FROM trunk WHERE gone_at IS NULL"
        return dict(self._fetch(query))

    # Registrations, and what they taught.

    def registrations(self) -> dict[str, StoredRegistration]:
        """Trunk id → what is known of its registration from before."""
        rows = self._fetch(statements.REGISTRATIONS)
        return {row[0]: StoredRegistration(*registration_of(row)) for row in rows}

    def save(
        self,
        account: AccountKey,
        registration: Registration,
        actions: Sequence[Action],
        socket: TransportAddress,
        now: float,
        events: Sequence[HistoryEvent] = (),
    ) -> None:
        """Write one step down, with what it taught and what is told of it, in one transaction.

        `Learn` addresses carry their own `expires_at`, grace included. `socket` is ours.
        """
        r = registration
        moves = any(self._moves(registration.trunk_id, action, now) for action in actions)
        with self._changing() if moves else self._transaction():
            self._db.execute(statements.PUT_REGISTRATION, registration_row(account, r))
            for action in actions:
                if isinstance(action, Learn):
                    self._learn(r.trunk_id, action, socket, now)
                elif isinstance(action, IgnoreReply):
                    ip = str(action.source.ip)
                    row = (r.trunk_id, ip, action.asked, now)
                    self._db.execute(statements.PUT_IGNORED, row)
                    self._db.execute(statements.TRIM_IGNORED, (r.trunk_id,))
                elif isinstance(action, ForgetAddresses):
                    self._forget(r.trunk_id, now)
            for event in events:
                self._note(r.trunk_id, event, now)

    def _note(self, trunk_id: str, event: HistoryEvent, now: float) -> None:
        self._db.execute(statements.PUT_EVENT, event_row(trunk_id, now, event))
        self._db.execute(statements.TRIM_EVENTS, {"id": trunk_id, "limit": history.LIMIT})

    def events(self, trunk_id: str) -> list[tuple[float, HistoryEvent]]:
        """(when, what) happened to a trunk, the oldest first; the last ones only."""
        rows = self._fetch(statements.EVENTS_OF_TRUNK, (trunk_id,))
        return [(at, event_of(event)) for at, *event in rows]

    def _moves(self, trunk_id: str, action: Action, now: float) -> bool:
        """Whether an answer could change: an address that only lives longer changes none."""
        if not isinstance(action, Learn):
            return isinstance(action, ForgetAddresses)
        source = action.source
        known = self._fetch(
            statements.LEARNED_UNTIL, (trunk_id, str(source.ip), source.port, source.transport)
        )
        exact = action.exact or trunk_id in self._exact
        return not known or not now < known[0][0] <= action.expires_at or known[0][1] != exact

    def _learn(self, trunk_id: str, learn: Learn, socket: TransportAddress, now: float) -> None:
        source = learn.source
        learned = Address(
            source.ip,
            source.port,
            source.transport,
            Origin.LEARNED,
            str(socket),
            now,
            learn.expires_at,
            learn.exact or trunk_id in self._exact,
            ground=learn.ground,
        )
        self._put(trunk_id, learned)
        self._db.execute(statements.DROP_IGNORED, (trunk_id, str(source.ip)))

    def _forget(self, trunk_id: str, now: float) -> None:
        self._end("trunk_id = :id AND origin IN ('learned', 'resolved')", now, id=trunk_id)

    # What DNS names beside what was learned.

    def resolve(self, found: Sequence[tuple[str, Address]], now: float) -> None:
        """Write (trunk id, resolved address) down; those that are there get the new expiry.

        A trunk keeps the few that last longest, however often DNS names others.
        """
        new = [pair for pair in found if self._is_new(*pair, now)]
        with self._changing() if new else self._transaction():
            for trunk_id, address in found:
                self._put(trunk_id, address)
            for trunk_id in {trunk_id for trunk_id, _ in new}:
                self._db.execute(
                    "DELETE FROM address WHERE trunk_id = :id AND origin = 'resolved'"
                    " AND rowid NOT IN (SELECT rowid FROM address WHERE trunk_id = :id"
                    " AND origin = 'resolved' ORDER BY expires_at DESC, learned_at DESC"
                    " LIMIT :limit)",
                    {"id": trunk_id, "limit": LIMIT},
                )

    def _is_new(self, trunk_id: str, address: Address, now: float) -> bool:
        """Whether it could change an answer: one that only lives longer does not."""
        a = address
        known = self._fetch(
            "SELECT expires_at FROM address WHERE trunk_id = ? AND ip = ?"
            " AND ifnull(port, 0) = ifnull(?, 0) AND transport = ? AND origin = 'resolved'",
            (trunk_id, str(a.ip), a.port, a.transport),
        )
        return not known or not now < known[0][0] <= (a.expires_at or 0.0)

    def drop_resolved(self, trunk_id: str) -> None:
        """Follow DNS no more for this trunk, or otherwise."""
        row = (trunk_id,)
        query = "SELECT 1 FROM address WHERE trunk_id = ? AND origin = 'resolved'"
        if self._fetch(query, row):
            with self._changing():
                self._db.execute(
                    "DELETE FROM address WHERE trunk_id = ? AND origin = 'resolved'", row
                )

    def drop_expired(self, now: float, limit: int = FORMER_LIMIT) -> None:
        """Take away addresses that admit nobody any more. They admit nobody before that, too. And
        trunks that went so long ago that no registrar calls by their tokens.
        """
        with self._transaction():
            self._db.execute("DELETE FROM trunk WHERE gone_at <= ?", (now - GONE_S,))
            self._end("expires_at <= :now", now)
            self._db.execute("DELETE FROM former_address WHERE ended_at <= ?", (now - FORMER_S,))
            self._db.execute("DELETE FROM ignored_reply WHERE at <= ?", (now - FORMER_S,))
            self._db.execute(
                "DELETE FROM former_address WHERE rowid IN (SELECT rowid FROM former_address"
                " ORDER BY ended_at DESC LIMIT -1 OFFSET ?)",
                (limit,),
            )

    def _end(self, which: str, now: float, **parameters: str | int) -> None:
        """Take addresses away, and keep them for a while as what explains a refusal."""
        named = {"now": now, **parameters}
        self._db.execute(statements.END_ADDRESSES.format(which=which), named)
        self._db.execute(f"DELETE FROM address WHERE {which}", named)

    # For the API.

    def addresses(self) -> list[tuple[str, Address]]:
        """(trunk id, address) of all that there are."""
        return [(row[0], address_of(row[1:])) for row in self._fetch(statements.ADDRESSES)]

    def users(self) -> list[str]:
        """The names of the local users."""
        return [name for (name,) in self._fetch("SELECT name FROM user ORDER BY name")]

    def evidence(self, request: Request, now: float) -> Evidence:
        """What the edge would know about `request`, and more candidates, to name them."""
        with self._one_state():
            return lookup.gather(request, now, self._fetch, EXPLAINED)

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """Read one state of it while inside: a drop-in's workers write beside us."""
        with self._reading():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._undo()

    def neighbours(self, request: Request, evidence: Evidence) -> list[NearbyTrunk]:
        """Who has, or had, to do with a request, or with its source: a few of each kind."""
        ip = request.source.ip
        named: dict[str, list[str]] = {}
        for token, trunk_id in evidence.token_owners.items():
            named.setdefault(trunk_id, []).append(f"token {token}")
        for number, trunk_id in sorted(evidence.number_owners):
            named.setdefault(trunk_id, []).append(f"number {number}")
        for account, trunk_ids in sorted(evidence.account_owners.items()):
            for trunk_id in sorted(trunk_ids)[:100]:
                named.setdefault(trunk_id, []).append(f"user {account}")
        parameters = {"ip": str(ip), "version": ip.version, "bits": bits_of(ip)}
        with self._one_state():
            near = [trunk_id for (trunk_id,) in self._fetch(statements.NEAR, parameters)]
            every = [
                one
                for trunk_id in dict.fromkeys([*named, *near])
                for one in self._neighbour(trunk_id, tuple(named.get(trunk_id, ())))
            ]
        return [one for one in every if one.has_to_do_with(ip)]

    def _neighbour(self, trunk_id: str, named: tuple[str, ...]) -> Iterator[NearbyTrunk]:
        """The trunk as a neighbour; none where it has gone since the evidence was read."""
        row = (trunk_id,)
        query = "SELECT enabled, gone_at IS NOT NULL FROM trunk WHERE id = ?"
        for enabled, gone in self._fetch(query, row):
            addresses = self._fetch(statements.ADDRESSES_OF_TRUNK, row)
            former = self._fetch(statements.FORMER_ADDRESSES, row)
            ignored = self._fetch(statements.IGNORED_REPLIES, row)
            yield NearbyTrunk(
                trunk_id,
                bool(enabled),
                named,
                tuple(address_of(one) for one in addresses),
                tuple(FormerAddress(address_of(one), ended_at) for *one, ended_at in former),
                bool(gone),
                tuple(IgnoredReply(canonical_ip(ip), asked, at) for ip, asked, at in ignored),
            )

    def can_write(self) -> bool:
        """Whether a row can be written now: it is tried, and taken back."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._set("written", "yes")
            finally:
                self._undo()
        except sqlite3.Error:
            return False
        return True


def _gone_id(trunk_id: str, at: float) -> str:
    """Make the id of a trunk that went at `at`: no trunk of the file can have it."""
    return f"{trunk_id}:gone@{datetime.fromtimestamp(at, UTC).isoformat()}"


def _mark(key: str, credentials: Credentials) -> str:
    """Sixteen bits that tell other credentials from these.

    The file is all that may hold a trunk's password: who steals the directory, key and all, can
    throw away most guesses at it with this, and confirm none.
    """
    secrets_of = (credentials.password, *(ha1 for _, ha1 in credentials.ha1))
    told = [secret.reveal() if secret else "" for secret in secrets_of]
    algorithms = [algorithm for algorithm, _ in credentials.ha1]
    text = json.dumps([credentials.user, credentials.realm, algorithms, told])
    return blake2s(text.encode(), key=bytes.fromhex(key), digest_size=2).hexdigest()
