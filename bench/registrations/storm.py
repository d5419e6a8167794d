"""The attempts after an outage of a registrar in which all registrations expired.

The settings shorten an hour: grants and waits between retries have seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.registrations.contestants import WhenceRegisters, all_run
from bench.registrations.registrar import Registrar
from whence.agent.registration.exchanges import RETRANSMIT_S
from whence.core.registration.backoff import WAITS
from whence.core.registration.rate_limit import BURST_S

LOOK_S = 0.1
WITHIN_S = 120.0
ATTEMPTS = 3
"""Failures of each trunk before the registrar comes back."""

WAIT_S = 8.0
"""The longest wait between two attempts; all trunks reach it after `ATTEMPTS` failures."""
SETTINGS: dict[str, object] = {
    "response_timeout": 1,
    "backoff": {"unreachable": [WAIT_S / 4, WAIT_S]},
}
SPREAD_S = WAIT_S * WAITS.unreachable.jitter
"""Each trunk's next attempt is at a random instant of this period, even if all failed at once."""
EXPIRES_S = 15

LATE_S = RETRANSMIT_S + LOOK_S
"""An attempt that began so long before the registrar's return reaches it by a retransmission."""
CHANCE = 4.0
"""Standard deviations above the expected number that chance does not explain."""

Sample = tuple[float, int]
"""An instant, and the number of attempts that had reached the registrar until then."""


@dataclass(frozen=True, slots=True)
class Storm:
    """The attempts that reached the registrar after its restart."""

    trunks: int
    rate: int
    """The rate limit: attempts a second."""
    failed: int
    """Attempts that failed during the outage."""
    attempts: list[int]
    """Second by second."""
    most: float
    """The most attempts in any second, wherever it begins."""
    burst: float
    """By how many the attempts exceeded the limit, in the worst period."""

    @property
    def burst_allowed(self) -> float:
        """The burst that the rate limit allows, with late attempts."""
        return self.rate * (BURST_S + LATE_S)

    @property
    def most_allowed(self) -> float:
        """The attempts in a second if all trunks wait at random, with late attempts."""
        expected = self.trunks / SPREAD_S * (1 + LATE_S)
        return expected + CHANCE * math.sqrt(expected)

    @property
    def met(self) -> bool:
        """Whether the rate limit was kept, and whether the waits spread the trunks."""
        return self.burst <= self.burst_allowed and self.most <= self.most_allowed

    def sentence(self) -> str:
        """Return the sentence for the report."""
        seconds = " ".join(map(str, self.attempts))
        return (
            f"outage: {self.trunks} trunks expired and failed {self.failed} times; "
            f"attempts a second {seconds}; most in any second {self.most:.0f}, at random waits "
            f"{self.most_allowed:.0f}; above the limit of {self.rate} a second at most "
            f"{self.burst:.0f} at once, allowed {self.burst_allowed:.0f}: "
            f"{'met' if self.met else 'not met'}"
        )


def run_outage(contestant: WhenceRegisters, registrar: Registrar, trunks: int, rate: int) -> Storm:
    """Let all trunks register, kill the registrar until all have expired, and restart it."""
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
    """Return the attempts in each second from the first sample on.

    Attempts between two samples count in the second of the later one.
    """
    begun_at = samples[0][0]
    seconds = [0] * (int(samples[-1][0] - begun_at) + 1)
    seconds[0] += samples[0][1]
    for (_, before), (at, after) in pairwise(samples):
        seconds[int(at - begun_at)] += after - before
    return seconds


def most_in_a_second(samples: Sequence[Sample]) -> float:
    """Return the most attempts in a second, from each sample to the first one a second later."""
    found = 0.0
    for index, (begun_at, before) in enumerate(samples):
        later = ((at, count) for at, count in samples[index:] if at >= begun_at + 1)
        at, count = next(later, (begun_at + 1, samples[-1][1]))
        found = max(found, (count - before) / (at - begun_at))
    return found


def burst(samples: Sequence[Sample], rate: float) -> float:
    """Return by how many the attempts exceeded the rate, in the worst period.

    A limit with a burst of `n` allows `n` more than the rate in any period, short or long. So the
    boundaries of seconds make no difference.
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
