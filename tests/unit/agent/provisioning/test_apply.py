"""Provisioning adds, changes and removes trunks, all or none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.registration.node import ACME, BELL, Node, run
from tests.unit.store.disk import broken
from whence.agent.config.to_core import node_settings
from whence.agent.provisioning import apply
from whence.agent.provisioning.apply import Provisioning
from whence.agent.registration.entry import StoredTrunk
from whence.core.registration.model import State
from whence.core.settings import TrunkSettings
from whence.errors import StoreError, UnknownTrunkError
from whence.store.directory import FILE, Directory
from whence.store.registrations import StoredRegistration


class CountingDirectory(Directory):
    """Counts how often all registrations are read."""

    reads = 0

    def registrations(self) -> dict[str, StoredRegistration]:
        self.reads += 1
        return super().registrations()


class Follower:
    """Records the trunks of each call."""

    def __init__(self) -> None:
        self.applied: list[list[str]] = []

    def apply(self, trunks: Iterable[TrunkSettings]) -> None:
        self.applied.append([trunk.id for trunk in trunks])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.directory.close()


def trunk_of(node: Node, text: str = ACME) -> TrunkSettings:
    (trunk,) = node_settings(node.settings(text)).trunks
    return trunk


def test_apply_reads_the_stored_registrations_once(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.agent()
        directory = CountingDirectory(node.folder / FILE)
        settings = node_settings(node.settings(ACME))
        Provisioning(directory, node.registrations, clock=node.clock).apply(settings)
        assert directory.reads == 1
        assert list(node.of) == ["acme"]
        directory.close()

    run(story)


def test_apply_calls_followers_with_all_trunks(node: Node) -> None:
    async def story() -> None:
        follower = Follower()
        provisioning = Provisioning(node.directory, node.registrations, [follower], node.clock)
        provisioning.apply(node_settings(node.settings(ACME + BELL)))
        provisioning.apply(node_settings(node.settings(BELL)))
        assert follower.applied == [["acme", "bell"], ["bell"]]

    run(story)


def test_first_trunks_register_while_others_are_added(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "SLICE", 1)

    async def story() -> None:
        provisioning = Provisioning(node.directory, node.registrations, clock=node.clock)
        provisioning.begin(node_settings(node.settings(ACME + BELL)))
        adding = asyncio.create_task(provisioning.add_first())
        await asyncio.sleep(0)
        assert list(node.of) == ["acme"]
        await adding
        assert list(node.of) == ["acme", "bell"]
        await node.until_all(State.REGISTERED)

    run(story)


@pytest.mark.parametrize("then", ["finish", "apply", "clock"])
def test_first_trunks_are_all_added_before_others_need_them(
    node: Node, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """A reload that comes meanwhile is applied last."""
    monkeypatch.setattr(apply, "SLICE", 1)
    changed = BELL.replace("sip:pbx", "sip:other")

    async def story() -> None:
        provisioning = Provisioning(node.directory, node.registrations, clock=node.clock)
        provisioning.begin(node_settings(node.settings(ACME + BELL)))
        adding = asyncio.create_task(provisioning.add_first())
        await asyncio.sleep(0)
        assert list(node.of) == ["acme"]
        match then:
            case "finish":
                provisioning.finish()
            case "apply":
                provisioning.apply(node_settings(node.settings(ACME + changed)))
            case "clock":
                provisioning.clock_stepped(3600.0, None)
        assert list(node.of) == ["acme", "bell"]
        await adding
        target = node.registrations["bell"][0].target
        assert target.startswith("sip:other") == (then == "apply")

    run(story)


def test_begin_that_cannot_write_adds_no_trunk(node: Node) -> None:
    async def story() -> None:
        provisioning = Provisioning(node.directory, node.registrations, clock=node.clock)
        with broken(node.directory.path, "INSERT ON trunk"), pytest.raises(StoreError):
            provisioning.begin(node_settings(node.settings(ACME)))
        await provisioning.add_first()
        assert list(node.of) == []

    run(story)


@pytest.mark.parametrize("after", ["", ACME.replace("acct1", "acct9"), BELL])
def test_apply_with_failed_write_changes_nothing(node: Node, after: str) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        before = node.of["acme"], node.addresses, node.directory.tokens()
        with broken(node.directory.path, "INSERT ON meta"), pytest.raises(StoreError):
            node.apply(after)
        await node.until_quiet()
        assert (node.of["acme"], node.addresses, node.directory.tokens()) == before
        assert node.registrar.take_received() == []

    run(story)


def test_service_adds_updates_and_removes_one_trunk(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        token = node.directory.tokens()["acme"]
        node.registrations.remove("acme")
        await node.until(lambda: len(node.registrar.received) == 2)
        assert node.registrar.take_received()[-1].unregisters
        node.registrations.add(trunk_of(node), StoredTrunk(token))
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        other = trunk_of(node, ACME.replace("hunter2", "hunter3"))
        node.registrations.update(other, has_learned=True)
        await node.until(lambda: len(node.registrar.received) == 1)
        assert node.registrar.take_received()[0].account.credentials == other.credentials

    run(story)


def test_service_update_of_unknown_trunk_raises(node: Node) -> None:
    with pytest.raises(UnknownTrunkError):
        node.registrations.update(trunk_of(node), has_learned=False)
    with pytest.raises(UnknownTrunkError):
        node.registrations.remove("acme")
