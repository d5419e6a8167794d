"""Files of older versions, damaged files, and files of other programs."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.unit.store import old_files
from tests.unit.store.old_files import NOW
from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.decision import Identified
from whence.core.identification.identify import identify
from whence.core.identification.request import Request
from whence.core.registration.backoff import Failure
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.learning import Ground
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_network
from whence.core.sip.uri import Uri
from whence.errors import StoreError, StoreUnavailableError
from whence.store.directory import FILE, Directory
from whence.store.reader import DirectoryReader
from whence.store.schema import VERSION

UNCONFIRMED = "unregistered_unconfirmed"
OLD = ["3_first", "3", "4_learning", "4_numbers", "4", "5"]
"""The tables that versions 3, 4 and 5 had. Two versions had several sets of tables."""

LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
"""A program that locks the file until its input ends."""

REGISTRAR = TransportAddress.parse("tcp:192.0.2.1:5060")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@contextmanager
def opened(path: Path) -> Iterator[Directory]:
    directory = Directory(path)
    try:
        yield directory
    finally:
        directory.close()


def shape(path: Path) -> dict[str, str]:
    """Return name → SQL of all tables, indexes and triggers, without comments and blanks."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {name: "".join(re.sub("--.*", "", sql).split()) for name, sql in found}


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        return [str(version), *db.iterdump()]


