"""The registration of one trunk, as a state machine: (state, fact, now) -> (state, actions).

The rules it keeps:
- Never two requests in flight. Call-ID stays for life, CSeq only grows.
- An address is learned from a 2xx to our own REGISTER that lists our Contact, and only from whom
  was asked (learning.py); from nothing else. A 2xx from elsewhere counts as registered, and
  changes nothing of what was learned: neither its end nor the server that granted it.
- Only whom was asked redirects us.
- A failed refresh takes nothing away: what the registrar granted stands until it ends by itself.
- What we unregister ourselves ends at once, before the registrar has heard of it.
- Never silent for ever: unless it is unregistered, a registration has a request in flight or a
  `next_at`. And never hasty: after each failure it waits as `retry` says.

The shell carries the actions out in their order, after it has written the new state down; whatever
comes of them is the next fact. It asks for a step at `next_at`. Randomness is handed in.

Here are the step itself, and what the clock and the operator do; answers.py has what an answer
does, outcomes.py how an attempt goes on or ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whence.core.registration.answers import answered, redirected, unanswered
from whence.core.registration.backoff import WAITS, Failure, Waits
from whence.core.registration.events import (
    Answered,
    Due,
    Expired,
    ForgetAddresses,
    KeepAliveFailed,
    MachineEvent,
    Pause,
    Randomness,
    Redirected,
    RegisterNow,
    StepResult,
    Unanswered,
    Unregister,
)
from whence.core.registration.model import (
    Account,
    PendingRegister,
    Registration,
    State,
)
from whence.core.registration.outcomes import Step, unconfirmed
from whence.core.registration.reason import UNREGISTERED, RegistrationReason, Why
from whence.core.sip.transport_address import TransportAddress

_NOWHERE = Why(RegistrationReason.NO_ADDRESS, "no address of the registrar is known")


def step(
    registration: Registration,
    fact: MachineEvent,
    now: float,
    account: Account,
    dice: Randomness,
    waits: Waits = WAITS,
) -> StepResult:
    """Take one fact; return the new state and what is to be done, in this order."""
    at = Step(registration, now, account, dice, waits)
    match fact:
        case Due(targets, why):
            return _due(at, targets, why)
        case Answered(reply, source, expected):
            return answered(at, reply, source, expected)
        case Unanswered(why):
            return unanswered(at, why)
        case Redirected(targets):
            return redirected(at, targets)
        case Unregister(targets, suspended):
            return _unregister(at, targets, suspended)
        case Pause():
            return _pause(at)
        case RegisterNow():
            return _register_now(at)
        case KeepAliveFailed():
            return _keepalive_failed(at)
        case Expired():
            return _expired(at)


def resumed(registration: Registration, now: float, waits: Waits = WAITS) -> Registration:
    """Make of what was written down what is true after a restart.

    What is granted is not asked for again before its time. A request that was in flight is lost,
    and so is what the end of the program took back: both are asked for anew, at once; after a
    failure not before its wait is over, however often we are started. What came of the lost request
    nobody knows: it counts as one more such failure. What the operator
    suspended stays so; where a request was under way for it, it is to be unregistered anew.
    """
    r = replace(registration, wanted=not registration.suspended)
    if r.suspended or r.next_at is not None:
        return r
    if r.failure is None:
        return replace(r, state=State.NEW, next_at=now)
    failures = r.failures + r.state.under_way
    waits_until = r.since + waits.after(r.failure).wait_s(failures, 0.0)
    state = State.AUTH_FAILED if r.failure is Failure.WRONG_CREDENTIALS else State.WAITING
    return replace(r, state=state, failures=failures, next_at=max(now, waits_until))


def _due(at: Step, targets: Sequence[TransportAddress], why: Why | None) -> StepResult:
    r = at.before
    if not r.wanted or r.in_flight is not None:
        return r, ()
    hops = _hops(at, targets)
    if not hops:
        return at.fail(Failure.UNREACHABLE, why or _NOWHERE)
    expires_s = max(at.account.expires_s, r.min_expires_s)
    first, *others = hops
    return at.send(r, PendingRegister(first, expires_s, tuple(others)), State.REGISTERING)


def _unregister(
    at: Step, targets: Sequence[TransportAddress] | None, suspended: bool
) -> StepResult:
    r = replace(at.before, wanted=False, suspended=suspended or at.before.suspended)
    if r.in_flight is not None:
        # What was granted before, or is granted by its answer, is unregistered when it comes.
        return replace(r, next_at=None, again=False, learned_until=None), (ForgetAddresses(),)
    if not r.granted(at.now) and not r.learned(at.now):
        return at.end(r, UNREGISTERED)
    if targets is None:
        state = State.UNREGISTERING
        r = replace(r, next_at=None, state=state, since=at.since(state), learned_until=None)
        return r, (ForgetAddresses(),)
    hops = _hops(at, targets)
    if not hops:
        return at.end(r, unconfirmed("no server of the registrar is known"))
    r = replace(r, expires_at=None, learned_until=None)
    first, *others = hops
    request = PendingRegister(first, 0, tuple(others))
    r, sends = at.send(r, request, State.UNREGISTERING)
    return r, (ForgetAddresses(), *sends)


def _hops(at: Step, targets: Sequence[TransportAddress]) -> Sequence[TransportAddress]:
    """Whom to ask, in order. Stay with the server that granted, also where the name does not
    say it any more; where nobody answers for the name, only while its grant stands. After it
    has failed, it is one among the others.
    """
    home = at.before.home
    if home is None or not (targets or at.before.granted(at.now)):
        return targets
    if at.before.failure is not Failure.UNREACHABLE:
        return [home, *(target for target in targets if target != home)]
    return targets if home in targets else [*targets, home]


def _pause(at: Step) -> StepResult:
    r = at.before
    if r.in_flight is not None:  # it will be told again when that is answered
        return r, ()
    return replace(
        r,
        wanted=False,
        suspended=True,
        state=State.PAUSED,
        since=at.since(State.PAUSED),
        next_at=None,
        reason=RegistrationReason.PAUSED_BY_OPERATOR,
        message="paused by the operator",
    ), ()


def _register_now(at: Step) -> StepResult:
    r = replace(at.before, wanted=True, suspended=False, failures=0, failure=None)
    if r.in_flight is not None:
        return replace(r, again=True), ()
    return replace(r, next_at=at.now), ()


def _keepalive_failed(at: Step) -> StepResult:
    r = at.before
    if r.state is not State.REGISTERED or r.next_at is None:
        return r, ()
    return replace(r, next_at=min(r.next_at, at.now)), ()


def _expired(at: Step) -> StepResult:
    r = at.before
    if r.expires_at is None or r.granted(at.now):
        return r, ()
    return replace(r, expires_at=None), ()
