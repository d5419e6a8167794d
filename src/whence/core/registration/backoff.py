"""How long to wait after a failure: every waiting time of registration, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why an attempt came to nothing, as far as it decides how long to wait."""

    WRONG_CREDENTIALS = "wrong_credentials"
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


@dataclass(frozen=True, slots=True)
class Waits:
    """Every waiting time of registration, each with its reason. Times are in seconds."""

    # A provider bans who hammers it with a wrong password; only the operator can mend it.
    wrong_credentials: Backoff = Backoff(first_s=600, limit_s=86_400, jitter=1)
    # The registrar answered and said no: unpaid, unknown, too early. Asking often changes nothing.
    refused: Backoff = Backoff(first_s=300, limit_s=3_600, jitter=1)
    # RFC 5626 4.5: spread, so that an outage does not end in a storm.
    unreachable: Backoff = Backoff(first_s=30, limit_s=1_800, jitter=0.5)
    # Retry-After wins over the table, but no registrar silences a trunk for more than a day.
    retry_after_limit_s: float = 86_400
    # A refresh begins at this share of what was granted: several tries fit before it expires.
    refresh_from: float = 0.7
    refresh_to: float = 0.8

    def after(self, failure: Failure) -> Backoff:
        """Give the waits after failures of this kind."""
        return {
            Failure.WRONG_CREDENTIALS: self.wrong_credentials,
            Failure.REFUSED: self.refused,
            Failure.UNREACHABLE: self.unreachable,
        }[failure]

    def refresh_s(self, granted_s: float, chance: float) -> float:
        """Seconds from the grant to its refresh; `chance` is in [0, 1)."""
        return granted_s * (self.refresh_from + (self.refresh_to - self.refresh_from) * chance)


WAITS = Waits()
"""The waits where the operator says nothing."""
