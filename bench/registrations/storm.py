"""A registrar comes back after an outage in which all registrations lapsed: who knocks, and when.

An hour is shortened by settings: grants of seconds, and waits of seconds between retries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.registrations.contestants import WhenceRegisters, all_run
from bench.registrations.registrar import Registrar
from whence.agent.registration.client import RETRANSMIT_S
from whence.core.registration.backoff import WAITS
from whence.core.registration.rate_limit import BURST_S

LOOK_S = 0.1
WITHIN_S = 120.0
ATTEMPTS = 3
"""How often each trunk fails before the registrar comes back."""

WAIT_S = 8.0
"""The longest wait between two attempts, which all have reached after so many failures."""
SETTINGS: dict[str, object] = {
    "response_timeout": 1,
    "backoff": {"unreachable": [WAIT_S / 4, WAIT_S]},
}
SPREAD_S = WAIT_S * WAITS.unreachable.jitter
"""Each trunk's next attempt comes at random within so long, though all had failed at once."""
EXPIRES_S = 15

LATE_S = RETRANSMIT_S + LOOK_S
"""Who began so long before the registrar was back is heard too: the REGISTER is sent again."""
CHANCE = 4.0
"""Standard deviations: more than so many above what is expected are no chance."""

Sample = tuple[float, int]
"""An instant, and how many attempts had reached the registrar until then."""


@dataclass(frozen=True, slots=True)
class Storm:
    """Attempts that reached the registrar, from the instant it was started again."""

    trunks: int
    rate: int
    """The limit: attempts a second."""
    failed: int
    """Attempts that failed during the outage."""
    attempts: list[int]
    """Second by second."""
    most: float
    """In any second, wherever it begins."""
    burst: float
    """How many more than the limit allows have come in any stretch of time, however long."""

    @property
    def burst_allowed(self) -> float:
        """What the pace lets begin at once, and those who are heard late."""
        return self.rate * (BURST_S + LATE_S)

    @property
    def most_allowed(self) -> float:
        """What comes in a second where all wait at random, and those who are heard late."""
        expected = self.trunks / SPREAD_S * (1 + LATE_S)
        return expected + CHANCE * math.sqrt(expected)

    @property
    def held(self) -> bool:
        """Whether the pace was kept, and whether the waits have spread the trunks."""
        return self.burst <= self.burst_allowed and self.most <= self.most_allowed

    def told(self) -> str:
        """Say it for people."""
        seconds = " ".join(map(str, self.attempts))
        return (
            f"after an outage in which {self.trunks} trunks failed {self.failed} times and lapsed: "
            f"attempts a second {seconds}; most in any second {self.most:.0f}, at random waits "
            f"{self.most_allowed:.0f}; above the limit of {self.rate} a second at most "
            f"{self.burst:.0f} at once, allowed {self.burst_allowed:.0f}: "
            f"{'held' if self.held else 'not held'}"
        )


def weather(contestant: WhenceRegisters, registrar: Registrar, trunks: int, rate: int) -> Storm:
    """Let all trunks register, the registrar go, all of them fail and lapse, and it come back."""
    _until(contestant, lambda: registrar.count().registered >= trunks)
    contestant.settle()
    registrar.kill()
    _until(contestant, lambda: _outage_is_long(contestant, trunks))
    failed = contestant.failures()
    samples: list[Sample] = [(time.monotonic(), 0)]
    registrar.start()

    def look() -> bool:
        count = registrar.count()
        samples.append((time.monotonic(), count.challenged))
        return count.registered >= trunks

    _until(contestant, look)
    return Storm(
        trunks, rate, failed, by_second(samples), most_in_a_second(samples), burst(samples, rate)
    )


def by_second(samples: Sequence[Sample]) -> list[int]:
    """How many came in each second from the first sample on.

    What came between two looks is given to the second of the later one.
    """
    begun_at = samples[0][0]
    seconds = [0] * (int(samples[-1][0] - begun_at) + 1)
    seconds[0] += samples[0][1]
    for (_, before), (at, after) in pairwise(samples):
        seconds[int(at - begun_at)] += after - before
    return seconds


def most_in_a_second(samples: Sequence[Sample]) -> float:
    """The most that came in any second: each stretch from one look to the first a second later."""
    found = 0.0
    for index, (begun_at, before) in enumerate(samples):
        later = ((at, count) for at, count in samples[index:] if at >= begun_at + 1)
        at, count = next(later, (begun_at + 1, samples[-1][1]))
        found = max(found, (count - before) / (at - begun_at))
    return found


def burst(samples: Sequence[Sample], rate: float) -> float:
    """How many came above the rate, over that stretch of the samples in which they were most.

    A limit that lets `n` begin at once allows `n` more than the rate in any stretch, be it a second
    or a minute: counting so, no second's boundary makes a difference.
    """
    found = least = 0.0
    for at, count in samples:
        above = count - rate * (at - samples[0][0])
        least = min(least, above)
        found = max(found, above - least)
    return found


def _outage_is_long(contestant: WhenceRegisters, trunks: int) -> bool:
    granted = contestant.counted("whence_registrations_active")
    return contestant.failures() >= ATTEMPTS * trunks and not any(granted.values())


def _until(contestant: WhenceRegisters, done: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WITHIN_S
    while not done():
        all_run(contestant)
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{contestant.title}: not within {WITHIN_S:.0f} s")
        time.sleep(LOOK_S)
