"""What happens to a registration, and what is to be done."""

from __future__ import annotations

from dataclasses import dataclass, replace

from whence.core.registration.learning import NOBODY_ELSE, ExpectedSources, Ground
from whence.core.registration.model import Registration, Reply
from whence.core.registration.reason import NO_ANSWER, Why
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Due:
    """`next_at` has come. `targets`: where the registrar is now, best first; else `why` nowhere."""

    targets: tuple[TransportAddress, ...]
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A final reply came, and the edge vouches for where it came from.

    `expected`: from where it may teach an address, besides the ip that was asked.
    """

    reply: Reply
    source: TransportAddress
    expected: ExpectedSources = NOBODY_ELSE


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came, or the edge could not send."""

    why: Why = NO_ANSWER


@dataclass(frozen=True, slots=True)
class Redirected:
    """A 3xx was followed: `targets` are where its Contact is now; may be empty."""

    targets: tuple[TransportAddress, ...]


@dataclass(frozen=True, slots=True)
class Unregister:
    """The registration is not wanted any more. `targets` as in Due; None where they are not looked
    up yet: all that was learned ends at once, and the registrar hears of it when it is said again.

    `suspended`: because the operator said so; it stays so until he wants it again, restarts or not.
    """

    targets: tuple[TransportAddress, ...] | None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The operator wants no more REGISTERs for now; what is granted stands until it ends."""


@dataclass(frozen=True, slots=True)
class RegisterNow:
    """The registration is wanted, now, whatever came before: an operator's change."""


@dataclass(frozen=True, slots=True)
class KeepAliveFailed:
    """The server that granted leaves keep-alives unanswered: its refresh is due now."""


@dataclass(frozen=True, slots=True)
class Expired:
    """`expires_at` has come: where no refresh came first, nothing is granted any more."""


MachineEvent = (
    Due
    | Answered
    | Unanswered
    | Redirected
    | Unregister
    | Pause
    | RegisterNow
    | KeepAliveFailed
    | Expired
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a REGISTER. `authorizations`: (header name, value) of each."""

    cseq: int
    next_hop: TransportAddress
    expires_s: int
    authorizations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Follow:
    """Find out where `to` is, and come back with Redirected."""

    to: Uri


@dataclass(frozen=True, slots=True)
class Learn:
    """Calls may come from this address until the registration expires.

    `until`: no longer than this instant, grace or not. `exact`: from this port alone.
    """

    source: TransportAddress
    expires_at: float
    ground: Ground = Ground.ASKED
    until: float | None = None
    exact: bool = False

    def with_grace(self, grace_s: float) -> Learn:
        """Return the same with `grace_s` more, for calls in flight."""
        expires_at = self.expires_at + grace_s
        return replace(
            self, expires_at=expires_at if self.until is None else min(expires_at, self.until)
        )


@dataclass(frozen=True, slots=True)
class IgnoreReply:
    """A reply came from `source`, which was not `asked`: nothing is learned, and it is told."""

    source: TransportAddress
    asked: str


@dataclass(frozen=True, slots=True)
class ForgetAddresses:
    """All that was learned ends now."""


Action = Send | Follow | Learn | IgnoreReply | ForgetAddresses


StepResult = tuple[Registration, tuple[Action, ...]]


@dataclass(frozen=True, slots=True)
class Randomness:
    """Randomness for one step: `chance` in [0, 1), `cnonce` never used before."""

    chance: float
    cnonce: str
