"""How a registration changes with an answer to a REGISTER, or without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whence.core.registration.backoff import Failure
from whence.core.registration.events import Follow, IgnoreReply, StepResult
from whence.core.registration.grant import granted, granted_message, learned, unexpected
from whence.core.registration.learning import ExpectedSources, Permit, permit
from whence.core.registration.model import (
    Nonce,
    PendingRegister,
    Registration,
    Reply,
    State,
    StatusClass,
)
from whence.core.registration.outcomes import Step, last_answer
from whence.core.registration.reason import UNREGISTERED, RegistrationReason, Why
from whence.core.sip.digest import answerable, proves
from whence.core.sip.transport_address import TransportAddress

MIN_EXPIRES_LIMIT_S = 7 * 86_400
"""The longest Min-Expires (423) that is adopted."""

CHALLENGES_LIMIT = 4
"""How many challenges one attempt answers. A registrar cannot keep it in a loop."""

_WRONG_CREDENTIALS = Why(RegistrationReason.WRONG_CREDENTIALS, "wrong credentials")
_CHALLENGED_TOO_OFTEN = Why(RegistrationReason.CHALLENGED_TOO_OFTEN, "challenged again and again")
_REDIRECTED_NOWHERE = Why(
    RegistrationReason.REDIRECT_WITHOUT_ADDRESS, "redirected to a name that has no address"
)


def unanswered(step: Step, why: Why) -> StepResult:
    """Send the REGISTER to the next server, since this one did not answer or was not reached."""
    request = step.before.in_flight
    if request is None or request.following:
        return step.before, ()
    return step.ask_next_server(request, None, why)


def answered(
    step: Step, reply: Reply, source: TransportAddress, expected: ExpectedSources
) -> StepResult:
    """Act on a final answer to the request in flight; ignore an answer to another request."""
    request = step.before.in_flight
    if request is None or request.following or reply.cseq != step.before.cseq:
        return step.before, ()  # late, or to another request
    asks_again = reply.status_class in (StatusClass.REDIRECTION, StatusClass.CHALLENGE)
    if request.expires_s == 0 and not asks_again:
        return step.end(step.before, UNREGISTERED)
    status_line = f"{reply.status} {reply.reason}".strip()
    match reply.status_class:
        case StatusClass.SUCCESS:
            return _accepted(step, request, reply, source, expected)
        case StatusClass.REDIRECTION:
            return _redirect(step, request, reply, source, expected)
        case StatusClass.CHALLENGE:
            return _challenged(step, request, reply)
        case StatusClass.INTERVAL_TOO_BRIEF:
            return _too_brief(step, request, reply)
        case StatusClass.SERVER_FAILURE:
            why = Why(RegistrationReason.SERVER_FAILED, status_line)
            return step.ask_next_server(request, reply, why)
        case StatusClass.REFUSAL:
            return step.fail(Failure.REFUSED, Why(RegistrationReason.REJECTED, status_line), reply)


def redirected(step: Step, targets: Sequence[TransportAddress]) -> StepResult:
    """Send the request to the servers that a 3xx named, before the remaining ones."""
    request = step.before.in_flight
    if request is None or not request.following:
        return step.before, ()
    if not step.before.wanted and request.expires_s > 0:
        return step.end(step.before, UNREGISTERED)
    if not targets:
        return step.ask_next_server(request, None, _REDIRECTED_NOWHERE)
    first, *others = targets
    request = replace(
        request,
        next_hop=first,
        others=tuple(others) + request.others,
        following=False,
        led_to=request.led_to | {target.ip for target in targets},
    )
    return step.send(step.before, request, step.before.state)


def _accepted(
    step: Step,
    request: PendingRegister,
    reply: Reply,
    source: TransportAddress,
    expected: ExpectedSources,
) -> StepResult:
    granted_s = granted(reply, step.account, request.expires_s)
    if isinstance(granted_s, Why):
        return step.fail(Failure.REFUSED, granted_s, reply)
    permitted = _permit(step, request, reply, source, expected)
    if permitted is None:  # an unexpected sender must not delay the next refresh
        granted_s = min(granted_s, request.expires_s)
    expires_at = step.now + granted_s
    registered_at = step.before.unbroken_since(step.now)
    r = replace(
        step.before,
        in_flight=None,
        state=State.REGISTERED,
        since=registered_at,
        registered_at=registered_at,
        granted_s=granted_s,
        expires_at=expires_at,
        again=False,
        next_at=step.now
        if step.before.again
        else step.now + step.waits.refresh_s(granted_s, step.dice.chance),
        failures=0,
        failure=None,
        **last_answer(reply),
        reason=RegistrationReason.GRANTED,
        message=granted_message(granted_s),
    )
    if not r.wanted:  # unregistered while the request was in flight
        r = replace(r, expires_at=None, learned_until=None)
        return step.send(r, PendingRegister(request.next_hop, 0), State.UNREGISTERING)
    if permitted is None:
        # `registrar` and `home` stay: the sender of this answer is not the server.
        r = replace(r, next_at=_next_at_beside_learned(step, r))
        return unexpected(r, source, str(request.next_hop))
    return learned(replace(r, home=request.next_hop), source, expires_at, permitted)


def _next_at_beside_learned(step: Step, r: Registration) -> float | None:
    """Return `next_at` before the server's own grant ends; another sender may grant longer."""
    if r.next_at is None or r.learned_until is None or not r.learned(step.now):
        return r.next_at
    left_s = step.waits.refresh_s(r.learned_until - step.now, step.dice.chance)
    return min(r.next_at, step.now + max(left_s, step.waits.unreachable.first_s))


