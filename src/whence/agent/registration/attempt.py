"""One attempt to register: send requests and follow 3xx answers, until none is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from whence.agent.registration.account import make_contact
from whence.agent.registration.entry import Entry
from whence.agent.registration.public_address import PublicAddresses
from whence.core.registration.events import (
    Answered,
    Follow,
    MachineEvent,
    Redirected,
    Send,
    Unanswered,
)
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources
from whence.core.registration.model import Account
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.settings import TrunkSettings
from whence.core.sip.sockets import EdgeSockets
from whence.core.sip.transport_address import IP, TransportAddress
from whence.core.sip.uri import Uri
from whence.ipc import kernel_route

REDIRECT_TARGETS_LIMIT = 16
"""How many targets of one 3xx an attempt tries."""

TakeStep = Callable[[Entry, MachineEvent], Awaitable[Send | Follow | None]]
"""Takes one step of the state machine, and returns its request or look-up once it is stored."""


class RegisterClient(Protocol):
    """Sends a REGISTER through Kamailio, and waits for its answer."""

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        """Send a REGISTER from the edge's `socket`; return the final answer, or why none came."""


class TargetResolver(Protocol):
    """Looks up the addresses of a server in DNS."""

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        """Return its next hops, best first; empty if it has none or DNS does not answer."""

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        """Return all its next hops, and for how many seconds they are valid."""

    def why_none(self, server: Uri) -> Why:
        """Return why the last look-up found none."""


class AttemptRunner:
    """Executes the requests and look-ups of the steps of registrations."""

    def __init__(
        self,
        kamailio: RegisterClient,
        resolver: TargetResolver,
        sockets: EdgeSockets,
        take: TakeStep,
        public: PublicAddresses,
        clock: Callable[[], float],
        source_ip: Callable[[IP], IP | None] = kernel_route.source_ip,
    ) -> None:
        """`source_ip`: returns the kernel's source address for a destination."""
        self._kamailio = kamailio
        self._resolver = resolver
        self.sockets = sockets
        """The sockets from which REGISTERs are sent."""
        self._take = take
        self._clock = clock
        self._source_ip = source_ip
        self._public = public

    async def run(self, entry: Entry, event: MachineEvent) -> None:
        """Take a step, and those that result from it, until nothing is in flight."""
        action = await self._take(entry, event)
        while action is not None:
            if isinstance(action, Follow):
                entry.led_to += action.to
                outcome: MachineEvent = await self._redirect_targets(action.to, entry.trunk)
            else:
                outcome = await self._register(entry, action)
            action = await self._take(entry, outcome)

    async def _redirect_targets(self, contacts: Sequence[Uri], trunk: TrunkSettings) -> Redirected:
        """Look up the Contacts of a 3xx; keep their order."""
        found = await asyncio.gather(*(self.targets(contact, trunk) for contact in contacts))
        targets = tuple(dict.fromkeys(target for part in found for target in part))
        if targets:
            return Redirected(targets[:REDIRECT_TARGETS_LIMIT])
        message = f"redirected, but {self.why_none(contacts[0]).message}"
        return Redirected((), Why(RegistrationReason.REDIRECT_WITHOUT_ADDRESS, message))

    async def targets(self, server: Uri, trunk: TrunkSettings) -> tuple[TransportAddress, ...]:
        """Return the next hops of a server that the trunk's socket can reach, best first."""
        found = await self._resolver.targets(server)
        return tuple(t for t in found if self.socket_for(t, trunk) is not None)

    def why_none(self, server: Uri) -> Why:
        """Return why the last look-up found no targets of a server."""
        return self._resolver.why_none(server)

    def socket_for(self, target: TransportAddress, trunk: TrunkSettings) -> TransportAddress | None:
        """Return our socket that sends to `target`, or None.

        It is the one that the trunk names, or the one on the kernel's route.
        """
        sockets, transport, version = self.sockets, target.transport, target.ip.version
        if trunk.socket is not None:
            return trunk.socket if trunk.socket in sockets.fitting(transport, version) else None
        own_ip = self._source_ip(target.ip) if sockets.has_choice(transport, version) else None
        return sockets.socket_for(transport, version, own_ip)

    async def expected(
        self, entry: Entry, next_hop: TransportAddress, source: TransportAddress
    ) -> ExpectedSources:
        """Return the sources that may be learned from a reply, besides the ip that was asked.

        DNS is queried only if the reply comes from another ip. If DNS does not answer, its last
        answer is used; without one, no source is expected.
        """
        trunk = entry.trunk
        if source.ip == next_hop.ip:
            return ASKED_ONLY
        servers = trunk.servers + entry.led_to
        named = await asyncio.gather(*(self._resolver.everywhere(server) for server in servers))
        return ExpectedSources(
            frozenset(hop.ip for hops, _ in named for hop in hops),
            trunk.pinned(self._clock()),
            trunk.learn_from == "any",
        )

    async def _register(self, entry: Entry, send: Send) -> Answered | Unanswered:
        entry.socket = self.socket_for(send.next_hop, entry.trunk)
        if entry.socket is None:
            return Unanswered(
                Why(RegistrationReason.NO_SOCKET, "the edge has no socket for it any more")
            )
        place = await self._public.place_of(entry, entry.socket, self.sockets)
        contact = make_contact(entry.trunk, entry.account.token, entry.socket, place)
        former = entry.granted_contact
        if former == contact or not entry.registration.granted(self._clock()):
            former = None
        account = entry.account
        if contact == account.contact:
            contact = account.contact  # all trunks together have fewer objects
        if (contact, former) != (account.contact, account.former_contact):
            entry.account = replace(account, contact=contact, former_contact=former)
        outcome = await self._kamailio.register(
            entry.account, send, entry.registration.call_id, entry.socket
        )
        if isinstance(outcome, Answered) and outcome.reply.status < 400:
            expected = await self.expected(entry, send.next_hop, outcome.source)
            if expected is not outcome.expected:
                outcome = outcome._replace(expected=expected)
            if outcome.reply.status < 300:
                entry.granted_contact = contact
                if entry.account.former_contact is not None:
                    entry.account = replace(entry.account, former_contact=None)
        return outcome
