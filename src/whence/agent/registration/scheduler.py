"""The scheduler of attempts to register and of the ends of grants.

One task sleeps until the earliest of both. The rate limit gives each attempt a slot; an attempt
with a later slot waits for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from whence.agent.registration.entry import Entry
from whence.agent.runtime.due_queue import DueQueue
from whence.agent.runtime.tasks import Tasks
from whence.core.registration.rate_limit import RequestLimiter

BEGUN_LIMIT = 4096
"""Attempts at once: those in flight (Kamailio keeps a transaction for each), and those that wait
for DNS."""

BEGUN_AT_REGISTRAR = BEGUN_LIMIT // 2
"""Attempts at one registrar at once; a dead one cannot use up all of BEGUN_LIMIT."""

FULL_S = 1.0
"""If the limit is reached, the scheduler tries again after this time."""

SWEEP_S = 60.0
"""How often ended addresses are removed from the directory."""


class ScheduledWork(Protocol):
    """The methods that the scheduler calls. Only `attempt` may wait; none may raise."""

    def attempt(self, entry: Entry) -> Awaitable[None]:
        """Register a trunk. The scheduler runs it in its own task."""

    def expire(self, entries: Sequence[Entry], now: float) -> Sequence[Entry]:
        """Store that grants have ended; return those trunks for which that failed."""

    def sweep(self, now: float) -> None:
        """Remove the addresses that have ended from the directory."""


class RegistrationScheduler:
    """Schedules all trunks. `run` it."""

    def __init__(
        self,
        tasks: Tasks,
        total: float,
        registrar: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Set the limits, in attempts per second. The attempts run in `tasks`."""
        self._tasks = tasks
        self._clock = clock
        self._limiter = RequestLimiter(total, registrar)
        self._attempts = DueQueue[Entry](clock)
        self._slots: dict[Entry, float] = {}
        """A trunk that waits for its slot → the `next_at` for which it has the slot."""
        self._ends = DueQueue[Entry](clock)
        self._begun = Counter[str]()
        """Registrar → attempts in progress at it."""
        self._begun_in_all = 0
        self._swept_at = 0.0

    @property
    def rate_limited(self) -> int:
        """The number of attempts that are due, and wait for a later slot."""
        return len(self._slots)

    def set_rates(self, total: float, registrar: float) -> None:
        """Set the limits, in attempts per second. Unchanged limits keep the given slots."""
        if (total, registrar) != (self._limiter.total, self._limiter.registrar):
            self._limiter = RequestLimiter(total, registrar)

    def slot(self, host: str, now: float) -> float:
        """Take the next slot at the registrar `host`; return its instant, `now` or later."""
        return self._limiter.slot(host, now)

    def schedule(self, entry: Entry) -> None:
        """Schedule the trunk at its `next_at`. A trunk that waits for its slot keeps it."""
        next_at = entry.registration.next_at
        if next_at is None or entry.leaving:
            self._slots.pop(entry, None)
            self._attempts.cancel(entry)
        elif self._slots.get(entry) != next_at:
            self._slots.pop(entry, None)
            self._attempts.schedule(entry, next_at)

    def watch(self, entry: Entry) -> None:
        """Check the trunk when its grant ends. One timer serves all later grants."""
        ends_at = entry.registration.expires_at
        if ends_at is None or entry.leaving:
            return
        checked_at = self._ends.at(entry)
        if checked_at is None or ends_at < checked_at:
            self._ends.schedule(entry, ends_at)
            if self._ends.next_at == ends_at:
                self._attempts.wake()

    def clock_stepped(self, entries: Iterable[Entry]) -> None:
        """Schedule all trunks again, whose instants have changed; slots begin anew."""
        self._limiter = RequestLimiter(self._limiter.total, self._limiter.registrar)
        self._swept_at = self._clock()
        for entry in entries:
            self._slots.pop(entry, None)
            self._attempts.cancel(entry)
            self._ends.cancel(entry)
            self.schedule(entry)
            self.watch(entry)
        self._attempts.wake()

    async def run(
        self, work: ScheduledWork, check_clock: Callable[[], None] = lambda: None
    ) -> None:
        """Call `work` when something is due, until cancelled. `check_clock` runs before."""
        self._swept_at = self._clock()
        while True:
            check_clock()
            now = self._clock()
            self._check_grants(now, work)
            for entry in self._attempts.due(now):
                self._begin(entry, now, work)
            if not 0 <= now - self._swept_at <= SWEEP_S:  # also after the clock was set back
                self._swept_at = now
                work.sweep(now)
            await self._attempts.wait(self._ends.next_at)

    def _check_grants(self, now: float, work: ScheduledWork) -> None:
        ended = []
        for entry in self._ends.due(now):
            if entry.registration.granted(now):
                self.watch(entry)
            elif entry.registration.expires_at is not None and not entry.leaving:
                ended.append(entry)
        if ended:
            for entry in work.expire(ended, now):
                self._ends.schedule(entry, now + SWEEP_S)

    def _begin(self, entry: Entry, now: float, work: ScheduledWork) -> None:
        """Begin an attempt that is due, or delay it to its slot or below the limits."""
        due_at = entry.registration.next_at
        has_slot = self._slots.pop(entry, None) is not None
        if due_at is None or not entry.is_due(now):
            self.schedule(entry)
            return
        host = entry.trunk.server.host
        slot = now if has_slot else self._limiter.slot(host, now)
        if slot <= now and self._is_full(host):
            slot = now + FULL_S
        if slot > now:
            self._slots[entry] = due_at
            self._attempts.schedule(entry, slot)
            return
        self._begun[host] += 1
        self._begun_in_all += 1
        self._tasks.start(self._attempt(entry, host, work))

    def _is_full(self, host: str) -> bool:
        """Return whether the limit of this registrar, or of all, is reached."""
        return self._begun[host] >= BEGUN_AT_REGISTRAR or self._begun_in_all >= BEGUN_LIMIT

    async def _attempt(self, entry: Entry, host: str, work: ScheduledWork) -> None:
        try:
            await work.attempt(entry)
        finally:
            self._begun_in_all -= 1
            self._begun[host] -= 1
            if not self._begun[host]:
                del self._begun[host]
