"""The events and the actions of the registration state machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from whence.core.registration.learning import ASKED_ONLY, ExpectedSources, Ground
from whence.core.registration.model import Registration, Reply
from whence.core.registration.reason import NO_ANSWER, Why
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Due:
    """`next_at` is reached. `targets`: the registrar's addresses, best first; else `why` none."""

    targets: tuple[TransportAddress, ...]
    why: Why | None = None


class Answered(NamedTuple):
    """A final reply was received. The edge's MAC proves its `source`.

    `expected`: the sources from which an address may be learned, besides the ip that was asked.
    `seen_at`: where the server saw our REGISTER; None if the reply does not say it.
    """

    reply: Reply
    source: TransportAddress
    expected: ExpectedSources = ASKED_ONLY
    seen_at: TransportAddress | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer was received, or the edge could not send."""

    why: Why = NO_ANSWER


@dataclass(frozen=True, slots=True)
class Redirected:
    """The Contacts of a 3xx were looked up. `targets`: in the order of trial; else `why` none."""

    targets: tuple[TransportAddress, ...]
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Unregister:
    """The registration must end. All learned addresses end at once.

    `targets`: as in Due. With None nothing is sent: another Unregister with targets follows.
    `suspended`: by the operator; a restart does not change that.
    """

    targets: tuple[TransportAddress, ...] | None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The operator pauses the trunk: no more REGISTERs. The grant stays valid until its end."""


@dataclass(frozen=True, slots=True)
class RegisterNow:
    """The operator, or new settings, request a registration at once, in any state."""


@dataclass(frozen=True, slots=True)
class KeepAliveFailed:
    """The server that granted does not answer keep-alives: the refresh is due now."""


@dataclass(frozen=True, slots=True)
class Expired:
    """`expires_at` is reached: without a refresh the grant has ended."""


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The system clock was set by `step_s`: all instants move with it, and the refresh is due."""

    step_s: float


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
    | ClockStepped
)


class Send(NamedTuple):
    """Send a REGISTER. `authorizations`: (header name, value) of each."""

    cseq: int
    next_hop: TransportAddress
    expires_s: int
    authorizations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Follow:
    """Look up the addresses of the Contacts `to`, in this order; the next event is Redirected."""

    to: tuple[Uri, ...]


class Learn(NamedTuple):
    """Store this address as the trunk's until the registration expires.

    `until`: no longer than this instant, even with grace. `exact`: from this port only.
    """

    source: TransportAddress
    expires_at: float
    ground: Ground = Ground.ASKED
    until: float | None = None
    exact: bool = False

    def with_grace(self, grace_s: float) -> Learn:
        """Return the same action with `grace_s` more, for calls on their way."""
        expires_at = self.expires_at + grace_s
        return self._replace(
            expires_at=expires_at if self.until is None else min(expires_at, self.until)
        )


@dataclass(frozen=True, slots=True)
class IgnoreReply:
    """Learn nothing from a reply: its `source` was not `asked`. The history records it."""

    source: TransportAddress
    asked: str


@dataclass(frozen=True, slots=True)
class ForgetAddresses:
    """End all learned addresses now."""


Action = Send | Follow | Learn | IgnoreReply | ForgetAddresses


StepResult = tuple[Registration, tuple[Action, ...]]


@dataclass(frozen=True, slots=True)
class Randomness:
    """Random values for one step: `chance` in [0, 1), a `cnonce` that was never used before."""

    chance: float
    cnonce: str
