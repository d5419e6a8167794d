"""The rounds: each contestant in turn carries the same calls, and its CPU time is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.cpu import ProcessesChangedError, between_ns, used_ns
from bench.spread import in_turn
from testkit.process import Process, program
from testkit.sip import Address
from testkit.sipp import Load as Outcome


@dataclass(frozen=True, slots=True)
class Contestant:
    """A Kamailio that relays calls, started and ready, with whoever calls through it.

    *process* is what was started. Kamailio is that, or something below it. *make_calls* makes so
    many calls, so many a second.
    """

    key: str
    title: str
    process: Process
    edge: Address
    make_calls: Callable[[int, float], Outcome]

    def pids(self) -> tuple[list[int], list[int]]:
        """Return the Kamailio processes, all of them, and whatever runs beside them."""
        kamailio: list[int] = []
        beside: list[int] = []
        for pid in [self.process.pid, *self.process.descendants()]:
            (kamailio if program(pid) == "kamailio" else beside).append(pid)
        return kamailio, beside


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU time a call, in microseconds, user and system: of Kamailio, and of what is beside it."""

    kamailio_us: float
    beside_us: float


Round = dict[str, Reading]
"""Contestant's key → its reading."""


class InvalidError(Exception):
    """A reading that says nothing: calls failed, or processes came and went."""


@dataclass(frozen=True, slots=True)
class Load:
    """What each contestant carries in a round; *rate* is in calls a second."""

    calls: int
    rate: float


def read(contestant: Contestant, load: Load) -> Reading:
    """Let the contestant carry the load, and say what a call of it cost."""
    kamailio, beside = contestant.pids()
    before = used_ns(kamailio), used_ns(beside)
    outcome = contestant.make_calls(load.calls, load.rate)
    if (outcome.successful, outcome.failed) != (load.calls, 0):
        raise InvalidError(
            f"{contestant.title}: of {load.calls} calls {outcome.successful} went well, "
            f"{outcome.failed} failed; its log ends:\n{contestant.process.log[-600:]}"
        )
    try:
        kamailio, beside = contestant.pids()
        after = used_ns(kamailio), used_ns(beside)
        spent = [between_ns(*pair) for pair in zip(before, after, strict=True)]
    except ProcessesChangedError as error:
        raise InvalidError(f"{contestant.title}: {error}") from error
    return Reading(*(ns / 1e3 / load.calls for ns in spent))


def hold(
    contestants: Sequence[Contestant],
    rounds: int,
    load: Load,
    tell: Callable[[str], None],
) -> tuple[list[Round], list[str]]:
    """Hold the rounds; return the valid ones, and what was wrong with the others.

    A round with one reading missing is not used at all: ratios need both from the same round.
    """
    valid: list[Round] = []
    faults: list[str] = []
    for number in range(1, rounds + 1):
        try:
            readings = {c.key: read(c, load) for c in in_turn(contestants, number - 1)}
        except InvalidError as error:
            faults.append(f"round {number}: {error}")
            tell(f"round {number} of {rounds}: invalid")
            continue
        valid.append(readings)
        costs = ", ".join(f"{c.title} {readings[c.key].kamailio_us:.0f}" for c in contestants)
        tell(f"round {number} of {rounds}, µs a call: {costs}")
    return valid, faults
