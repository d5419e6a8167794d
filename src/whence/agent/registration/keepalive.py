"""Keep-alives: OPTIONS to the servers that granted, for the trunks that want them.

It watches the registrations: a trunk that is registered is asked about in its interval, one that is
not is left alone, and so is one whose refresh is under way. Each OPTIONS is a task of its own, so
that a silent server holds up nobody.
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
"""How long an answer is waited for: three retransmissions fit (RFC 3261 17.1.2)."""

UNDER_WAY_LIMIT = 512
"""OPTIONS under way at once, which Kamailio keeps transactions for."""


class KeepAliveOutcome(StrEnum):
    """What an OPTIONS came to."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"


class OptionsClient(Protocol):
    """Who sends an OPTIONS: the neighbour Kamailio."""

    async def keep_alive(self, way: KeepAliveTarget, within_s: float) -> OptionsReply | None:
        """Its answer; None where none came in time."""


class KeepAliveRegistrations(Protocol):
    """Whom the outcome is told to: `registrations.Registrations`."""

    def way(self, trunk_id: str) -> KeepAliveTarget | None:
        """How its server is reached; None where nothing is granted, or a request is in flight."""

    async def expects(
        self, trunk_id: str, next_hop: TransportAddress, source: TransportAddress
    ) -> bool:
        """Whether an answer from `source` is one of the server that was asked."""

    def bring_forward(self, trunk_id: str) -> None:
        """Its server answers no more: its refresh is due now."""


@dataclass(slots=True, eq=False)
class _Pulse:
    trunk_id: str
    interval_s: float
    next_hop: TransportAddress
    keepalive: KeepAlive


class KeepAliveService:
    """All keep-alives. It observes the registrations; `run` it with the same ones."""

    def __init__(self, client: OptionsClient, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._pulses: dict[str, _Pulse] = {}
        self._queue = DueQueue[_Pulse](clock)
        self._places = asyncio.Semaphore(UNDER_WAY_LIMIT)
        self._tasks = Tasks("a keep-alive")
        self.outcomes: Counter[KeepAliveOutcome] = Counter()
        """OPTIONS by outcome."""

    def __getitem__(self, trunk_id: str) -> KeepAlive | None:
        """How it stands; None where the trunk is not asked about now."""
        pulse = self._pulses.get(trunk_id)
        return pulse.keepalive if pulse else None

    # What the registrations tell.

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """Begin with a trunk that is registered now, and end with one that is not."""
        next_hop = registration.home
        if not trunk.keepalive_s or next_hop is None or registration.expires_at is None:
            self.gone(trunk.id)
            return
        pulse = self._pulses.get(trunk.id)
        if pulse is not None and (pulse.next_hop, pulse.interval_s) == (
            next_hop,
            trunk.keepalive_s,
        ):
            return
        self.gone(trunk.id)
        begun = keepalive.first(self._clock(), trunk.keepalive_s, random.random())  # noqa: S311
        self._pulses[trunk.id] = pulse = _Pulse(trunk.id, trunk.keepalive_s, next_hop, begun)
        self._queue.schedule(pulse, begun.next_at)

    def gone(self, trunk_id: str) -> None:
        """End with a trunk."""
        pulse = self._pulses.pop(trunk_id, None)
        if pulse is not None:
            self._queue.cancel(pulse)

    # The work.

    async def run(self, registrations: KeepAliveRegistrations) -> None:
        """Ask whoever is due until cancelled."""
        while True:
            for pulse in self._queue.due(self._clock()):
                await self._places.acquire()
                self._tasks.start(self._ask(pulse, registrations))
            await self._queue.wait()

    async def _ask(self, pulse: _Pulse, registrations: KeepAliveRegistrations) -> None:
        try:
            await self._ask_now(pulse, registrations)
        finally:
            self._places.release()

    async def _ask_now(self, pulse: _Pulse, registrations: KeepAliveRegistrations) -> None:
        way = registrations.way(pulse.trunk_id)
        if way is None:  # it is being refreshed: that tells more
            status, asked = None, False
        else:
            within_s = min(ANSWER_S, pulse.interval_s)
            pong, asked = await self._client.keep_alive(way, within_s), True
            # Others may answer in its place, to hide that it is silent.
            place = (pulse.trunk_id, way.next_hop)
            counts = pong and await registrations.expects(*place, pong.source)
            status = pong.status if pong and counts else None
        if self._pulses.get(pulse.trunk_id) is not pulse:
            return  # it is another server's affair by now
        now, brings_forward = self._clock(), False
        if status is not None:
            self.outcomes[KeepAliveOutcome.ANSWERED] += 1
            if pulse.keepalive.missed >= keepalive.MISSES:
                log.info("trunk %s: %s answers OPTIONS again", pulse.trunk_id, pulse.next_hop)
            pulse.keepalive = keepalive.answered(pulse.keepalive, status, now, pulse.interval_s)
        elif asked:
            self.outcomes[KeepAliveOutcome.UNANSWERED] += 1
            pulse.keepalive, brings_forward = keepalive.unanswered(
                pulse.keepalive, now, pulse.interval_s
            )
        else:
            pulse.keepalive = keepalive.skipped(pulse.keepalive, now, pulse.interval_s)
        self._queue.schedule(pulse, pulse.keepalive.next_at)
        if brings_forward:
            log.warning(
                "trunk %s: %s leaves OPTIONS unanswered: its refresh is brought forward",
                pulse.trunk_id,
                pulse.next_hop,
            )
            registrations.bring_forward(pulse.trunk_id)
