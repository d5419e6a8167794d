"""Every waiting time of registration, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """The kind of a failure; it decides how long to wait."""

    WRONG_CREDENTIALS = "wrong_credentials"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits of `first_s`, twice that, and so on up to `limit_s`.

    Each is multiplied by a random share between `jitter` and 1.
    """

    first_s: float
    limit_s: float
    jitter: float

    def wait_s(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after `failures` failures in a row. `chance` is in [0, 1)."""
        doublings = min(failures - 1, 32)
        share = self.jitter + (1 - self.jitter) * chance
        return min(self.first_s * 2.0**doublings, self.limit_s) * share


@dataclass(frozen=True, slots=True)
class Waits:
    """Every waiting time of registration, each with its reason. Times are in seconds."""

    # Providers ban clients that repeat a wrong password. Only the operator can correct it.
    auth_failed: Backoff = Backoff(first_s=600, limit_s=86_400, jitter=1)
    # The limit of rejected answers within `auth_window_s`, at any sequence of failures.
    auth_rejections_limit: int = 3
    # The registrar rejects the account: unpaid, unknown, too early. More requests do not help.
    rejected: Backoff = Backoff(first_s=300, limit_s=3_600, jitter=1)
    # RFC 5626 4.5: random, so that not all trunks register at once after an outage.
    unreachable: Backoff = Backoff(first_s=30, limit_s=1_800, jitter=0.5)
    # Retry-After overrides these waits, up to one day.
    retry_after_limit_s: float = 86_400
    # A refresh begins at this share of the granted time, so several attempts fit before its end.
    refresh_from: float = 0.7
    refresh_to: float = 0.8

    def after(self, failure: Failure) -> Backoff:
        """Return the waits after failures of this kind."""
        return {
            Failure.WRONG_CREDENTIALS: self.auth_failed,
            Failure.REJECTED: self.rejected,
            Failure.UNREACHABLE: self.unreachable,
        }[failure]

    @property
    def auth_window_s(self) -> float:
        """The time in which credentials are rejected `auth_rejections_limit` times at most."""
        return 6 * self.auth_failed.first_s

    def may_send_credentials_at(self, rejections: Sequence[float]) -> float:
        """Return from when one more rejection keeps the limit. `rejections`: instants, sorted."""
        if len(rejections) < self.auth_rejections_limit:
            return 0.0
        return rejections[-self.auth_rejections_limit] + self.auth_window_s

    def refresh_s(self, granted_s: float, chance: float) -> float:
        """Return the seconds from the grant to its refresh. `chance` is in [0, 1)."""
        return granted_s * (self.refresh_from + (self.refresh_to - self.refresh_from) * chance)


WAITS = Waits()
"""The default waits."""
