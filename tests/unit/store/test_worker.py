"""The directory as the workers of a drop-in write it."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.store import old_files
from tests.unit.store.changes import NO_OFFSET, NOW, OURS, granted
from whence.agent.config.trunk import PinnedNetwork
from whence.core.clock import ClockOffset
from whence.core.registration import uac
from whence.core.registration.history import EventKind
from whence.core.registration.learning import ASKED_ONLY
from whence.core.registration.model import Registration, State
from whence.core.sip.transport_address import Transport
from whence.edge.base import read
from whence.edge.decision_cache import CacheKey
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store.directory import FILE, Directory
from whence.store.reader import DirectoryReader as Reading
from whence.store.schema import GENERATION_FILE, VERSION
from whence.store.uac import Permits, SharedDirectory
from whence.store.worker import Change, LearningWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Directory(tmp_path / FILE).close()
    return tmp_path / FILE


@pytest.fixture
def learned(path: Path) -> Iterator[LearningWriter]:
    learned = LearningWriter(path, lambda: NO_OFFSET)
    yield learned
    learned.close()


def unregistered(l_uuid: str = "acme", at: float = NOW + 10) -> Change:
    return Change(l_uuid, None, "", at, uac.unregistered)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def decided(path: Path, source: str = "udp:192.0.2.1:5060", now: float = NOW) -> str:
    """Return the reason of a worker's decision on a call from `source`."""
    request = read(CacheKey(source, "sip:acme@192.0.2.9", None, None))
    assert request
    with closing(Reading(path)) as reading:
        decision, _ = reading.decide(request, now)
    return decision.reason


def test_write_of_a_grant_admits_its_source(learned: LearningWriter, path: Path) -> None:
    learned.write(granted(), 1)
    assert decided(path) == "token"
    assert decided(path, now=NOW + 60) == "unknown_address"
    assert decided(path, source="udp:192.0.2.2:5060") == "unknown_address"
    assert rows(path, "SELECT socket, origin FROM address") == [(OURS, "learned")]
    assert rows(path, "SELECT target FROM trunk") == [("sip:alice@edge.example",)]
    assert rows(path, "SELECT trunk_id FROM home") == [], "a drop-in sends no calls out"


def test_write_of_a_tls_grant_admits_no_udp(learned: LearningWriter, path: Path) -> None:
    learned.write(granted(source="tls:192.0.2.1:5061"), 1)
    assert decided(path, source="udp:192.0.2.1:5061") == "unknown_address"
    assert decided(path, source="tls:192.0.2.1:40000") == "token"
    assert rows(path, "SELECT transport FROM address") == [(Transport.TLS,)]


def test_write_of_another_server_keeps_the_first_until_it_ends(
    learned: LearningWriter, path: Path
) -> None:
    learned.write(granted(), 1)
    learned.write(granted(at=NOW + 30, source="udp:192.0.2.2:5060", cseq=11), 1)
    assert decided(path, now=NOW + 59) == "token"
    assert decided(path, now=NOW + 61) == "unknown_address"
    assert decided(path, source="udp:192.0.2.2:5060", now=NOW + 61) == "token"
    assert rows(path, "SELECT what FROM event ORDER BY id") == [
        ("registered",),
        ("registrar_changed",),
    ]


def test_write_after_expiry_is_news_and_a_refresh_is_not(
    learned: LearningWriter, path: Path
) -> None:
    for at, cseq in (
        (NOW, 10),
        (NOW + 30, 11),
        (NOW + 91, 12),
    ):  # the last one comes after the expiry
        learned.write(granted(at=at, cseq=cseq), 1)
    assert rows(path, "SELECT at, what FROM event ORDER BY id") == [
        (NOW, "registered"),
        (NOW + 91, "registered"),
    ]


def test_write_of_an_unregistration_ends_the_address(learned: LearningWriter, path: Path) -> None:
    learned.write(granted(), 1)
    learned.write(unregistered(), 1)
    assert decided(path, now=NOW + 11) == "unknown_address"
    assert rows(path, "SELECT trunk_id, ended_at FROM former_address") == [("acme", NOW + 10)]
    stored = learned.registration("acme")
    assert stored is not None
    assert stored.state is State.UNREGISTERED


def test_write_removes_expired_addresses(learned: LearningWriter, path: Path) -> None:
    learned.write(granted(granted_s=5), 1)
    learned.write(granted(at=NOW + 10, source="udp:192.0.2.2:5060", cseq=11), 1)
    assert rows(path, "SELECT ip FROM address") == [("192.0.2.2",)]


def test_write_changes_the_generation_if_a_decision_could(
    learned: LearningWriter, path: Path
) -> None:
    seen = [path.with_name(GENERATION_FILE).read_bytes()]

    def moved() -> bool:
        seen.append(path.with_name(GENERATION_FILE).read_bytes())
        return seen[-1] != seen[-2]

    learned.write(granted(), 1)
    assert moved()
    learned.write(granted(at=NOW + 30, cseq=11), 1)
    assert not moved(), "an address only expires later"
    learned.write(granted(at=NOW + 31, cseq=12, source="udp:192.0.2.1:5061"), 1)
    assert moved()
    learned.write(unregistered(at=NOW + 40), 1)
    assert moved()


