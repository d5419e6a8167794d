"""The agents of one state directory, with a fake registrar and fake DNS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testkit.wait import PATIENCE_S
from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.agent.dns.cache import DnsCache
from whence.agent.dns.resolver import SipResolver
from whence.agent.provisioning.apply import Provisioning
from whence.agent.registration.attempt import TargetResolver
from whence.agent.registration.observers import HistoryObserver, RegistrationObserver
from whence.agent.registration.service import RegistrationService
from whence.core.registration.events import Answered, Send, Unanswered
from whence.core.registration.model import Account, Registration, Reply, State
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.store.directory import FILE, Directory
from whence.store.observer import DirectoryObserver

NOW = 1_000_000.0
REGISTRAR = TransportAddress.parse("udp:192.0.2.1:5060")
ACME = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
user = "acct1"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
"""
BELL = ACME.replace("acme", "bell").replace("acct1", "acct2")


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class ReceivedRegister:
    """One REGISTER that the registrar received."""

    account: Account
    send: Send
    call_id: str
    socket: TransportAddress

    @property
    def aor(self) -> str:
        return self.account.aor

    @property
    def unregisters(self) -> bool:
        return self.send.expires_s == 0


@dataclass
class Registrar:
    """The registrar behind the edge. By default it grants the requested time."""

    status: int = 200
    grants_s: int | None = None
    silent: bool = False
    accepts_at: TransportAddress = REGISTRAR
    seen_at: dict[str, TransportAddress] = field(default_factory=dict)
    """The AoR of a trunk → where the registrar sees its REGISTERs."""
    received: list[ReceivedRegister] = field(default_factory=list)
    open: asyncio.Event | None = None
    """An event for which answers wait, if set."""

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        self.received.append(ReceivedRegister(account, send, call_id, socket))
        if self.open is not None:
            await self.open.wait()
        if self.silent:
            return Unanswered()
        granted_s = send.expires_s if self.grants_s is None else self.grants_s
        ours = (Contact(account.contact, granted_s),) if send.expires_s else ()
        reply = Reply(self.status, "Reason", send.cseq, ours)
        return Answered(reply, self.accepts_at, seen_at=self.seen_at.get(account.aor))

    def take_received(self) -> list[ReceivedRegister]:
        """Return the REGISTERs since the last call."""
        received, self.received = self.received, []
        return received


@dataclass
class Dns:
    """Returns `answers` for every name, after `wait` if set. Empty: DNS does not answer."""

    answers: tuple[TransportAddress, ...] = ()
    wait: asyncio.Event | None = None
    asked: bool = False

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        self.asked = True
        if self.wait is not None:
            await self.wait.wait()
        return self.answers

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        return self.answers, 60.0

    def why_none(self, server: Uri) -> Why:
        return Why(RegistrationReason.DNS_SILENT, f"no answer from DNS for {server.host}")


class Node:
    """The state directory of one node, and its agents in sequence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.check_clock: Callable[[], None] = lambda: None
        self.registrar = Registrar()
        self.resolver: TargetResolver = SipResolver(DnsCache(), [])
        self.directory = Directory(folder / FILE)
        self.observers: list[RegistrationObserver] = []
        """The observers of the agents that start later."""
        self.history_observers: list[HistoryObserver] = []
        self.directory_observers: list[DirectoryObserver] = []
        self.registrations = self.agent()

    def agent(self) -> RegistrationService:
        """Start a new agent from the state on disk."""
        self.directory.close()
        self.directory = Directory(self.folder / FILE, tuple(self.directory_observers))
        self.registrations = RegistrationService(
            self.directory,
            self.registrar,
            self.resolver,
            self.clock,
            observers=tuple(self.observers),
            history_observers=tuple(self.history_observers),
        )
        self.provisioning = Provisioning(self.directory, self.registrations, clock=self.clock)
        return self.registrations

    def settings(self, text: str) -> Config:
        file = self.folder / "whence.toml"
        file.write_text(text, encoding="utf-8")
        return load(file)

    def apply(self, text: str) -> None:
        self.provisioning.apply(node_settings(self.settings(text)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Run the agent until the condition holds."""
        running = asyncio.create_task(self.registrations.run(self.check_clock))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    assert not running.done()
                    await asyncio.sleep(0)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def until_all(self, state: State) -> None:
        await self.until(lambda: all(r.state is state for r in self.of.values()))

    async def until_loop(self) -> None:
        """Run the agent until it has started all due work."""
        turns = iter(range(50))
        await self.until(lambda: next(turns, None) is None)

    async def until_quiet(self) -> None:
        """Run the agent until all due work is done, and nothing is in flight."""
        turns = iter(range(50))
        await self.until(
            lambda: next(turns, None) is None and all(not r.in_flight for r in self.of.values())
        )

    @property
    def of(self) -> dict[str, Registration]:
        return {trunk.id: registration for trunk, registration in self.registrations}

    @property
    def addresses(self) -> list[tuple[str, str, float | None]]:
        return [(id_, str(a.ip), a.expires_at) for id_, a in self.directory.addresses()]


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def running() -> None:
        await story()

    asyncio.run(running())
