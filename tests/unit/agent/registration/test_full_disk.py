"""Test steps that the directory cannot store."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from testkit.wait import PATIENCE_S
from tests.unit.agent.registration.node import ACME, Node
from tests.unit.store.disk import DISK_FULL
from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.agent.dns.cache import DnsCache
from whence.agent.dns.resolver import SipResolver
from whence.agent.provisioning.apply import Provisioning
from whence.agent.registration.service import RegistrationService
from whence.core.registration.events import Answered, Send
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import Account, Reply, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress
from whence.store.directory import FILE, Directory

REGISTRAR = TransportAddress.parse("udp:192.0.2.5:5060")


class Granting:
    """A registrar that grants every request."""

    def __init__(self) -> None:
        self.received: list[Send] = []

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered:
        self.received.append(send)
        ours = Contact(account.contact, send.expires_s)
        return Answered(Reply(200, "OK", send.cseq, contacts=(ours,)), REGISTRAR)


def settings(folder: Path) -> Config:
    file = folder / "whence.toml"
    file.write_text(
        '[[trunk]]\nid = "acme"\nregistrar = "sip:192.0.2.5"\nuser = "acct1"\n'
        'password = "secret"\ntarget = "sip:pbx@192.0.2.9"\n'
    )
    return load(file)


async def until(registrations: RegistrationService, state: State) -> None:
    running = asyncio.create_task(registrations.run())
    async with asyncio.timeout(PATIENCE_S):
        while [r.state for _, r in registrations] != [state]:
            await asyncio.sleep(0)
    running.cancel()


def test_step_on_a_full_disk_sends_nothing_and_is_retried(tmp_path: Path) -> None:
    directory = Directory(tmp_path / FILE)
    disk = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    registrar = Granting()

    async def story() -> None:
        registrations = RegistrationService(
            directory, registrar, SipResolver(DnsCache(), []), clock=lambda: 1000.0
        )
        Provisioning(directory, registrations).apply(node_settings(settings(tmp_path)))
        disk.execute(DISK_FULL)
        await until(registrations, State.WAITING)
        [(_, registration)] = registrations
        assert registrar.received == []
        assert registration.next_at == 1030.0
        assert registration.reason is RegistrationReason.NOT_WRITTEN
        assert registrations.outcomes == {}  # nothing was sent
        assert "database or disk is full" in registration.message

        disk.execute("DROP TRIGGER full")
        later = RegistrationService(
            directory, registrar, SipResolver(DnsCache(), []), clock=lambda: 1030.0
        )
        Provisioning(directory, later).apply(node_settings(settings(tmp_path)))
        await until(later, State.REGISTERED)

    try:
        asyncio.run(story())
        assert len(registrar.received) == 1
        assert [trunk_id for trunk_id, _ in directory.addresses()] == ["acme"]
    finally:
        disk.close()
        directory.close()


class Events:
    """An observer of histories."""

    def __init__(self) -> None:
        self.seen: list[EventKind] = []

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        self.seen += [event.what for event in events]


def test_expiry_on_a_full_disk_counts_when_it_happens(tmp_path: Path) -> None:
    node, events = Node(tmp_path), Events()
    node.history_observers.append(events)
    node.agent()

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as disk:
            disk.execute(DISK_FULL)
            node.clock.now += 3600
            await node.until(lambda: node.registrations.expirations == 1)
            assert events.seen.count(EventKind.EXPIRED) == 1
            for _ in range(3):
                node.clock.now += 61
                await node.until_quiet()
            assert node.registrations.expirations == 1, "it is counted once"
            assert events.seen.count(EventKind.EXPIRED) == 1
            disk.execute("DROP TRIGGER full")
        node.clock.now += 61
        await node.until_all(State.REGISTERED)
        assert node.registrations.expirations == 1

    try:
        asyncio.run(story())
    finally:
        node.directory.close()
