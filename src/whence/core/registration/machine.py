"""The registration of one trunk, as a state machine: (state, event, now) -> (state, actions).

Its rules:
- At most one request is in flight. The Call-ID never changes, the CSeq only grows.
- An address is learned only from a 2xx to our own REGISTER. It must list our Contact and come from
  an expected source (learning.py).
- A 2xx from an unexpected source counts as registered. It changes neither the end of the learned
  address nor the server that granted it.
- Only a 3xx from an expected source is followed.
- A failed refresh ends nothing: the grant stays valid until its own end.
- An unregistered trunk loses its addresses at once, before the registrar answers.
- A wanted registration always has a request in flight or a `next_at`. After each failure it waits
  (backoff.py).

The caller stores the new state first, then executes the actions in their order. The result of an
action is the next event. The caller sends Due at `next_at`, and passes the random values.

This file has the step, and the events of the clock and the operator. The answers are in
`answers.py`. The ways in which an attempt continues or ends are in `outcomes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from whence.core.registration.answers import answered, redirected, unanswered
from whence.core.registration.backoff import WAITS, Failure, Waits
from whence.core.registration.events import (
    Answered,
    ClockStepped,
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
    event: MachineEvent,
    now: float,
    account: Account,
    dice: Randomness,
    waits: Waits = WAITS,
) -> StepResult:
    """Handle one event; return the new state, and the actions in their order."""
    at = Step(registration, now, account, dice, waits)
    match event:
        case Due(targets, why):
            return _due(at, targets, why)
        case Answered(reply, source, expected):
            return answered(at, reply, source, expected)
        case Unanswered(why):
            return unanswered(at, why)
        case Redirected(targets, why):
            return redirected(at, targets, why)
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
        case ClockStepped(step_s):
            return _clock_stepped(at, step_s)


def resumed(registration: Registration, now: float, waits: Waits = WAITS) -> Registration:
    """Return the stored registration as it is after a restart of the agent.

    - A valid grant is refreshed at its `next_at`, not before.
    - A request that was in flight is lost; the result is unknown. It is sent again at once.
    - The same holds for a trunk that the agent unregistered when it stopped.
    - After a failure the wait continues, even if the agent starts again. The lost request counts as
      one more failure of that kind.
    - A suspended trunk stays suspended. If its unregistering was in flight, it is sent again.
    """
    r = registration._replace(wanted=not registration.suspended)
    if r.suspended or r.next_at is not None:
        return r
    if r.failure is None:
        return r._replace(state=State.NEW, next_at=now)
    failures = r.failures + r.state.under_way
    waits_until = r.since + waits.after(r.failure).wait_s(failures, 0.0)
    state = State.AUTH_FAILED if r.failure is Failure.WRONG_CREDENTIALS else State.WAITING
    next_at = max(now, waits_until, waits.may_send_credentials_at(r.auth_rejections))
    return r._replace(state=state, failures=failures, next_at=next_at)


def _due(at: Step, targets: Sequence[TransportAddress], why: Why | None) -> StepResult:
    r = at.before
    if not r.wanted or r.in_flight is not None:
        return r, ()
    hops = _hops(at, targets)
    if not hops:
        return at.fail(Failure.UNREACHABLE, why or _NOWHERE)
    expires_s = max(at.account.expires_s, r.min_expires_s)
    first, *others = hops
    request = PendingRegister(first, expires_s, tuple(others), tried=frozenset({first}))
    return at.send(r, request, State.REGISTERING)


def _unregister(
    at: Step, targets: Sequence[TransportAddress] | None, suspended: bool
) -> StepResult:
    r = at.before._replace(wanted=False, suspended=suspended or at.before.suspended)
    if r.in_flight is not None:
        # What was granted before, or is granted by its answer, is unregistered when it comes.
        return r._replace(next_at=None, again=False, learned_until=None), (ForgetAddresses(),)
    if not r.granted(at.now) and not r.learned(at.now):
        return at.end(r, UNREGISTERED)
    if targets is None:
        state = State.UNREGISTERING
        r = r._replace(next_at=None, state=state, since=at.since(state), learned_until=None)
        return r, (ForgetAddresses(),)
    hops = _hops(at, targets)
    if not hops:
        return at.end(r, unconfirmed("no server of the registrar is known"))
    r = r._replace(expires_at=None, learned_until=None)
    first, *others = hops
    request = PendingRegister(first, 0, tuple(others), tried=frozenset({first}))
    r, sends = at.send(r, request, State.UNREGISTERING)
    return r, (ForgetAddresses(), *sends)


def _hops(at: Step, targets: Sequence[TransportAddress]) -> Sequence[TransportAddress]:
    """Return the servers to try, in order.

    The server that granted is first, even if DNS does not name it any more. If DNS has no
    address, it is used only while its grant is valid. After it failed, it keeps no such preference.
    """
    home = at.before.home
    if home is None or not (targets or at.before.granted(at.now)):
        return targets
    if at.before.failure is not Failure.UNREACHABLE:
        return [home, *(target for target in targets if target != home)]
    return targets if home in targets else [*targets, home]


def _pause(at: Step) -> StepResult:
    r = at.before
    if r.in_flight is not None:  # the caller repeats the event after the answer
        return r, ()
    return r._replace(
        wanted=False,
        suspended=True,
        state=State.PAUSED,
        since=at.since(State.PAUSED),
        next_at=None,
        reason=RegistrationReason.PAUSED_BY_OPERATOR,
        message="paused by the operator",
    ), ()


def _register_now(at: Step) -> StepResult:
    r = at.before._replace(
        wanted=True, suspended=False, failures=0, failure=None, auth_rejections=()
    )
    if r.in_flight is not None:
        return r._replace(again=True), ()
    return r._replace(next_at=at.now), ()


def _keepalive_failed(at: Step) -> StepResult:
    r = at.before
    if r.state is not State.REGISTERED or r.next_at is None:
        return r, ()
    return r._replace(next_at=min(r.next_at, at.now)), ()


def _expired(at: Step) -> StepResult:
    r = at.before
    if r.expires_at is None or r.granted(at.now):
        return r, ()
    return r._replace(expires_at=None), ()


def _clock_stepped(at: Step, step_s: float) -> StepResult:
    """Move all instants with the clock. A registered trunk registers again at once."""
    r = at.before

    def moved(instant: float | None) -> float | None:
        return None if instant is None else instant + step_s

    next_at = moved(r.next_at)
    if r.state is State.REGISTERED and next_at is not None:
        next_at = min(next_at, at.now)
    return r._replace(
        since=r.since + step_s,
        expires_at=moved(r.expires_at),
        registered_at=moved(r.registered_at),
        learned_until=moved(r.learned_until),
        next_at=next_at,
        auth_rejections=tuple(instant + step_s for instant in r.auth_rejections),
    ), ()
