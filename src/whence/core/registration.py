"""The registration of one trunk, as a state machine: (state, event, now) -> (state, actions).

The rules it keeps:
- Never two requests in flight. Call-ID stays for life, CSeq only grows.
- An address is learned from a 2xx to our own REGISTER that lists our Contact; from nothing else.
- A failed refresh takes nothing away: what the registrar granted stands until it ends by itself.
- What we take back ourselves ends at once, before the registrar has heard of it.
- Never silent for ever: unless it is taken back, a registration has a request in flight or a
  `next_at`. And never hasty: after each failure it waits as `retry` says.

The shell carries the actions out in their order, after it has written the new state down; whatever
comes of them is the next event. It asks for a step at `next_at`. Randomness is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from whence.core.address import Source
from whence.core.digest import Challenge, Credentials, authorization, strongest
from whence.core.retry import BACKOFF, RETRY_AFTER_LIMIT_S, Failure, refresh_s
from whence.core.uri import Uri, host_text

MIN_EXPIRES_LIMIT_S = 7 * 86_400
"""The longest Min-Expires (423) that is adopted."""

CHALLENGES_LIMIT = 4
"""How many challenges one attempt answers: a first, and stale ones. A registrar cannot loop us."""


class State(StrEnum):
    """What is going on. Whether something is granted is another question: see `expires_at`."""

    NEW = "new"
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"
    PARKED = "parked"
    UNREGISTERING = "unregistering"
    UNREGISTERED = "unregistered"


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a request goes: a resolved address and a transport."""

    transport: str
    ip: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport}:{host_text(self.ip)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Account:
    """What the registrar knows us by, and what we ask of it."""

    aor: str
    """`sip:user@domain`"""
    contact: Uri
    """Ours, with the trunk's token as its user."""
    credentials: Credentials
    expires_s: int

    @property
    def request_uri(self) -> str:
        """`sip:domain`: a REGISTER names the domain, not the user (RFC 3261 10.2)."""
        return "sip:" + self.aor.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Contact:
    """One Contact of a 200, with its `expires` parameter in seconds where it has one."""

    uri: Uri
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A final answer to a REGISTER, as far as it matters."""

    status: int
    reason: str
    cseq: int
    contacts: tuple[Contact, ...] = ()
    expires_s: int | None = None
    min_expires_s: int | None = None
    retry_after_s: int | None = None
    challenges: tuple[Challenge, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A REGISTER in flight."""

    next_hop: NextHop
    expires_s: int
    """0 takes the registration back."""
    others: tuple[NextHop, ...] = ()
    """The targets that have not been tried in this attempt."""
    challenges: int = 0
    """How many challenges this attempt has answered."""
    lengthened: bool = False
    """Whether a 423 has been obeyed in this attempt. A second one is refused: no loop."""


@dataclass(frozen=True, slots=True)
class Nonce:
    """The challenge answered last, kept so that a refresh need not be challenged anew."""

    challenge: Challenge
    uses: int


@dataclass(frozen=True, slots=True)
class Registration:
    """Our standing at the registrar for one trunk. Instants are seconds since the epoch."""

    trunk_id: str
    call_id: str
    cseq: int = 0
    state: State = State.NEW
    since: float = 0.0
    """When `state` was entered."""
    wanted: bool = True
    """Whether we want it registered; the operator, or the end of the program, say otherwise."""
    granted_s: int | None = None
    expires_at: float | None = None
    """When what the registrar granted ends; None where nothing is granted."""
    next_at: float | None = 0.0
    """When the next REGISTER is due; None while one is in flight, or none is wanted."""
    registrar: Source | None = None
    """The address that granted last."""
    failures: int = 0
    """Failures of the same kind in a row."""
    failure: Failure | None = None
    last_status: int | None = None
    reason: str = ""
    in_flight: Request | None = None
    nonce: Nonce | None = None
    min_expires_s: int = 0

    def granted(self, now: float) -> bool:
        """Whether the registrar's grant still stands."""
        return self.expires_at is not None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Due:
    """`next_at` has come. `targets`: where the registrar is now, best first; may be empty."""

    targets: tuple[NextHop, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A final reply came, and the edge vouches for where it came from."""

    reply: Reply
    source: Source


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came, or the edge could not send."""

    reason: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """The registration is not wanted any more. `targets` as in Due."""

    targets: tuple[NextHop, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """The registration is wanted, now, whatever came before: an operator's change."""


Event = Due | Answered | Unanswered | TakeBack | Want


@dataclass(frozen=True, slots=True)
class Send:
    """Send a REGISTER. `authorization`: (header name, value)."""

    cseq: int
    next_hop: NextHop
    expires_s: int
    authorization: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Learn:
    """Calls may come from this address until the registration expires."""

    source: Source
    expires_at: float


@dataclass(frozen=True, slots=True)
class Forget:
    """All that was learned ends now."""


Action = Send | Learn | Forget
Outcome = tuple[Registration, tuple[Action, ...]]


@dataclass(frozen=True, slots=True)
class Dice:
    """Randomness for one step: `chance` in [0, 1), `cnonce` never used before."""

    chance: float
    cnonce: str


def step(
    registration: Registration, event: Event, now: float, account: Account, dice: Dice
) -> Outcome:
    """Take one event; return the new state and what is to be done, in this order."""
    turn = _Turn(registration, now, account, dice)
    match event:
        case Due(targets):
            return turn.due(targets)
        case Answered(reply, source):
            return turn.answered(reply, source)
        case Unanswered(reason):
            return turn.unanswered(reason)
        case TakeBack(targets):
            return turn.take_back(targets)
        case Want():
            return turn.want()


@dataclass(frozen=True, slots=True)
class _Turn:
    """One step: what it starts from, so that the rules below need no long argument lists."""

    before: Registration
    now: float
    account: Account
    dice: Dice

    def due(self, targets: Sequence[NextHop]) -> Outcome:
        r = self.before
        if not r.wanted or r.in_flight is not None:
            return r, ()
        if not targets:
            return self._failed(Failure.UNREACHABLE, "the registrar's name has no address")
        expires_s = max(self.account.expires_s, r.min_expires_s)
        first, *others = targets
        return self._send(r, Request(first, expires_s, tuple(others)), State.REGISTERING)

    def take_back(self, targets: Sequence[NextHop]) -> Outcome:
        r = replace(self.before, wanted=False)
        if r.in_flight is not None:
            # Its answer may still grant something; that is taken back when it comes.
            return replace(r, next_at=None, expires_at=None), (Forget(),)
        if not r.granted(self.now) or not targets:
            return self._ended(r, "taken back")
        r = replace(r, expires_at=None)
        request = Request(targets[0], 0, tuple(targets[1:]))
        r, sends = self._send(r, request, State.UNREGISTERING)
        return r, (Forget(), *sends)

    def want(self) -> Outcome:
        r = replace(self.before, wanted=True, failures=0, failure=None)
        return (r if r.in_flight is not None else replace(r, next_at=self.now)), ()

    def unanswered(self, reason: str) -> Outcome:
        request = self.before.in_flight
        if request is None:
            return self.before, ()
        return self._next_target(request, None, reason)

    def answered(self, reply: Reply, source: Source) -> Outcome:
        request = self.before.in_flight
        if request is None or reply.cseq != self.before.cseq:
            return self.before, ()  # late, or not to what we asked
        if request.expires_s == 0 and reply.status not in (401, 407):
            return self._ended(self.before, "taken back")
        said = f"{reply.status} {reply.reason}".strip()
        match reply.status:
            case status if 200 <= status < 300:
                return self._accepted(request, reply, source)
            case 401 | 407:
                return self._challenged(request, reply)
            case 423:
                return self._too_brief(request, reply)
            case status if status in (408, 430) or status >= 500:
                return self._next_target(request, reply, said)
            case _:
                return self._failed(Failure.REFUSED, said, reply)

    def _accepted(self, request: Request, reply: Reply, source: Source) -> Outcome:
        granted_s, fault = granted(reply, self.account, request.expires_s)
        if granted_s is None:
            return self._failed(Failure.REFUSED, fault, reply)
        expires_at = self.now + granted_s
        r = replace(
            self.before,
            in_flight=None,
            state=State.REGISTERED,
            since=self._since(State.REGISTERED),
            granted_s=granted_s,
            expires_at=expires_at,
            next_at=self.now + refresh_s(granted_s, self.dice.chance),
            registrar=source,
            failures=0,
            failure=None,
            last_status=reply.status,
            reason=f"granted {granted_s} s",
        )
        if not r.wanted:  # taken back while the answer was under way
            r = replace(r, expires_at=None)
            return self._send(r, Request(request.next_hop, 0), State.UNREGISTERING)
        return r, (Learn(source, expires_at),)

    def _challenged(self, request: Request, reply: Reply) -> Outcome:
        challenge = strongest(reply.challenges, self.account.credentials)
        if challenge is None:
            offered = ", ".join(f"{c.algorithm} for realm {c.realm}" for c in reply.challenges)
            reason = f"no challenge that can be answered ({offered or 'none was sent'})"
            return self._failed(Failure.WRONG_CREDENTIALS, reason, reply)
        if request.challenges and not challenge.stale:
            return self._failed(Failure.WRONG_CREDENTIALS, "wrong credentials", reply)
        if request.challenges >= CHALLENGES_LIMIT:
            return self._failed(Failure.REFUSED, "challenged again and again", reply)
        r = replace(self.before, nonce=Nonce(challenge, 0), last_status=reply.status)
        again = replace(request, challenges=request.challenges + 1)
        return self._send(r, again, r.state)

    def _too_brief(self, request: Request, reply: Reply) -> Outcome:
        asked, least = request.expires_s, reply.min_expires_s
        if least is None or request.lengthened or not asked < least <= MIN_EXPIRES_LIMIT_S:
            reason = f"423 with Min-Expires {least} to {asked} s asked"
            return self._failed(Failure.REFUSED, reason, reply)
        r = replace(self.before, min_expires_s=least, last_status=reply.status)
        return self._send(r, replace(request, expires_s=least, lengthened=True), r.state)

    def _next_target(self, request: Request, reply: Reply | None, reason: str) -> Outcome:
        if request.expires_s == 0 and not request.others:
            return self._ended(self.before, "taken back; the registrar did not answer")
        if request.others:
            first, *others = request.others
            tried = Request(first, request.expires_s, tuple(others))
            return self._send(self.before, tried, self.before.state)
        return self._failed(Failure.UNREACHABLE, reason, reply)

    def _failed(self, failure: Failure, reason: str, reply: Reply | None = None) -> Outcome:
        r = self.before
        if not r.wanted or (r.in_flight is not None and r.in_flight.expires_s == 0):
            return self._ended(r, f"taken back; {reason}")
        failures = r.failures + 1 if r.failure is failure else 1
        wait_s = BACKOFF[failure].wait_s(failures, self.dice.chance)
        parked = failure is Failure.WRONG_CREDENTIALS  # then no Retry-After makes us hammer
        if reply is not None and reply.retry_after_s is not None and not parked:
            wait_s = max(1.0, min(reply.retry_after_s, RETRY_AFTER_LIMIT_S))
        state = State.PARKED if parked else State.WAITING
        return replace(
            r,
            in_flight=None,
            nonce=None,
            state=state,
            since=self._since(state),
            next_at=self.now + wait_s,
            failures=failures,
            failure=failure,
            last_status=reply.status if reply else None,
            reason=reason,
        ), ()

    def _ended(self, r: Registration, reason: str) -> Outcome:
        r = replace(
            r,
            in_flight=None,
            nonce=None,
            state=State.UNREGISTERED,
            since=self._since(State.UNREGISTERED),
            granted_s=None,
            expires_at=None,
            next_at=self.now if r.wanted else None,
            reason=reason,
        )
        return r, (Forget(),)

    def _send(self, r: Registration, request: Request, state: State) -> Outcome:
        nonce = r.nonce and replace(r.nonce, uses=r.nonce.uses + 1)
        r = replace(
            r,
            cseq=r.cseq + 1,
            in_flight=request,
            next_at=None,
            nonce=nonce,
            state=state,
            since=self._since(state),
        )
        header = None
        if nonce is not None:
            name = "Proxy-Authorization" if nonce.challenge.proxy else "Authorization"
            header = (
                name,
                authorization(
                    nonce.challenge,
                    self.account.credentials,
                    "REGISTER",
                    self.account.request_uri,
                    nonce.uses,
                    self.dice.cnonce,
                ),
            )
        return r, (Send(r.cseq, request.next_hop, request.expires_s, header),)

    def _since(self, state: State) -> float:
        return self.before.since if self.before.state is state else self.now


def granted(reply: Reply, account: Account, asked_s: int) -> tuple[int | None, str]:
    """How long a 2xx grants us (RFC 3261 10.2.4), or None and why it is no registration.

    Our own Contact's `expires`, else the Expires header, else what was asked for. Registrars list
    all Contacts of the account; one that lists others and not ours has not registered us.
    """
    seconds = asked_s if reply.expires_s is None else reply.expires_s
    if reply.contacts:
        ours = _ours(reply.contacts, account.contact)
        if ours is None:
            return None, "the registrar lists other contacts, and not ours"
        if ours.expires_s is not None:
            seconds = ours.expires_s
    if seconds <= 0:
        return None, "the registrar granted no time"
    return seconds, ""


def _ours(contacts: Sequence[Contact], own: Uri) -> Contact | None:
    """Find our Contact: the same URI; else our token elsewhere, as NAT helpers rewrite it."""
    by_token = [contact for contact in contacts if contact.uri.user == own.user]
    exact = [c for c in by_token if (c.uri.host, c.uri.port) == (own.host, own.port)]
    return next(iter(exact or by_token), None)
