"""Trunks that failed lately: calls try them after the others, and later first again.

One user must not make a trunk fail for all. So a failure counts only if it concerns the trunk, and
not the number that was called. A trunk is never left out: it is tried last.
"""

from __future__ import annotations

from typing import NamedTuple

FIRST_S = 30.0
"""How long a trunk is tried after the others, after its first failure."""

LONGEST_S = 300.0
"""The same after many failures. The time doubles up to it."""

_DOUBLINGS = 4  # 30 s * 2^4 is more than the longest time


class Health(NamedTuple):
    """How a trunk's last calls ended: its failures without a success between, and their end."""

    failures: int = 0
    until: float = 0.0
    """Until when it is tried after the others, in seconds since the epoch."""

    def is_failing(self, now: float) -> bool:
        """Return whether it failed lately.

        An end further away than the longest time counts as past: the clock was set back.
        """
        return 0 < self.until - now <= LONGEST_S

    def failed(self, now: float) -> Health:
        """Return the health after one more failure.

        Calls that were under way when the trunk failed count as one failure.
        """
        if self.is_failing(now):
            return self
        pause_s = min(FIRST_S * 2 ** min(self.failures, _DOUBLINGS), LONGEST_S)
        return Health(self.failures + 1, now + pause_s)

    def to_text(self) -> str:
        """Write it as one text."""
        return f"{self.failures}:{self.until:.3f}"

    @classmethod
    def from_text(cls, text: str) -> Health:
        """Read what `to_text` wrote. Raises ValueError for anything else."""
        failures, _, until = text.partition(":")
        return cls(int(failures), float(until))


HEALTHY = Health()
