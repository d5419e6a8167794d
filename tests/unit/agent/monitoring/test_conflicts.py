"""Conflicts in a directory, and by the file alone; the log gets each once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from testkit.directory import install
from testkit.wait import PATIENCE_S
from tests.unit.store.provisioning import ACCOUNT, NOW, SOCKET, settings
from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.provisioning.conflicts import among
from whence.core.identification.address import Address, Origin
from whence.core.identification.conflicts import Conflict, ConflictKind
from whence.core.registration.events import ForgetAddresses, Learn
from whence.core.registration.learning import Ground
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.store.conflicts import read
from whence.store.directory import FILE, Directory


def trunk(id_: str, numbers: str = "[]", more: str = "", registrar: str = "sip:192.0.2.1") -> str:
    return f"""
[[trunk]]
id = "{id_}"
registrar = "{registrar}"
user = "user-{id_}"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
numbers = {numbers}
{more}
"""


LONDON = '["+442071234567"]'
SAME = trunk("acme", LONDON) + trunk("bell", '["020 7123 4567"]', 'country = "44"')


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with closing(Directory(tmp_path / FILE)) as made:
        yield made


def in_file(config: Config) -> list[Conflict]:
    return among(node_settings(config).trunks)


def learn(directory: Directory, id_: str, expires_at: float = NOW + 60) -> None:
    learned = Learn(TransportAddress.parse("udp:192.0.2.1:5060"), expires_at)
    directory.save(ACCOUNT, Registration(id_, f"call-{id_}"), [learned], SOCKET, NOW)


def forget(directory: Directory, id_: str) -> None:
    directory.save(ACCOUNT, Registration(id_, f"call-{id_}"), [ForgetAddresses()], SOCKET, NOW)


def kinds(directory: Directory, now: float = NOW) -> list[tuple[ConflictKind, tuple[str, ...]]]:
    return [(found.kind, found.trunks) for found in read(directory.path, now)]


def test_conflict_lasts_while_both_trunks_have_an_address(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, SAME))
    assert kinds(directory) == []
    learn(directory, "acme")
    assert kinds(directory) == []
    learn(directory, "bell", expires_at=NOW + 30)
    (found,) = read(directory.path, NOW)
    assert (found.kind, found.trunks) == (ConflictKind.NUMBER, ("acme", "bell"))
    assert (found.shared, found.addresses) == (("+442071234567",), ("192.0.2.1:5060",))
    assert kinds(directory, NOW + 30) == []
    forget(directory, "acme")
    assert kinds(directory) == []


def test_conflict_is_not_reported_before_a_trunk_registers(
    directory: Directory, tmp_path: Path
) -> None:
    pinned = 'networks = ["198.51.100.7"]'
    text = trunk("acme", LONDON, pinned) + trunk("bell", '["+442071234568"]', pinned)
    install(directory, settings(tmp_path, text))
    assert kinds(directory) == []
    for id_ in ("acme", "bell"):
        account = AccountKey(f"sip:user-{id_}@192.0.2.1", "sip:192.0.2.1")
        directory.save(account, Registration(id_, f"call-{id_}"), [], SOCKET, NOW)
        assert kinds(directory) == []


def test_conflict_ends_when_a_trunk_is_disabled_or_removed(
    directory: Directory, tmp_path: Path
) -> None:
    off = trunk("bell", LONDON, "enabled = false")
    for text in (trunk("acme", LONDON) + off, trunk("acme", LONDON)):
        install(directory, settings(tmp_path, SAME))
        learn(directory, "acme")
        learn(directory, "bell")
        assert kinds(directory) == [(ConflictKind.NUMBER, ("acme", "bell"))]
        install(directory, settings(tmp_path, text))
        assert kinds(directory) == []


def test_conflict_is_logged_once_and_again_when_it_returns(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        conflicts = ConflictMonitor(directory.path, clock=lambda: NOW)
        install(directory, settings(tmp_path, SAME + trunk("cable", LONDON)))
        for id_ in (
            "acme",
            "bell",
            "cable",
            "cable",
        ):  # a third trunk in the same conflict is not logged
            learn(directory, id_)
            await conflicts.search()
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith(
            "conflict: trunks acme, bell at 192.0.2.1:5060: the same number +442071234567; "
        )
        for id_ in ("acme", "bell"):
            forget(directory, id_)
        assert await conflicts.search() == []
        learn(directory, "acme")
        await conflicts.search()
        assert len(caplog.messages) == 2

    asyncio.run(story())


def test_monitor_after_a_directory_change_searches_soon(tmp_path: Path) -> None:
    async def story(conflicts: ConflictMonitor, directory: Directory) -> None:
        searching = asyncio.create_task(conflicts.run())
        install(directory, settings(tmp_path, SAME))
        learn(directory, "acme")
        learn(directory, "bell")
        async with asyncio.timeout(PATIENCE_S):
            while not conflicts.known:
                await asyncio.sleep(0.01)
            forget(directory, "bell")
            while conflicts.known:
                await asyncio.sleep(0.01)
        searching.cancel()

    conflicts = ConflictMonitor(tmp_path / FILE, clock=lambda: NOW)
    with closing(Directory(tmp_path / FILE, [conflicts])) as directory:
        asyncio.run(story(conflicts, directory))


def test_longer_grant_of_an_address_starts_no_search(tmp_path: Path) -> None:
    changes = []

    class Observer:
        def directory_changed(self) -> None:
            changes.append(1)

    with closing(Directory(tmp_path / FILE, [Observer()])) as directory:
        install(directory, settings(tmp_path, SAME))
        learn(directory, "acme")
        changes.clear()
        learn(directory, "acme", NOW + 90)
        assert changes == []
        learn(directory, "bell")
        assert changes == [1]


def test_search_of_an_unreadable_directory_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conflicts = ConflictMonitor(tmp_path / "nowhere.db")
    assert asyncio.run(conflicts.search()) == []
    assert caplog.messages[0].startswith("conflicts cannot be searched: the directory ")
    assert "cannot be read: unable to open" in caplog.messages[0]


def test_search_of_five_thousand_trunks_is_fast(directory: Directory, tmp_path: Path) -> None:
    text = "".join(trunk(f"t{i}", f'["+4420{i:07}"]', 'country = "44"') for i in range(5000))
    install(directory, settings(tmp_path, text + trunk("last", '["020 0000 4999"]')))
    for i in range(5000):
        learn(directory, f"t{i}")
    began_at = time.process_time()
    assert read(directory.path, NOW) == []
    assert time.process_time() - began_at < 2  # 50 ms on an idle machine; pairs take minutes


# By the file alone.


def test_file_with_two_trunks_of_a_number_has_a_conflict(tmp_path: Path) -> None:
    (found,) = in_file(settings(tmp_path, SAME))
    assert (found.kind, found.addresses) == (ConflictKind.NUMBER, ("192.0.2.1:5060",))


@pytest.mark.parametrize(
    "other",
    [
        trunk("bell", LONDON, registrar="sip:192.0.2.2"),
        trunk("bell", LONDON, registrar="sip:192.0.2.1:5080"),
        trunk("bell", LONDON, 'proxy = "sip:192.0.2.2"'),
        trunk("bell", LONDON, "enabled = false"),
        trunk("bell", LONDON, "fallback = true"),
        trunk("bell", '["+442071234568"]'),
    ],
)
def test_file_without_a_conflict_has_none(tmp_path: Path, other: str) -> None:
    assert in_file(settings(tmp_path, trunk("acme", LONDON) + other)) == []


def test_number_that_is_anothers_account_is_reported(directory: Directory, tmp_path: Path) -> None:
    three = trunk("three", '["+4930111"]').replace("user-three", "4930222")
    for number in ("+4930222", "030222", "+4930222*", "+4930*"):
        text = three + trunk("four", f'["{number}"]', 'country = "49"')
        made = settings(tmp_path, text)
        (found,) = in_file(made)
        assert (found.kind, found.trunks) == (ConflictKind.NUMBER_IS_ACCOUNT, ("four", "three"))
        install(directory, made)
        learn(directory, "three")
        learn(directory, "four")
        assert kinds(directory) == [(ConflictKind.NUMBER_IS_ACCOUNT, ("four", "three"))]
        forget(directory, "four")
        assert kinds(directory) == []


# Trunks of different registrars at one address.

BELL_ELSEWHERE = trunk("bell", '["+442071230000"]', registrar="sip:192.0.2.2")
ELSEWHERE = trunk("acme", LONDON) + BELL_ELSEWHERE


def learn_at(directory: Directory, id_: str, source: str, registrar: str) -> None:
    learned = Learn(TransportAddress.parse(source), NOW + 60, Ground.ANY)
    account = AccountKey(f"sip:user-{id_}@{registrar}", f"sip:{registrar}")
    directory.save(account, Registration(id_, f"call-{id_}"), [learned], SOCKET, NOW)


@pytest.mark.parametrize("port", [5060, 5070])
@pytest.mark.parametrize("how", ["learned", "pinned", "resolved"])
def test_trunk_at_the_address_of_another_conflicts_at_once(
    directory: Directory, tmp_path: Path, port: int, how: str
) -> None:
    reported: list[Conflict] = []
    present: list[Conflict] = []

    class Observer:
        def conflict(self, found: Conflict) -> None:
            reported.append(found)

        def conflicts_found(self, found: Sequence[Conflict]) -> None:
            present[:] = found

    async def story() -> None:
        conflicts = ConflictMonitor(directory.path, [Observer()], clock=lambda: NOW)
        install(directory, settings(tmp_path, ELSEWHERE))
        learn_at(directory, "bell", "udp:192.0.2.2:5060", "192.0.2.2")
        learn_at(directory, "acme", "udp:192.0.2.1:5060", "192.0.2.1")
        assert await conflicts.search() == []
        there = Address(
            canonical_ip("192.0.2.2"), None, Transport.UDP, Origin.RESOLVED, "", NOW, NOW + 60
        )
        if how == "learned":
            learn_at(directory, "acme", f"udp:192.0.2.2:{port}", "192.0.2.1")
        elif how == "pinned":
            directory.pin("acme", there)
        else:
            directory.resolve([("acme", there)], NOW)
        (found,) = await conflicts.search()
        assert (found.kind, found.trunks) == (ConflictKind.OTHER_SERVER, ("acme", "bell"))
        assert found.addresses == ("192.0.2.2",)
        assert reported == present == [found]

    asyncio.run(story())


def test_drop_in_accounts_of_one_domain_may_share_an_address(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ELSEWHERE))
    for domain, kinds_of in (
        ("provider.example", []),
        ("other.example", [ConflictKind.OTHER_SERVER]),
    ):
        for id_, host in (("acme", "provider.example"), ("bell", domain)):
            learned = Learn(TransportAddress.parse("udp:192.0.2.1:5060"), NOW + 60)
            aor = f"sip:user-{id_}@{host}"
            directory.save(
                AccountKey(aor), Registration(id_, f"call-{id_}"), [learned], SOCKET, NOW
            )
        assert [kind for kind, _ in kinds(directory)] == kinds_of