def _permit(
    step: Step,
    request: PendingRegister,
    reply: Reply,
    source: TransportAddress,
    expected: ExpectedSources,
) -> Permit | None:
    asked = request.led_to | {request.next_hop.ip}
    return permit(source, asked, expected, step.now, proven=_is_proven(step, request, reply))


def _is_proven(step: Step, request: PendingRegister, reply: Reply) -> bool:
    """Return whether a valid `rspauth` proves that the sender of the reply knows the password."""
    uri = step.account.request_uri
    return any(
        proves(info, n.challenge, step.account.credentials, uri, n.uses, request.cnonce)
        for info in reply.infos
        for n in step.before.nonces
    )


def _challenged(step: Step, request: PendingRegister, reply: Reply) -> StepResult:
    answers = answerable(reply.challenges, step.account.credentials)
    if not answers:
        offered = ", ".join(f"{c.algorithm} for realm {c.realm}" for c in reply.challenges)
        message = f"no challenge that can be answered ({offered or 'none was sent'})"
        why = Why(RegistrationReason.NO_USABLE_CHALLENGE, message)
        return step.fail(Failure.WRONG_CREDENTIALS, why, reply)
    unwanted = not step.before.wanted and request.expires_s > 0
    if unwanted and not step.before.granted(step.now):
        return step.end(step.before, UNREGISTERED)
    if any(c.asks in request.answered and not c.stale for c in answers):
        return step.fail(Failure.WRONG_CREDENTIALS, _WRONG_CREDENTIALS, reply)
    if request.challenges >= CHALLENGES_LIMIT:
        return step.fail(Failure.REFUSED, _CHALLENGED_TOO_OFTEN, reply)
    asking = tuple(c.asks for c in answers)
    kept = tuple(n for n in step.before.nonces if n.challenge.asks not in asking)
    fresh = tuple(Nonce(challenge, 0) for challenge in answers)
    r = replace(step.before, nonces=kept + fresh, **last_answer(reply))
    again = replace(
        request,
        expires_s=request.expires_s if r.wanted else 0,
        challenges=request.challenges + 1,
        answered=tuple({*request.answered, *asking}),
    )
    return step.send(r, again, r.state)


def _redirect(
    step: Step,
    request: PendingRegister,
    reply: Reply,
    source: TransportAddress,
    expected: ExpectedSources,
) -> StepResult:
    """Follow a 3xx, once in an attempt (RFC 3261 8.1.3.4). The Request-URI does not change.

    A 3xx from an unexpected address is not followed. Its target would receive the next REGISTER,
    and its answer would be learned.
    """
    status_line = f"{reply.status} {reply.reason}".strip()
    if _permit(step, request, reply, source, expected) is None:
        ignored = IgnoreReply(source, str(request.next_hop))
        message = f"{status_line} by {source}, which was not asked: it is not followed"
        why = Why(RegistrationReason.REDIRECT_BY_UNEXPECTED_ADDRESS, message)
        after, actions = step.ask_next_server(request, reply, why)
        return replace(after, unexpected=source), (ignored, *actions)
    if request.redirected or not reply.contacts:
        why = Why(RegistrationReason.REDIRECT_REFUSED, status_line)
        return step.fail(Failure.REFUSED, why, reply)
    r = replace(
        step.before,
        in_flight=replace(request, redirected=True, following=True),
        **last_answer(reply),
    )
    return r, (Follow(reply.contacts[0].uri),)


def _too_brief(step: Step, request: PendingRegister, reply: Reply) -> StepResult:
    asked, least = request.expires_s, reply.min_expires_s
    if least is None or request.lengthened or not asked < least <= MIN_EXPIRES_LIMIT_S:
        message = f"423 with Min-Expires {least} to {asked} s asked"
        why = Why(RegistrationReason.INTERVAL_TOO_BRIEF, message)
        return step.fail(Failure.REFUSED, why, reply)
    r = replace(step.before, min_expires_s=least, **last_answer(reply))
    return step.send(r, replace(request, expires_s=least, lengthened=True), r.state)