def query(path: Path, text: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(text).fetchall()


@pytest.mark.parametrize("name", OLD)
def test_migrate_old_version_makes_the_present_tables(tmp_path: Path, name: str) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old_files.make(old, name)
    for path in (old, new):
        with opened(path):
            pass
    assert shape(old) == shape(new)
    assert content(old)[0] == str(VERSION)


def test_migrate_version_6_adds_the_counts_of_nonces(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old_files.make(old, "6", old_files.ROWS_OF_6)
    with opened(old) as directory:
        stored = directory.registrations()["acme"].registration
    with opened(new):
        pass
    assert shape(old) == shape(new)
    assert (stored.cseq, stored.nonce_counts.text, stored.auth_rejections) == (7, "", ())


def test_migrate_version_9_adds_calls_out(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    users = [{"name": "alice", "domain": "edge.example", "md5": "ff"}]
    old_files.make(old, "9", {**old_files.ROWS_OF_6, "user": users})
    for path in (old, new):
        with opened(path):
            pass
    assert shape(old) == shape(new)
    assert query(old, "SELECT * FROM user") == [("alice", "edge.example", "ff", "")]


@pytest.mark.parametrize("name", OLD)
def test_migrate_old_version_keeps_the_registrations(path: Path, name: str) -> None:
    old_files.make(path, name)
    with opened(path) as directory:
        stored = directory.registrations()
    acme, gone = stored["acme"], stored["gone"]
    assert acme.account == AccountKey(
        "sip:x at y@provider.example", "sip:provider.example;transport=tcp"
    )
    assert acme.registration == Registration(
        trunk_id="acme",
        call_id="call-1",
        cseq=7,
        state=State.REGISTERED,
        since=NOW - 600,
        granted_s=3600,
        expires_at=NOW + 3600,
        registered_at=NOW - 600,
        next_at=NOW + 2700,
        registrar=REGISTRAR,
        home=TransportAddress.parse("tcp:192.0.2.1:5060"),
        last_status=200,
        last_phrase="OK",
        reason=RegistrationReason.GRANTED,
        message="granted 3600 s",
        learned_until=NOW + 3600,
    )
    assert gone.account == AccountKey("sip:uac@provider.example", "")
    assert (gone.registration.state, gone.registration.failure) == (
        State.AUTH_FAILED,
        Failure.WRONG_CREDENTIALS,
    )
    assert gone.registration.reason is RegistrationReason.WRONG_CREDENTIALS


@pytest.mark.parametrize("name", OLD)
def test_migrate_old_version_keeps_the_addresses(path: Path, name: str) -> None:
    old_files.make(path, name)
    with opened(path) as directory:
        found = {str(a.ip): a for _, a in directory.addresses()}
    assert found["192.0.2.1"] == Address(
        REGISTRAR.ip,
        5060,
        Transport.TCP,
        Origin.LEARNED,
        "tcp:198.51.100.1:5060",
        NOW - 60,
        NOW + 3632,
        ground=Ground.ASKED,
    )
    assert found["192.0.2.66"].ground == Ground.ANY, "it was not asked"
    assert (found["192.0.2.2"].origin, found["192.0.2.2"].managed_by) == (Origin.RESOLVED, None)
    assert found["203.0.113.0/24"].managed_by is ManagedBy.FILE
    assert found["203.0.113.7"].managed_by is ManagedBy.ALLOW
    assert (found["203.0.113.7"].note, found["203.0.113.7"].port) == ("by hand", None)
    strengths = query(path, "SELECT DISTINCT transport, strength FROM address ORDER BY strength")
    assert strengths == [("udp", 0), ("tcp", 1), ("tls", 2)]
    former = query(path, "SELECT ip, managed_by, ended_at FROM former_address ORDER BY ip")
    assert former == [("192.0.2.3", "", NOW - 5), ("192.0.2.4", "allow", NOW - 4)]


@pytest.mark.parametrize("name", OLD)
def test_migrate_old_version_keeps_all_else(path: Path, name: str) -> None:
    old_files.make(path, name)
    with opened(path) as directory:
        assert directory.tokens() == {"acme": "token-1"}
        assert directory.users() == ["alice"]
        message = "granted 3600 s by tcp:192.0.2.1:5060"
        event = HistoryEvent(EventKind.REGISTERED, message, 200)
        assert directory.events("acme") == [(NOW - 60, event)]
    assert ("token-2",) in query(path, "SELECT token FROM trunk WHERE gone_at IS NOT NULL")
    assert query(path, "SELECT * FROM meta WHERE key = 'dialog_key'") == [("dialog_key", "aa")]
    agent_key = query(path, "SELECT * FROM meta WHERE key IN ('inside_key', 'agent_key')")
    assert agent_key == [("agent_key", "cc")]
    numbers = query(path, "SELECT spelling FROM number WHERE NOT of_account ORDER BY spelling")
    assert numbers == [("4420123",), ("4430*",)]
    accounts = query(path, "SELECT spelling FROM number WHERE of_account")
    assert ("442071234567",) in accounts
    if name[0] == "3":
        assert {("+442071234567",), ("00442071234567",)} <= set(accounts)
    assert len(query(path, "SELECT * FROM fallback WHERE trunk_id = 'acme'")) == 5
    ignored = query(path, "SELECT ip, at FROM ignored_reply")
    assert ignored == ([("192.0.2.99", NOW - 3)] if name in ("4_learning", "4", "5") else [])


def test_migrate_renames_the_kinds_of_history(path: Path) -> None:
    (event,) = old_files.ROWS["event"]
    kinds = ["admitted", "expelled", "registered"]
    events = [{**event, "id": id_, "what": kind} for id_, kind in enumerate(kinds, start=1)]
    old_files.make(path, "5", {**old_files.ROWS, "event": events})
    with opened(path) as directory:
        kinds_now = [event.what for _, event in directory.events("acme")]
    assert kinds_now == [EventKind.ALLOWED, EventKind.REVOKED, EventKind.REGISTERED]


@pytest.mark.parametrize("name", OLD)
def test_migrate_old_version_keeps_credentials_fingerprints(path: Path, name: str) -> None:
    old_files.make(path, name)
    with opened(path) as directory:
        assert directory.fingerprints() == {"acme": "beef"}
        assert directory.fingerprint_key() == "bb"
    assert query(path, "SELECT length FROM number_prefix") == [(4,)]


@pytest.mark.parametrize(
    ("state", "held", "code", "new"),
    [
        ("parked", 0, "wrong_credentials", ("auth_failed", 0, "wrong_credentials")),
        ("parked", 1, "parked_by_operator", ("paused", 1, "paused_by_operator")),
        ("parked", 0, "parked_by_operator", ("paused", 0, "paused_by_operator")),
        ("unregistered", 1, "taken_back", ("unregistered", 1, "unregistered")),
        ("unregistered", 0, "taken_back_unconfirmed", ("unregistered", 0, UNCONFIRMED)),
        ("waiting", 0, "lapsed", ("waiting", 0, "expired")),
        ("registered", 0, "granted", ("registered", 0, "granted")),
    ],
)
def test_migrate_renames_states_and_reasons(
    path: Path, state: str, held: int, code: str, new: tuple[str, int, str]
) -> None:
    _, gone = old_files.ROWS["registration"]
    stored = {**gone, "state": state, "held": held, "reason": code}
    old_files.make(path, "5", {**old_files.ROWS, "registration": [stored]})
    with opened(path) as directory:
        r = directory.registrations()["gone"].registration
    assert (r.state, r.suspended, r.reason) == new


@pytest.mark.parametrize(
    ("message", "new"),
    [
        ("parked by the operator", "paused by the operator"),
        ("taken back", "unregistered"),
        ("taken back; no answer", "unregistered; no answer"),
        ("403 taken back", "403 taken back"),
    ],
)
@pytest.mark.parametrize("name", OLD)
def test_migrate_renames_messages_of_its_own_only(
    path: Path, name: str, message: str, new: str
) -> None:
    _, gone = old_files.ROWS["registration"]
    codes = {
        "parked by the operator": "parked_by_operator",
        "taken back": "taken_back",
        "taken back; no answer": "taken_back_unconfirmed",
    }
    reason = (message, codes.get(message))
    stored = {**gone, "held": 1, "reason": reason, "message": message}
    old_files.make(path, name, {**old_files.ROWS, "registration": [stored]})
    with opened(path) as directory:
        assert directory.registrations()["gone"].registration.message == new


@pytest.mark.parametrize("version", ["5", "8"])
@pytest.mark.parametrize("code", ["answer", "tls_answer", "certificate"])
def test_migrate_renames_failures_and_their_reasons(path: Path, version: str, code: str) -> None:
    (registration,) = old_files.ROWS_OF_6["registration"]
    (event,) = old_files.ROWS["event"]
    failed = {"state": "waiting", "failure": "refused", "reason": f"{code}_not_believed"}
    rows = {
        "registration": [{**registration, "held": 0, "account": "x at y", **failed}],
        "event": [{**event, "reason": f"{code}_not_believed"}],
    }
    old_files.make(path, version, rows)
    with opened(path) as directory:
        r = directory.registrations()["acme"].registration
        ((_, found),) = directory.events("acme")
    assert (r.failure, r.reason) == (Failure.REJECTED, f"{code}_not_accepted")
    assert found.reason == f"{code}_not_accepted"


@pytest.mark.parametrize(
    ("old", "code", "message", "new"),
    [
        ("parked", "wrong_credentials", "wrong credentials", ("auth_failed", "wrong_credentials")),
        ("parked", "parked_by_operator", "by hand", ("paused", "paused_by_operator")),
        ("parked", None, "parked by the operator", ("paused", None)),
        ("parked", None, "wrong credentials", ("auth_failed", None)),
        ("unregistered", "taken_back", "taken back", ("unregistered", "unregistered")),
        ("unregistered", "taken_back_unconfirmed", "…", ("unregistered", UNCONFIRMED)),
        ("waiting", "lapsed", "…", ("waiting", "expired")),
        ("wanted", None, "…", ("register_requested", None)),
        ("held", None, "…", ("suspended", None)),
        ("silent", None, "…", ("keepalive_failed", None)),
        ("lapsed", None, "…", ("expired", None)),
        ("moved", "granted", "…", ("registrar_changed", "granted")),
    ],
)
def test_migrate_renames_kinds_of_events(
    path: Path, old: str, code: str | None, message: str, new: tuple[str, str | None]
) -> None:
    (event,) = old_files.ROWS["event"]
    stored = {**event, "what": old, "reason": code, "message": message}
    old_files.make(path, "5", {**old_files.ROWS, "event": [stored]})
    with opened(path) as directory:
        ((_, found),) = directory.events("acme")
    assert (found.what, found.reason) == new


@pytest.mark.parametrize("name", OLD)
def test_migrated_file_identifies_the_next_call(path: Path, name: str) -> None:
    old_files.make(path, name)
    request = Request(REGISTRAR, Uri("sip", "4420123", "edge.example"))
    weaker = Request(
        TransportAddress.parse("udp:192.0.2.1:5060"), Uri("sip", "4420123", "edge.example")
    )
    with opened(path) as directory:
        decision = identify(request, directory.evidence(request, NOW), NOW)
        assert isinstance(decision, Identified)
        assert decision.trunk.id == "acme"
        decision = identify(weaker, directory.evidence(weaker, NOW), NOW)
        assert not isinstance(decision, Identified), "a weaker transport is no evidence"
        pin = Address(canonical_network("192.0.2.8"), None, Transport.UDP, Origin.PINNED, "", 0, 9)
        directory.pin("acme", pin)


@pytest.mark.parametrize("table", ["former_address", "fallback"])
def test_failed_migration_leaves_the_file_as_it_was(path: Path, table: str) -> None:
    old_files.make(path, "3")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"DROP TABLE {table}")
    before = content(path)
    with pytest.raises(StoreError, match=r"cannot be migrated: .*; it is as it was before"):
        Directory(path)
    assert content(path) == before


def test_migration_without_room_on_the_disk_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_files.make(path, "3")
    before = content(path)
    connect = sqlite3.connect

    def small(*args: object, **more: object) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **more)  # type: ignore[call-overload]
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        return db

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(StoreError, match="make room on its disk"):
        Directory(path)
    monkeypatch.undo()
    assert content(path) == before


def test_migration_beside_a_reader_does_not_wait(path: Path) -> None:
    old_files.make(path, "5")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM address WHERE in_file").fetchone() == (1,)
        with opened(path) as directory:
            assert directory.tokens() == {"acme": "token-1"}
            still = other.execute("SELECT count(*) FROM address WHERE in_file").fetchone()
            assert still == (1,), "a transaction sees one state from end to end"
        other.execute("COMMIT")
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            other.execute("SELECT in_file FROM address")


@pytest.mark.slow
def test_migration_of_a_locked_file_is_refused(path: Path) -> None:
    old_files.make(path, "5")
    before = content(path)
    command = [sys.executable, "-c", LOCK, str(path)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(StoreError, match=r"cannot be migrated: .* locked; end what has locked"):
            Directory(path)
        other.stdin.close()
    assert content(path) == before
    with opened(path) as directory:
        assert directory.tokens() == {"acme": "token-1"}


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.9])
def test_truncated_file_is_refused_and_left_alone(path: Path, share: float) -> None:
    old_files.make(path, "5")
    whole = path.read_bytes()
    part = whole[: max(10, int(len(whole) * share))]
    path.write_bytes(part)
    with pytest.raises(StoreError, match="move the file away to begin anew"):
        Directory(path)
    assert path.read_bytes() == part


