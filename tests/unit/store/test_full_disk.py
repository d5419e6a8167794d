"""Writes to the directory on a disk that is full to the last byte: a real one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from testkit.directory import install
from testkit.disk import SmallDisk, needs_root, small_disk
from tests.unit.store.provisioning import ACCOUNT, NOW, SOCKET, settings
from whence.core.registration.events import Learn
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import Registration
from whence.core.sip.transport_address import TransportAddress
from whence.errors import DiskFullError
from whence.store.alarms import StoredAlarm
from whence.store.directory import FILE, Directory
from whence.store.learning import RegistrationStep
from whence.store.space import RESERVE_BYTES, space_at

pytestmark = needs_root

TRUNK = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
user = "acct1"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
"""


@pytest.fixture(params=[1_500_000, 8_000_000])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", request.param) as disk:
        yield disk


@pytest.fixture
def directory(disk: SmallDisk, tmp_path: Path) -> Iterator[Directory]:
    with closing(Directory(disk.path / FILE)) as directory:
        install(directory, settings(tmp_path, TRUNK))
        yield directory


def refresh(directory: Directory, number: int) -> None:
    """Store a grant, as each refresh does."""
    learned = Learn(TransportAddress.parse("udp:192.0.2.1:5060"), NOW + 60 + number)
    registration = Registration("acme", "call-1", cseq=number, expires_at=NOW + 60 + number)
    event = HistoryEvent(EventKind.WAITING, f"event {number} {'x' * 100}")
    directory.save(ACCOUNT, registration, [learned], SOCKET, NOW, [event])


def test_full_disk_with_a_reserve_takes_thousands_of_grants(
    directory: Directory, disk: SmallDisk
) -> None:
    directory.keep_reserve(space_at(disk.path).reserve)
    refresh(directory, 0)
    disk.fill()
    assert disk.free == 0
    for number in range(1, 2000):
        refresh(directory, number)
        directory.probe()
    ((trunk, address),) = directory.addresses()
    assert (trunk, address.expires_at) == ("acme", NOW + 60 + 1999)
    assert directory.write_error == ""
    with closing(sqlite3.connect(disk.path / FILE)) as edge:
        assert edge.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_reserve_beside_a_reader_is_made_in_the_file_itself(
    directory: Directory, disk: SmallDisk
) -> None:
    """A reader keeps the log from its end: a checkpoint moves no page that is newer than it."""
    with closing(sqlite3.connect(disk.path / FILE, isolation_level=None)) as edge:
        edge.execute("BEGIN")
        edge.execute("SELECT count(*) FROM trunk").fetchone()
        directory.keep_reserve(space_at(disk.path).reserve)
        edge.execute("COMMIT")
    directory.keep_reserve(space_at(disk.path).reserve)
    disk.fill()
    for number in range(1000):
        refresh(directory, number)
        directory.probe()
    assert directory.write_error == ""


def test_reserve_waits_for_readers_that_end(directory: Directory, disk: SmallDisk) -> None:
    def read(begun: Event, end: Event) -> None:
        with closing(sqlite3.connect(disk.path / FILE, isolation_level=None)) as edge:
            edge.execute("BEGIN")
            edge.execute("SELECT count(*) FROM trunk").fetchone()
            begun.set()
            end.wait(0.3)  # the main thread waits inside of SQLite meanwhile
            edge.execute("COMMIT")

    begun, end = Event(), Event()
    reader = Thread(target=read, args=(begun, end))
    reader.start()
    begun.wait()
    directory.keep_reserve(space_at(disk.path).reserve)
    reader.join()
    disk.fill()
    for number in range(1000):
        refresh(directory, number)
    assert directory.write_error == ""


def test_full_disk_in_a_group_commit_stores_all_or_none(
    directory: Directory, disk: SmallDisk, tmp_path: Path
) -> None:
    ids = [f"t{number}" for number in range(300)]
    trunks = [TRUNK.replace("acme", id_).replace("acct1", id_) for id_ in ids]
    install(directory, settings(tmp_path, "".join(trunks)))
    directory.keep_reserve(space_at(disk.path).reserve)
    disk.fill()
    learned = Learn(TransportAddress.parse("udp:192.0.2.1:5060"), NOW + 60)
    event = HistoryEvent(EventKind.WAITING, "x" * 500)

    def steps(of: Iterable[str]) -> list[RegistrationStep]:
        return [
            RegistrationStep(
                ACCOUNT, Registration(id_, "call-1"), [learned], str(SOCKET), NOW, events=[event]
            )
            for id_ in of
        ]

    # The histories grow until the reserve is used up: in the middle of a transaction.
    with pytest.raises(DiskFullError):
        for _ in range(50):
            directory.save_steps(steps(ids))
    stored = set(directory.registrations())
    assert stored in (set(), set(ids))
    assert len(directory.addresses()) == len(stored)
    with closing(sqlite3.connect(disk.path / FILE)) as edge:
        assert edge.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_full_disk_without_a_reserve_raises_disk_full_error(
    directory: Directory, disk: SmallDisk
) -> None:
    disk.fill()
    alarms = [StoredAlarm(n, "conflict", f"t{n}", NOW, "x" * 500, True) for n in range(10_000)]
    with pytest.raises(DiskFullError, match="database or disk is full; make room on its disk"):
        directory.write_alarms(alarms, [])
    assert directory.write_errors == 1
    assert "make room" in directory.write_error
    assert directory.open_alarms() == []


def test_full_disk_with_room_again_is_written(directory: Directory, disk: SmallDisk) -> None:
    disk.fill()
    directory.keep_reserve(RESERVE_BYTES)
    disk.empty()
    refresh(directory, 1)
    directory.probe()
    assert directory.write_error == ""


def test_keep_reserve_leaves_no_row_and_is_made_once(directory: Directory, disk: SmallDisk) -> None:
    size = space_at(disk.path).reserve
    directory.keep_reserve(size)
    free = disk.free
    directory.keep_reserve(size)
    refresh(directory, 1)
    assert disk.free == free
    with closing(sqlite3.connect(disk.path / FILE)) as edge:
        assert edge.execute("SELECT * FROM meta WHERE key = 'reserve'").fetchall() == []


def test_keep_reserve_without_space_changes_nothing(directory: Directory, disk: SmallDisk) -> None:
    disk.fill()
    directory.keep_reserve(RESERVE_BYTES)
    assert (directory.write_errors, directory.write_error) == (0, "")
    with closing(sqlite3.connect(disk.path / FILE)) as edge:
        assert edge.execute("SELECT * FROM meta WHERE key = 'reserve'").fetchall() == []
