"""The agents of one state directory, with a registrar and DNS in a test's hands."""

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
from whence.agent.registration.attempt import TargetResolver as WhereIs
from whence.agent.registration.observers import HistoryObserver, RegistrationObserver
from whence.agent.registration.service import RegistrationService
from whence.core.registration.events import Answered, Send, Unanswered
from whence.core.registration.model import Account, Registration, Reply, State
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.store.directory import FILE, Directory

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
    """The time of day, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Asked:
    """One REGISTER that the registrar got."""

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
    """What stands behind the edge: grants what is asked, until told otherwise."""

    status: int = 200
    grants_s: int | None = None
    silent: bool = False
    accepts_at: TransportAddress = REGISTRAR
    asked: list[Asked] = field(default_factory=list)
    open: asyncio.Event | None = None
    """Where it is set to an event, answers wait for it."""

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        self.asked.append(Asked(account, send, call_id, socket))
        if self.open is not None:
            await self.open.wait()
        if self.silent:
            return Unanswered()
        granted_s = send.expires_s if self.grants_s is None else self.grants_s
        ours = (Contact(account.contact, granted_s),) if send.expires_s else ()
        return Answered(Reply(self.status, "Reason", send.cseq, ours), self.accepts_at)

    def taken(self) -> list[Asked]:
        """All that was asked since this was called last."""
        asked, self.asked = self.asked, []
        return asked


@dataclass
class Dns:
    """Says where every registrar is, or that nobody answers; where it is to wait, not before."""

    says: tuple[TransportAddress, ...] = ()
    wait: asyncio.Event | None = None
    asked: bool = False

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        self.asked = True
        if self.wait is not None:
            await self.wait.wait()
        return self.says

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        return self.says, 60.0

    def why_none(self, server: Uri) -> Why:
        return Why(RegistrationReason.DNS_SILENT, f"no answer from DNS for {server.host}")


class Node:
    """One node's state directory, and the agents that live on it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.registrar = Registrar()
        self.resolver: WhereIs = SipResolver(DnsCache(), [])
        self.directory = Directory(folder / FILE)
        self.observers: list[RegistrationObserver] = []
        """They observe the agents that are started from now on."""
        self.history_observers: list[HistoryObserver] = []
        self.registrations = self.agent()

    def agent(self) -> RegistrationService:
        """Start an agent anew: all that it knows is what is on disk."""
        self.directory.close()
        self.directory = Directory(self.folder / FILE)
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
        """Let the agent work until the condition holds."""
        running = asyncio.create_task(self.registrations.run())
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
        """Let the agent do what is due now, whatever is in flight."""
        turns = iter(range(50))
        await self.until(lambda: next(turns, None) is None)

    async def until_quiet(self) -> None:
        """Let the agent do what is due now; nothing is in flight after it."""
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


def tell(story: Callable[[], Awaitable[None]]) -> None:
    async def telling() -> None:
        await story()

    asyncio.run(telling())
