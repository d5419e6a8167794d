"""How long to wait after a failure: every waiting time of registration, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why an attempt came to nothing, as far as it decides how long to wait."""

    WRONG_CREDENTIALS = "wrong credentials"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait `first_s`, twice that, and so on up to `limit_s`; each wait times a random share.

    The share lies between `jitter` and 1.
    """

    first_s: float
    limit_s: float
    jitter: float

    def wait_s(self, failures: int, chance: float) -> float:
        """Seconds to wait after the `failures`-th failure in a row; `chance` is in [0, 1)."""
        doublings = min(failures - 1, 32)
        share = self.jitter + (1 - self.jitter) * chance
        return min(self.first_s * 2.0**doublings, self.limit_s) * share


BACKOFF = {
    # A provider bans who hammers it with a wrong password; only the operator can mend it.
    Failure.WRONG_CREDENTIALS: Backoff(first_s=600, limit_s=86_400, jitter=1),
    # The registrar answered and said no: unpaid, unknown, too early. Asking often changes nothing.
    Failure.REFUSED: Backoff(first_s=300, limit_s=3_600, jitter=1),
    # RFC 5626 4.5: spread, so that an outage does not end in a storm.
    Failure.UNREACHABLE: Backoff(first_s=30, limit_s=1_800, jitter=0.5),
}

RETRY_AFTER_LIMIT_S = 86_400
"""Retry-After wins over the table, but no registrar silences a trunk for more than a day."""

REFRESH_FROM, REFRESH_TO = 0.7, 0.8
"""A refresh begins at this share of what was granted: several tries fit before it lapses."""


def refresh_s(granted_s: float, chance: float) -> float:
    """Seconds from the grant to its refresh; `chance` is in [0, 1)."""
    return granted_s * (REFRESH_FROM + (REFRESH_TO - REFRESH_FROM) * chance)
