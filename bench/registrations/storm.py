"""A registrar comes back after an outage in which all registrations lapsed: who knocks, and when.

An hour is shortened by settings: grants of seconds, and waits of seconds between retries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.registrations.contestants import WhenceRegisters, all_run
from bench.registrations.registrar import Registrar

LOOK_S = 0.1
WITHIN_S = 120.0
ATTEMPTS = 3
"""How often each trunk fails before the registrar comes back."""

SETTINGS: dict[str, object] = {"unreachable": [2, 8], "answer": 1}
EXPIRES_S = 15


@dataclass(frozen=True, slots=True)
class Storm:
    """Attempts that reached the registrar, second by second, from the instant it was back."""

    trunks: int
    rate: int
    """The limit: attempts a second."""
    failed: int
    """Attempts that failed during the outage."""
    attempts: list[int]

    @property
    def most(self) -> int:
        return max(self.attempts)

    @property
    def held(self) -> bool:
        """Whether no second had more than the limit allows, as exactly as was looked."""
        return self.most <= self.rate * (1 + LOOK_S)

    def told(self) -> str:
        """Say it for people."""
        seconds = " ".join(map(str, self.attempts))
        return (
            f"after an outage in which {self.trunks} trunks failed {self.failed} times and lapsed: "
            f"attempts a second {seconds}; most {self.most}, limit {self.rate}: "
            f"{'held' if self.held else 'not held'}"
        )


def weather(contestant: WhenceRegisters, registrar: Registrar, trunks: int, rate: int) -> Storm:
    """Let all trunks register, the registrar go, all of them fail and lapse, and it come back."""
    _until(contestant, lambda: registrar.count().registered >= trunks)
    contestant.settle()
    registrar.kill()
    _until(contestant, lambda: _outage_is_long(contestant, trunks))
    failed = contestant.failures()
    registrar.start()
    samples: list[tuple[float, int]] = []

    def look() -> bool:
        count = registrar.count()
        samples.append((time.monotonic(), count.challenged))
        return count.registered >= trunks

    _until(contestant, look)
    return Storm(trunks, rate, failed, by_second(samples))


def by_second(samples: Sequence[tuple[float, int]]) -> list[int]:
    """(instant, count so far) → how many in each second from the first instant on.

    What came between two looks is given to the second of the later one.
    """
    begun_at = samples[0][0]
    seconds = [0] * (int(samples[-1][0] - begun_at) + 1)
    seconds[0] += samples[0][1]
    for (_, before), (at, after) in pairwise(samples):
        seconds[int(at - begun_at)] += after - before
    return seconds


def _outage_is_long(contestant: WhenceRegisters, trunks: int) -> bool:
    granted = contestant.counted("whence_registrations_granted")
    return contestant.failures() >= ATTEMPTS * trunks and not any(granted.values())


def _until(contestant: WhenceRegisters, done: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WITHIN_S
    while not done():
        all_run(contestant)
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{contestant.title}: not within {WITHIN_S:.0f} s")
        time.sleep(LOOK_S)