def test_write_that_fails_is_deferred_in_its_order(learned: LearningWriter, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for change in (granted(), unregistered(), granted("other")):
            with pytest.raises(WriteDeferredError, match="kept for later"):
                learned.write(change, 0.001)
        other.execute("ROLLBACK")
    learned.catch_up(1)
    assert rows(path, "SELECT trunk_id FROM address") == [("other",)]
    assert rows(path, "SELECT trunk_id, state FROM registration ORDER BY trunk_id") == [
        ("acme", "unregistered"),
        ("other", "registered"),
    ]


def test_writer_beside_an_older_file_waits_until_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / FILE
    Directory(path).close()  # it makes the generation
    path.unlink()
    old_files.make(path, "5", {})
    with closing(LearningWriter(path, lambda: NO_OFFSET)) as learned:
        with pytest.raises(WriteDeferredError, match=r"has version 5, .*; 1 changes are kept"):
            learned.write(granted(), 1)
        for read_ in (learned.registration, learned.expected):
            with pytest.raises(StoreUnavailableError, match="has version 5"):
                read_("acme")
        assert rows(path, "SELECT * FROM address") == []
        Directory(path).close()
        learned.catch_up(1)
    assert decided(path) == "token"


def test_writer_leaves_a_file_that_a_newer_whence_migrates(
    learned: LearningWriter, path: Path
) -> None:
    learned.write(granted(), 1)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(
        WriteDeferredError, match=rf"has version {VERSION + 1}, .*; restart Kamailio"
    ):
        learned.write(granted("other"), 1)
    assert rows(path, "SELECT trunk_id FROM address") == [("acme",)]


def test_writer_makes_no_directory(tmp_path: Path) -> None:
    with pytest.raises(WriteDeferredError):
        LearningWriter(tmp_path / "nothing" / FILE).write(granted(), 0.001)
    assert list(tmp_path.iterdir()) == []


def test_writer_of_a_moved_directory_opens_the_new_one(
    learned: LearningWriter, path: Path, tmp_path: Path
) -> None:
    """The operator moves the file to begin anew, while Kamailio runs."""
    learned.write(granted(), 1)
    (tmp_path / "moved").mkdir()
    for file in [*tmp_path.glob(f"{FILE}*"), tmp_path / GENERATION_FILE]:
        file.rename(tmp_path / "moved" / file.name)
    Directory(path).close()
    learned.write(granted("other", source="udp:192.0.2.2:5060"), 1)
    assert rows(path, "SELECT trunk_id, ip FROM address") == [("other", "192.0.2.2")]
    assert rows(tmp_path / "moved" / FILE, "SELECT trunk_id FROM address") == [("acme",)]


def test_write_of_an_impossible_change_blocks_no_other(learned: LearningWriter, path: Path) -> None:
    def fails(_before: Registration, _now: float) -> tuple[Registration, tuple[()]]:
        raise ValueError("no such thing")

    with pytest.raises(WriteDeferredError):
        learned.write(Change("acme", None, "", NOW, fails), 1)
    learned.write(granted("other"), 1)
    assert rows(path, "SELECT trunk_id FROM address") == [("other",)]


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    """Each writer has its own connection, as each worker has."""

    def work(number: int) -> None:
        own = LearningWriter(path, lambda: NO_OFFSET)
        for n in range(25):
            own.write(granted(f"trunk-{number}-{n}"), 30)
        own.close()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert rows(path, "SELECT count(*), count(DISTINCT trunk_id) FROM address") == [(100, 100)]


IMPOSTOR = "udp:192.0.2.66:5060"


def install(path: Path, **permits: Any) -> None:
    """Install the networks and learn_from of drop-in.toml."""
    with closing(SharedDirectory(path)) as directory:
        directory.install_numbers({}, permits=Permits(**permits), now=NOW)


def test_write_of_an_ignored_reply_is_news_once(learned: LearningWriter, path: Path) -> None:
    for cseq in (10, 11):
        news = learned.write(granted(source=IMPOSTOR, asked="192.0.2.1", cseq=cseq), 1)
        reported = [event for _, event in news if event.what is EventKind.UNEXPECTED_REPLY]
        assert len(reported) == (cseq == 10)
    assert rows(path, "SELECT trunk_id, ip, asked FROM ignored_reply") == [
        ("acme", "192.0.2.66", "192.0.2.1")
    ]
    assert decided(path, IMPOSTOR) == "unknown_address"
    learned.write(granted(source=IMPOSTOR, cseq=12), 1)
    assert decided(path, IMPOSTOR) == "token"
    assert rows(path, "SELECT * FROM ignored_reply") == []


def test_expected_follows_drop_in_toml(learned: LearningWriter, path: Path) -> None:
    assert learned.expected("acme") == ASKED_ONLY
    pin = PinnedNetwork.model_validate({"network": "192.0.2.64/29", "port": 5060})
    install(path, networks={"acme": (pin.address(NOW),)}, learn_from={"": "asked", "bell": "any"})
    acme, bell = learned.expected("acme"), learned.expected("bell")
    assert [str(a.ip) for a in acme.networks] == ["192.0.2.64/29"]
    assert (acme.any_source, bell.any_source, bell.networks) == (False, True, ())
    learned.write(granted(source=IMPOSTOR, asked="192.0.2.1", expected=acme), 1)
    learned.write(granted("bell", source=IMPOSTOR, asked="192.0.2.1", expected=bell), 1)
    query = "SELECT trunk_id, ground, exact FROM address WHERE origin = 'learned' ORDER BY 1"
    assert rows(path, query) == [("acme", "networks", 1), ("bell", "any", 0)]
    install(path, learn_from={"": "any"})
    assert learned.expected("acme").any_source
    assert [row[0] for row in rows(path, query)] == ["acme", "bell"]
    install(path)
    assert rows(path, query) == [], "addresses that the file no longer permits end"


def test_expected_of_an_invalid_learn_from_permits_none(
    learned: LearningWriter, path: Path
) -> None:
    for broken in ("[]", "{", '{"": ["any"]}'):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("INSERT OR REPLACE INTO meta VALUES ('learn_from', ?)", (broken,))
        try:
            assert not learned.expected("acme").any_source
        except StoreUnavailableError:
            continue


HOUR_S = 3600.0


class Machine:
    """The clocks of a machine: the steady one never steps."""

    def __init__(self) -> None:
        self.offset_s, self.boot_id = 0.0, "boot-1"

    def offset(self) -> ClockOffset:
        return ClockOffset(self.boot_id, self.offset_s)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_write_after_a_step_of_the_clock_corrects_all(path: Path, step_s: float) -> None:
    machine = Machine()
    with closing(LearningWriter(path, machine.offset)) as learned:
        learned.write(granted(), 1)
        machine.offset_s += step_s
        seen = path.with_name(GENERATION_FILE).read_bytes()
        news = learned.write(granted("other", at=NOW + 30, source="udp:192.0.2.2:5060"), 1)
    assert path.with_name(GENERATION_FILE).read_bytes() != seen
    assert [event.what for _, event in news] == [EventKind.CLOCK_STEPPED, EventKind.REGISTERED]
    expirations = dict(rows(path, "SELECT trunk_id, expires_at FROM address"))
    assert expirations == {"acme": NOW + step_s + 60, "other": NOW + step_s + 90}
    (stored,) = rows(path, "SELECT expires_at FROM registration WHERE trunk_id = 'acme'")
    assert stored == (NOW + step_s + 60,)
    events = rows(path, "SELECT what FROM event WHERE trunk_id = 'acme' ORDER BY id")
    assert events == [("registered",), ("clock_stepped",)]


def test_write_deferred_over_a_step_counts_from_its_answer(path: Path) -> None:
    machine = Machine()
    with closing(LearningWriter(path, machine.offset)) as learned:
        learned.write(granted("other", at=NOW - 10), 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(WriteDeferredError):
                learned.write(granted(), 0.001)
            other.execute("ROLLBACK")
        machine.offset_s -= HOUR_S
        learned.catch_up(1)
    query = "SELECT expires_at FROM address WHERE trunk_id = 'acme'"
    assert rows(path, query) == [(NOW - HOUR_S + 60,)]


def test_follow_clock_after_a_worker_corrects_nothing_twice(path: Path) -> None:
    machine = Machine()
    with (
        closing(LearningWriter(path, machine.offset)) as learned,
        closing(SharedDirectory(path)) as directory,
    ):
        learned.write(granted(), 1)
        machine.offset_s -= HOUR_S
        learned.write(unregistered("other"), 1)
        assert directory.follow_clock(machine.offset(), NOW) == 0
        assert rows(path, "SELECT expires_at FROM address") == [(NOW - HOUR_S + 60,)]
        machine.offset_s += HOUR_S
        assert directory.follow_clock(machine.offset(), NOW) == HOUR_S
        assert rows(path, "SELECT expires_at FROM address") == [(NOW + 60,)]


def test_write_in_another_boot_stores_its_offset(path: Path) -> None:
    machine = Machine()
    with closing(LearningWriter(path, machine.offset)) as learned:
        learned.write(granted(), 1)
        machine.boot_id, machine.offset_s = "boot-2", 500.0
        learned.write(unregistered("other"), 1)
    assert rows(path, "SELECT expires_at FROM address") == [(NOW + 60,)]
    assert rows(path, "SELECT value FROM meta WHERE key = 'clock_offset'") == [("boot-2 500.0",)]
