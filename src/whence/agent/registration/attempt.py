"""One attempt to register: requests are sent, and redirections followed, until none is in flight.

The neighbours are Kamailio, which sends REGISTERs, and DNS, which says where a server is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from whence.agent.registration.account import make_contact
from whence.agent.registration.entry import Entry
from whence.core.registration.events import (
    Answered,
    Follow,
    MachineEvent,
    Redirected,
    Send,
    Unanswered,
)
from whence.core.registration.learning import NOBODY_ELSE, ExpectedSources
from whence.core.registration.model import Account
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.sockets import EdgeSockets
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

Step = Callable[[Entry, MachineEvent], Send | Follow | None]
"""Takes one step of the state machine, and returns what the step asks for."""


class RegisterClient(Protocol):
    """Who sends a REGISTER and waits for its answer: the neighbour Kamailio."""

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        """Send it from the edge's `socket`; the final answer, or why there is none."""


class TargetResolver(Protocol):
    """Who says where a server is now: the neighbour DNS."""

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        """Its next hops, best first; none where it has none, or nobody says."""

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        """All its next hops, and for how many seconds that is good."""

    def why_none(self, server: Uri) -> Why:
        """Say why there were none just now."""


class AttemptRunner:
    """Carries out what the steps of registrations ask for."""

    def __init__(
        self,
        kamailio: RegisterClient,
        resolver: TargetResolver,
        sockets: EdgeSockets,
        step: Step,
        clock: Callable[[], float],
    ) -> None:
        self._kamailio = kamailio
        self._resolver = resolver
        self.sockets = sockets
        """From which REGISTERs are sent."""
        self._step = step
        self._clock = clock

    async def run(self, entry: Entry, fact: MachineEvent) -> None:
        """Take a step, and those that follow from it, until nothing is in flight."""
        asks = self._step(entry, fact)
        while asks is not None:
            if isinstance(asks, Follow):
                entry.led_to = asks.to
                outcome: MachineEvent = Redirected(await self.targets(asks.to))
            else:
                outcome = await self._register(entry, asks)
            asks = self._step(entry, outcome)

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        """Return the next hops of a server that one of our sockets reaches, best first."""
        found = await self._resolver.targets(server)
        return tuple(t for t in found if self.socket_for(t) is not None)

    def why_none(self, server: Uri) -> Why:
        """Return why a server had no targets just now."""
        return self._resolver.why_none(server)

    def socket_for(self, target: TransportAddress) -> TransportAddress | None:
        """Return our socket that sends to `target`; None where we have none."""
        return self.sockets.socket_for(target.transport, target.ip.version)

    async def expected(
        self, entry: Entry, next_hop: TransportAddress, source: TransportAddress
    ) -> ExpectedSources:
        """Return from where a reply to the trunk's requests counts, besides from whom was asked.

        DNS is asked only where the reply comes from elsewhere. What it said last is used while it
        is silent; where it never said anything, it names nobody.
        """
        trunk = entry.trunk
        if source.ip == next_hop.ip:
            return NOBODY_ELSE
        servers = trunk.servers + ((entry.led_to,) if entry.led_to is not None else ())
        named = await asyncio.gather(*(self._resolver.everywhere(server) for server in servers))
        return ExpectedSources(
            frozenset(hop.ip for hops, _ in named for hop in hops),
            trunk.pinned(self._clock()),
            trunk.learn_from == "any",
        )

    async def _register(self, entry: Entry, send: Send) -> Answered | Unanswered:
        entry.socket = self.socket_for(send.next_hop)
        if entry.socket is None:
            return Unanswered(
                Why(RegistrationReason.NO_SOCKET, "the edge has no socket for it any more")
            )
        contact = make_contact(entry.trunk, entry.account.token, entry.socket, self.sockets)
        entry.account = replace(entry.account, contact=contact)
        outcome = await self._kamailio.register(
            entry.account, send, entry.registration.call_id, entry.socket
        )
        if isinstance(outcome, Answered) and outcome.reply.status < 400:
            expected = await self.expected(entry, send.next_hop, outcome.source)
            outcome = replace(outcome, expected=expected)
        return outcome
