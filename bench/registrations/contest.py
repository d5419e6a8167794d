"""A contestant registers all accounts, and then keeps them registered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.cpu import used_ns
from bench.registrations import memory
from bench.registrations.contestants import Contestant, Task, all_run
from bench.registrations.registrar import Count, Registrar

LOOK_S = 0.02
SILENT_S = 30.0
"""Without progress for so long, the contestant has failed."""


@dataclass(frozen=True, slots=True)
class Phase:
    """The cost of a phase. CPU time is user and system, in µs a registration."""

    registrations: int
    seconds: float
    registers: int
    """REGISTERs at the registrar, with challenged ones and retransmissions."""
    challenged: int
    agent_us: float
    kamailio_us: float
    registrar_us: float

    @property
    def a_second(self) -> float:
        return self.registrations / self.seconds

    @property
    def sent_again(self) -> int:
        """REGISTERs besides each challenged and each granted one."""
        return self.registers - self.challenged - self.registrations


@dataclass(frozen=True, slots=True)
class Reading:
    """The cost of registering the trunks, and of keeping them registered."""

    trunks: int
    start_s: float
    """From the launch to the first REGISTER: reading the file, writing the directory."""
    start_us: float
    """CPU time of agent and Kamailio until the first REGISTER, in µs a trunk."""
    cold: Phase
    steady: Phase
    agent_bytes: int
    agent_peak_bytes: int
    kamailio_bytes: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Instant:
    """All counters at one instant."""

    at: float
    count: Count
    agent_ns: int
    kamailio_ns: int
    registrar_ns: int

    def since(self, before: _Instant) -> Phase:
        granted = self.count.granted - before.count.granted
        each_us = 1e3 * max(granted, 1)
        return Phase(
            registrations=granted,
            seconds=self.at - before.at,
            registers=self.count.seen - before.count.seen,
            challenged=self.count.challenged - before.count.challenged,
            agent_us=(self.agent_ns - before.agent_ns) / each_us,
            kamailio_us=(self.kamailio_ns - before.kamailio_ns) / each_us,
            registrar_us=(self.registrar_ns - before.registrar_ns) / each_us,
        )


class InvalidError(Exception):
    """Accounts were not registered, or expired."""


def read(contestant: Contestant, registrar: Registrar, task: Task) -> Reading:
    """Measure a contestant that was just launched."""
    launched_at = time.monotonic()

    def look(done: Callable[[Count], bool]) -> _Instant:
        """Wait until `done` is true of the registrar's count. Raises: InvalidError."""
        moved_at, before = time.monotonic(), registrar.count()
        while not done(count := registrar.count()):
            all_run(contestant)
            if count != before:
                moved_at, before = time.monotonic(), count
            elif time.monotonic() - moved_at > SILENT_S + task.expires_s:
                raise InvalidError(f"{contestant.title}: no progress at {count}")
            time.sleep(LOOK_S)
        pids = contestant.pids()  # this takes a while; the counters after it belong to one instant
        used = (used_ns(some) for some in (pids.agent, pids.kamailio, registrar.pids()))
        spent = [sum(one.values()) for one in used]
        return _Instant(time.monotonic(), registrar.count(), *spent)

    first = look(lambda count: count.seen > 0)
    cold = look(lambda count: count.registered >= task.trunks)
    contestant.settle()
    refreshing = look(lambda count: count.granted > cold.count.granted)
    steady = look(lambda count: count.granted >= refreshing.count.granted + task.trunks)
    pids = contestant.pids()
    expired = task.trunks - steady.count.registered
    return Reading(
        trunks=task.trunks,
        start_s=first.at - launched_at,
        start_us=(first.agent_ns + first.kamailio_ns) / 1e3 / task.trunks,
        cold=cold.since(first),
        steady=steady.since(refreshing),
        agent_bytes=sum(map(memory.resident, pids.agent)),
        agent_peak_bytes=sum(map(memory.peak, pids.agent)),
        kamailio_bytes=memory.together(pids.kamailio),
        failures=contestant.failures() + expired,
    )
