"""Steps of several trunks, stored in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.directory import install
from tests.unit.store.disk import broken
from tests.unit.store.provisioning import ACCOUNT, ACME, NOW, SOCKET, settings
from whence.core.registration.events import ForgetAddresses, Learn
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import Registration
from whence.core.sip.transport_address import TransportAddress
from whence.errors import StoreError
from whence.store.directory import FILE, Directory
from whence.store.learning import RegistrationStep

SYNCHRONOUS_FULL = 2
REGISTRAR = TransportAddress.parse("udp:192.0.2.1:5060")
BELL = ACME.replace("acme", "bell").replace("acct1", "acct2").replace("+44 20 1", "100")


class Changes:
    """Counts the transactions that could change a decision."""

    count = 0

    def directory_changed(self) -> None:
        self.count += 1


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def directory(tmp_path: Path, changes: Changes) -> Iterator[Directory]:
    with closing(Directory(tmp_path / FILE, [changes])) as directory:
        exact = BELL + "match_port = true\n"
        install(directory, settings(tmp_path, ACME + exact))
        changes.count = 0
        yield directory


def granted(trunk_id: str, until: float = NOW + 60) -> RegistrationStep:
    learn = Learn(REGISTRAR, until)
    event = HistoryEvent(EventKind.REGISTERED, "granted 60 s")
    registration = Registration(trunk_id, f"call-{trunk_id}", cseq=2, expires_at=until)
    return RegistrationStep(ACCOUNT, registration, [learn], str(SOCKET), NOW, events=[event])


def test_directory_waits_until_the_disk_has_a_commit(directory: Directory) -> None:
    assert directory._db.execute("PRAGMA synchronous").fetchone() == (SYNCHRONOUS_FULL,)
    assert directory._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_save_steps_stores_each_trunk_and_changes_once(
    directory: Directory, changes: Changes
) -> None:
    directory.save_steps([granted("acme"), granted("bell")])
    assert {id_: one.registration.cseq for id_, one in directory.registrations().items()} == {
        "acme": 2,
        "bell": 2,
    }
    assert {id_: address.exact for id_, address in directory.addresses()} == {
        "acme": False,
        "bell": True,
    }
    for trunk_id in ("acme", "bell"):
        assert [event.what for _, event in directory.events(trunk_id)] == [EventKind.REGISTERED]
    assert changes.count == 1


def test_save_steps_finds_the_one_change_among_refreshes(
    directory: Directory, changes: Changes
) -> None:
    directory.save_steps([granted("acme"), granted("bell")])
    directory.save_steps([granted("acme", NOW + 90), granted("bell", NOW + 90)])
    assert changes.count == 1, "a later end changes no decision"
    forgets = RegistrationStep(
        ACCOUNT, Registration("bell", "call-bell"), [ForgetAddresses()], str(SOCKET), NOW
    )
    directory.save_steps([granted("acme", NOW + 120), forgets])
    assert changes.count == 2
    assert [(id_, address.expires_at) for id_, address in directory.addresses()] == [
        ("acme", NOW + 120)
    ]


def test_save_steps_that_fails_stores_no_step(directory: Directory, changes: Changes) -> None:
    fails = "INSERT ON event WHEN NEW.trunk_id = 'bell'"
    with broken(directory.path, fails), pytest.raises(StoreError, match="disk"):
        directory.save_steps([granted("acme"), granted("bell")])
    assert directory.registrations() == {}
    assert directory.addresses() == []
    assert directory.events("acme") == []
    assert changes.count == 0