@pytest.mark.parametrize("version", [0, 3, 5, VERSION])
def test_file_of_another_program_is_refused_and_left_alone(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE address (street TEXT)")
        db.execute(f"PRAGMA user_version = {version}")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another program; move that away"):
        Directory(path)
    assert path.read_bytes() == before


def test_version_before_3_is_refused(path: Path) -> None:
    old_files.make(path, "3")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    before = content(path)
    with pytest.raises(StoreError, match="migrates version 3 and later ones; move the file away"):
        Directory(path)
    assert content(path) == before


@pytest.mark.parametrize(
    ("version", "cure"), [(5, "start this Whence's agent"), (VERSION + 1, "restart Kamailio")]
)
def test_reader_of_another_version_says_so(path: Path, version: int, cure: str) -> None:
    old_files.make(path, "5")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    reader = DirectoryReader(path)
    with pytest.raises(StoreUnavailableError, match=f"has version {version}, .*; {cure}"):
        reader.user_ha1("alice", "edge.example")
    reader.close()


def test_reader_reads_a_file_once_it_is_migrated(path: Path) -> None:
    old_files.make(path, "5")
    reader = DirectoryReader(path)
    with pytest.raises(StoreUnavailableError):
        reader.admits("acme", REGISTRAR, NOW)
    with opened(path):
        assert reader.admits("acme", REGISTRAR, NOW)
    reader.close()
