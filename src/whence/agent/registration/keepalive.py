"""Keep-alives: OPTIONS to the servers that granted, for the trunks that have an interval.

Only an interval of the operator lets unanswered OPTIONS bring a refresh forward.

The service observes the registrations. It sends an OPTIONS in each interval while the trunk is
registered, but not during a REGISTER. Each OPTIONS is a task of its own, so a server that does not
answer delays no other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from whence.agent.runtime.due_queue import DueQueue
from whence.agent.runtime.tasks import Tasks
from whence.core.registration import keepalive
from whence.core.registration.keepalive import KeepAlive, KeepAliveTarget, OptionsReply
from whence.core.registration.model import Registration
from whence.core.settings import TrunkSettings
from whence.core.sip.transport_address import TransportAddress

log = logging.getLogger(__name__)

ANSWER_S = 4.0
"""The timeout of an OPTIONS: three retransmissions fit (RFC 3261 17.1.2)."""

UNDER_WAY_LIMIT = 512
"""OPTIONS in flight at once; Kamailio keeps a transaction for each."""


class KeepAliveOutcome(StrEnum):
    """The result of an OPTIONS."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"


class OptionsClient(Protocol):
    """Sends an OPTIONS through Kamailio."""

    async def keep_alive(self, target: KeepAliveTarget, within_s: float) -> OptionsReply | None:
        """Return its answer; None if none came in time."""


class KeepAliveRegistrations(Protocol):
    """Receives the results: `RegistrationService`."""

    def keepalive_target(self, trunk_id: str) -> KeepAliveTarget | None:
        """Return where an OPTIONS is sent; None without a grant, or during a REGISTER."""

    async def expects(
        self, trunk_id: str, next_hop: TransportAddress, source: TransportAddress
    ) -> bool:
        """Return whether an answer from `source` counts as one of the server that was asked."""

    def bring_forward(self, trunk_id: str) -> None:
        """Refresh now, since the server does not answer."""


@dataclass(slots=True, eq=False)
class _Probe:
    """A trunk with keep-alives, and their results."""

    trunk_id: str
    interval_s: float
    next_hop: TransportAddress
    is_default: bool
    """Whether the operator chose no interval. Then unanswered OPTIONS change nothing."""
    keepalive: KeepAlive


class KeepAliveService:
    """All keep-alives. It observes the registrations that are passed to `run`."""

    def __init__(self, client: OptionsClient, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._probes: dict[str, _Probe] = {}
        self._queue = DueQueue[_Probe](clock)
        self._free = asyncio.Semaphore(UNDER_WAY_LIMIT)
        self._tasks = Tasks("a keep-alive")
        self.outcomes: Counter[KeepAliveOutcome] = Counter()
        """The number of OPTIONS by result."""

    def __getitem__(self, trunk_id: str) -> KeepAlive | None:
        """Return the results for a trunk; None while it has no keep-alives."""
        probe = self._probes.get(trunk_id)
        return probe.keepalive if probe else None

    # Calls from the registrations.

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """Start keep-alives of a trunk that is registered; stop those of another."""
        next_hop = registration.home
        if next_hop is None or registration.expires_at is None:
            self.gone(trunk.id)
            return
        interval_s = keepalive.interval_s(trunk.keepalive_s, next_hop)
        is_default = trunk.keepalive_s is None
        probe = self._probes.get(trunk.id)
        if probe is not None and (probe.next_hop, probe.interval_s, probe.is_default) == (
            next_hop,
            interval_s,
            is_default,
        ):
            return
        self.gone(trunk.id)
        if not interval_s:
            return
        begun = keepalive.first(self._clock(), interval_s, random.random())  # noqa: S311
        probe = _Probe(trunk.id, interval_s, next_hop, is_default, begun)
        self._probes[trunk.id] = probe
        self._queue.schedule(probe, begun.next_at)

    def gone(self, trunk_id: str) -> None:
        """Stop the keep-alives of a trunk."""
        probe = self._probes.pop(trunk_id, None)
        if probe is not None:
            self._queue.cancel(probe)

    def clock_stepped(self, step_s: float, _offset: object) -> None:
        """Move all due instants with the system clock."""
        for probe in self._probes.values():
            probe.keepalive = keepalive.shifted(probe.keepalive, step_s)
            if self._queue.at(probe) is not None:  # else its OPTIONS is in flight
                self._queue.cancel(probe)
                self._queue.schedule(probe, probe.keepalive.next_at)
        self._queue.wake()

    # The work.

    async def run(self, registrations: KeepAliveRegistrations) -> None:
        """Send each OPTIONS when it is due, until cancelled."""
        while True:
            for probe in self._queue.due(self._clock()):
                await self._free.acquire()
                self._tasks.start(self._send(probe, registrations))
            await self._queue.wait()

    async def _send(self, probe: _Probe, registrations: KeepAliveRegistrations) -> None:
        try:
            await self._send_now(probe, registrations)
        finally:
            self._free.release()

    async def _send_now(self, probe: _Probe, registrations: KeepAliveRegistrations) -> None:
        target = registrations.keepalive_target(probe.trunk_id)
        if target is None:  # a REGISTER is in flight, and gives more information
            status, asked = None, False
        else:
            within_s = min(ANSWER_S, probe.interval_s)
            reply, asked = await self._client.keep_alive(target, within_s), True
            # An attacker may answer in its place, to hide that the server is dead.
            is_expected = reply and await registrations.expects(
                probe.trunk_id, target.next_hop, reply.source
            )
            status = reply.status if reply and is_expected else None
        if self._probes.get(probe.trunk_id) is not probe:
            return  # another server granted in the meantime
        now, brings_forward = self._clock(), False
        if status is not None:
            self.outcomes[KeepAliveOutcome.ANSWERED] += 1
            if probe.keepalive.missed >= keepalive.MISSES:
                log.info("trunk %s: %s answers OPTIONS again", probe.trunk_id, probe.next_hop)
            probe.keepalive = keepalive.answered(probe.keepalive, status, now, probe.interval_s)
        elif asked:
            probe.keepalive, has_failed = keepalive.unanswered(
                probe.keepalive, now, probe.interval_s
            )
            if not probe.is_default:
                self.outcomes[KeepAliveOutcome.UNANSWERED] += 1
                brings_forward = has_failed
        else:
            probe.keepalive = keepalive.skipped(probe.keepalive, now, probe.interval_s)
        self._queue.schedule(probe, probe.keepalive.next_at)
        if brings_forward:
            log.warning(
                "trunk %s: %s does not answer OPTIONS: its refresh is due now",
                probe.trunk_id,
                probe.next_hop,
            )
            registrations.bring_forward(probe.trunk_id)
