"""Keep-alives: OPTIONS to the servers that granted, for the trunks that want them.

It watches the registrations: a trunk that is registered is asked about in its interval, one that is
not is left alone, and so is one whose refresh is under way. Each OPTIONS is a task of its own, so
that a silent server holds up nobody.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Protocol

from whence.agent.runtime.tasks import Tasks
from whence.core.registration import keepalive
from whence.core.registration.keepalive import KeepAlive, KeepAliveTarget, OptionsReply
from whence.core.registration.model import NextHop, Registration
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

    async def expects(self, trunk_id: str, asked: NextHop, source: TransportAddress) -> bool:
        """Whether an answer from `source` is one of the server that was asked."""

    def bring_forward(self, trunk_id: str) -> None:
        """Its server answers no more: its refresh is due now."""


@dataclass(slots=True, eq=False)
class _Pulse:
    trunk_id: str
    interval_s: float
    server: NextHop
    keepalive: KeepAlive


class KeepAliveService:
    """All keep-alives. `run` it; it is a watcher of the registrations."""

    def __init__(
        self,
        client: OptionsClient,
        registrations: KeepAliveRegistrations,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._registrations = registrations
        self._clock = clock
        self._pulses: dict[str, _Pulse] = {}
        self._due: list[tuple[float, int, _Pulse]] = []
        self._ties = count()
        self._wake = asyncio.Event()
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
        server = registration.home
        if not trunk.keepalive_s or server is None or registration.expires_at is None:
            self.gone(trunk.id)
            return
        pulse = self._pulses.get(trunk.id)
        if pulse is not None and (pulse.server, pulse.interval_s) == (server, trunk.keepalive_s):
            return
        begun = keepalive.first(self._clock(), trunk.keepalive_s, random.random())  # noqa: S311
        self._pulses[trunk.id] = pulse = _Pulse(trunk.id, trunk.keepalive_s, server, begun)
        self._schedule(pulse)

    def gone(self, trunk_id: str) -> None:
        """End with a trunk."""
        self._pulses.pop(trunk_id, None)

    def _schedule(self, pulse: _Pulse) -> None:
        heapq.heappush(self._due, (pulse.keepalive.next_at, next(self._ties), pulse))
        self._wake.set()

    # The work.

    async def run(self) -> None:
        """Ask whoever is due until cancelled."""
        while True:
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                _, _, pulse = heapq.heappop(self._due)
                if self._pulses.get(pulse.trunk_id) is pulse:
                    await self._places.acquire()
                    self._tasks.start(self._ask(pulse))
            wait_s = self._due[0][0] - now if self._due else None
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _ask(self, pulse: _Pulse) -> None:
        try:
            await self._ask_now(pulse)
        finally:
            self._places.release()

    async def _ask_now(self, pulse: _Pulse) -> None:
        way = self._registrations.way(pulse.trunk_id)
        if way is None:  # it is being refreshed: that tells more
            status, asked = None, False
        else:
            within_s = min(ANSWER_S, pulse.interval_s)
            pong, asked = await self._client.keep_alive(way, within_s), True
            # Others may answer in its place, to hide that it is silent.
            place = (pulse.trunk_id, way.next_hop)
            counts = pong and await self._registrations.expects(*place, pong.source)
            status = pong.status if pong and counts else None
        if self._pulses.get(pulse.trunk_id) is not pulse:
            return  # it is another server's affair by now
        now, brings_forward = self._clock(), False
        if status is not None:
            self.outcomes[KeepAliveOutcome.ANSWERED] += 1
            if pulse.keepalive.missed >= keepalive.MISSES:
                log.info("trunk %s: %s answers OPTIONS again", pulse.trunk_id, pulse.server)
            pulse.keepalive = keepalive.answered(pulse.keepalive, status, now, pulse.interval_s)
        elif asked:
            self.outcomes[KeepAliveOutcome.UNANSWERED] += 1
            pulse.keepalive, brings_forward = keepalive.unanswered(
                pulse.keepalive, now, pulse.interval_s
            )
        else:
            pulse.keepalive = keepalive.skipped(pulse.keepalive, now, pulse.interval_s)
        self._schedule(pulse)
        if brings_forward:
            log.warning(
                "trunk %s: %s leaves OPTIONS unanswered: its refresh is brought forward",
                pulse.trunk_id,
                pulse.server,
            )
            self._registrations.bring_forward(pulse.trunk_id)
