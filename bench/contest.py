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
    """A started Kamailio that relays calls, and its caller.

    *process*: the started process, which is Kamailio or its parent. *make_calls*: takes a number
    of calls, and calls a second.
    """

    key: str
    title: str
    process: Process
    edge: Address
    make_calls: Callable[[int, float], Outcome]

    def pids(self) -> tuple[list[int], list[int]]:
        """Return the pids of Kamailio, and of all other processes of the contestant."""
        kamailio: list[int] = []
        beside: list[int] = []
        for pid in [self.process.pid, *self.process.descendants()]:
            (kamailio if program(pid) == "kamailio" else beside).append(pid)
        return kamailio, beside


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU time of a call in µs, user and system: Kamailio's, and the other processes'."""

    kamailio_us: float
    beside_us: float


Round = dict[str, Reading]
"""Contestant's key → its reading."""


class InvalidError(Exception):
    """An invalid reading: calls failed, or processes started or ended."""


@dataclass(frozen=True, slots=True)
class Load:
    """The calls of a round for each contestant. *rate*: calls a second."""

    calls: int
    rate: float


def read(contestant: Contestant, load: Load) -> Reading:
    """Let the contestant carry the load, and return the CPU time of a call."""
    kamailio, beside = contestant.pids()
    before = used_ns(kamailio), used_ns(beside)
    outcome = contestant.make_calls(load.calls, load.rate)
    if (outcome.successful, outcome.failed) != (load.calls, 0):
        raise InvalidError(
            f"{contestant.title}: of {load.calls} calls {outcome.successful} succeeded, "
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
    show: Callable[[str], None],
) -> tuple[list[Round], list[str]]:
    """Run the rounds; return the valid ones, and the faults of the others.

    A round with a missing reading is dropped: a ratio needs both readings of one round.
    """
    valid: list[Round] = []
    faults: list[str] = []
    for number in range(1, rounds + 1):
        try:
            readings = {c.key: read(c, load) for c in in_turn(contestants, number - 1)}
        except InvalidError as error:
            faults.append(f"round {number}: {error}")
            show(f"round {number} of {rounds}: invalid")
            continue
        valid.append(readings)
        costs = ", ".join(f"{c.title} {readings[c.key].kamailio_us:.0f}" for c in contestants)
        show(f"round {number} of {rounds}, µs a call: {costs}")
    return valid, faults
