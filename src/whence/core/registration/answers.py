"""How a registration changes with an answer to a REGISTER, or without one."""

from __future__ import annotations

from collections.abc import Sequence

from whence.core.registration.backoff import Failure
from whence.core.registration.events import Follow, IgnoreReply, StepResult
from whence.core.registration.grant import granted, granted_message, learned, unexpected
from whence.core.registration.learning import ExpectedSources, Permit, permit
from whence.core.registration.model import (
    Nonce,
    PendingRegister,
    RedirectKey,
    Registration,
    Reply,
    State,
    StatusClass,
)
from whence.core.registration.outcomes import Step, last_answer
from whence.core.registration.reason import UNREGISTERED, RegistrationReason, Why
from whence.core.sip.digest import Challenge, answerable, proves
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

MIN_EXPIRES_LIMIT_S = 7 * 86_400
"""The longest Min-Expires (423) that is adopted."""

CHALLENGES_LIMIT = 4
"""How many challenges one attempt answers at a server. A registrar cannot keep it in a loop."""

CONTACTS_LIMIT = 8
"""How many Contacts of 3xx answers one attempt follows."""

_WRONG_CREDENTIALS = Why(RegistrationReason.WRONG_CREDENTIALS, "wrong credentials")
_CHALLENGED_TOO_OFTEN = Why(RegistrationReason.CHALLENGED_TOO_OFTEN, "challenged again and again")
_REDIRECTED_IN_A_LOOP = Why(
    RegistrationReason.REDIRECT_REFUSED, "redirected to servers that were tried before"
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
    if request.is_preemptive and reply.status_class is StatusClass.REFUSAL:
        return _without_credentials(step, request, reply)
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
            why = Why(RegistrationReason.REJECTED, status_line)
            return step.try_next_redirect(request, Failure.REJECTED, reply, why)


def redirected(step: Step, targets: Sequence[TransportAddress], why: Why | None) -> StepResult:
    """Send the request to the servers that a 3xx named, before the remaining ones.

    `why`: why the look-up found none.
    """
    request = step.before.in_flight
    if request is None or not request.following:
        return step.before, ()
    if not step.before.wanted and request.expires_s > 0:
        return step.end(step.before, UNREGISTERED)
    if not targets:
        message = "redirected to a name that has no address" if why is None else why.message
        nowhere = Why(RegistrationReason.REDIRECT_WITHOUT_ADDRESS, message)
        return step.ask_next_server(request, None, nowhere)
    request = request._replace(
        redirects=tuple(targets) + request.redirects,
        following=False,
        led_to=request.led_to | {target.ip for target in targets},
    )
    if all(server in request.tried for server in (*request.redirects, *request.others)):
        return step.fail(Failure.REJECTED, _REDIRECTED_IN_A_LOOP)
    return step.ask_next_server(request, None, _REDIRECTED_IN_A_LOOP)


def _accepted(
    step: Step,
    request: PendingRegister,
    reply: Reply,
    source: TransportAddress,
    expected: ExpectedSources,
) -> StepResult:
    granted_s = granted(reply, step.account, request.expires_s)
    if isinstance(granted_s, Why):
        return step.fail(Failure.REJECTED, granted_s, reply)
    permitted = _permit(step, request, reply, source, expected)
    if permitted is None:  # an unexpected sender must not delay the next refresh
        granted_s = min(granted_s, request.expires_s)
    expires_at = step.now + granted_s
    registered_at = step.before.unbroken_since(step.now)
    r = step.before._replace(
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
        auth_rejections=(),
        **last_answer(reply),
        reason=RegistrationReason.GRANTED,
        message=granted_message(granted_s),
    )
    if not r.wanted:  # unregistered while the request was in flight
        r = r._replace(expires_at=None, learned_until=None)
        return step.send(r, PendingRegister(request.next_hop, 0), State.UNREGISTERING)
    if permitted is None:
        # `registrar` and `home` stay: the sender of this answer is not the server.
        r = r._replace(next_at=_next_at_beside_learned(step, r))
        return unexpected(r, source, str(request.next_hop))
    return learned(r._replace(home=request.next_hop), source, expires_at, permitted)


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
    rejecting = [c for c in answers if c.asks in request.answered and not c.stale]
    if rejecting:
        step = _rejected(step)
        if not _may_answer_again(step, request, rejecting):
            return step.fail(Failure.WRONG_CREDENTIALS, _WRONG_CREDENTIALS, reply)
        request = request._replace(retried=(*request.retried, *(c.asks for c in rejecting)))
    if request.challenges >= CHALLENGES_LIMIT:
        return step.fail(Failure.REJECTED, _CHALLENGED_TOO_OFTEN, reply)
    asking = tuple(c.asks for c in answers)
    kept = tuple(n for n in step.before.nonces if n.challenge.asks not in asking)
    fresh = tuple(Nonce(challenge, 0) for challenge in answers)
    r = step.before._replace(nonces=kept + fresh, **last_answer(reply))
    again = request._replace(
        expires_s=request.expires_s if r.wanted else 0,
        challenges=request.challenges + 1,
        answered=tuple({*request.answered, *asking}),
    )
    return step.send(r, again, r.state)


def _rejected(step: Step) -> Step:
    """Record that the registrar rejected credentials now."""
    begin = step.now - step.waits.auth_window_s
    recent = [at for at in step.before.auth_rejections if begin < at <= step.now]
    return step._replace(before=step.before._replace(auth_rejections=(*recent, step.now)))


def _may_answer_again(step: Step, request: PendingRegister, rejecting: Sequence[Challenge]) -> bool:
    """Return whether a rejected answer gets a second try, with a fresh nonce.

    A nonce may be valid once, or at one node of a cluster. So each attempt answers one more nonce
    without `stale`, within the limit of rejections in an hour.
    """
    used = {n.challenge.nonce for n in step.before.nonces}
    has_room = len(step.before.auth_rejections) < step.waits.auth_rejections_limit
    return has_room and all(
        c.asks not in request.retried and c.nonce not in used for c in rejecting
    )


def _without_credentials(step: Step, request: PendingRegister, reply: Reply) -> StepResult:
    """Send the request again without credentials: the reused nonce may be the fault."""
    r = step.before._replace(nonces=(), **last_answer(reply))
    return step.send(r, request._replace(bare=True, cnonce=""), r.state)


def _redirect(
    step: Step,
    request: PendingRegister,
    reply: Reply,
    source: TransportAddress,
    expected: ExpectedSources,
) -> StepResult:
    """Follow each Contact of a 3xx once, by its q (RFC 3261 8.1.3.4). The Request-URI stays.

    A 3xx from an unexpected address is not followed. Its target would receive the next REGISTER,
    and its answer would be learned.
    """
    status_line = f"{reply.status} {reply.reason}".strip()
    if _permit(step, request, reply, source, expected) is None:
        ignored = IgnoreReply(source, str(request.next_hop))
        message = f"{status_line} by {source}, which was not asked: it is not followed"
        why = Why(RegistrationReason.REDIRECT_BY_UNEXPECTED_ADDRESS, message)
        after, actions = step.ask_next_server(request, reply, why)
        return after._replace(unexpected=source), (ignored, *actions)
    by_q = sorted(reply.contacts, key=lambda contact: -contact.q)
    keyed = {_redirect_key(c.uri): c.uri for c in by_q if c.uri.host}
    fresh = [key for key in keyed if key not in request.followed]
    fresh = fresh[: CONTACTS_LIMIT - len(request.followed)]
    if not fresh:
        why = Why(RegistrationReason.REDIRECT_REFUSED, status_line)
        return step.try_next_redirect(request, Failure.REJECTED, reply, why)
    following = request._replace(followed=(*request.followed, *fresh), following=True)
    r = step.before._replace(in_flight=following, **last_answer(reply))
    return r, (Follow(tuple(keyed[key] for key in fresh)),)


def _redirect_key(uri: Uri) -> RedirectKey:
    return uri.scheme, uri.host.lower(), uri.port, uri.params.get("transport", "").lower()


def _too_brief(step: Step, request: PendingRegister, reply: Reply) -> StepResult:
    asked, least = request.expires_s, reply.min_expires_s
    if least is None or request.lengthened or not asked < least <= MIN_EXPIRES_LIMIT_S:
        message = f"423 with Min-Expires {least} to {asked} s asked"
        why = Why(RegistrationReason.INTERVAL_TOO_BRIEF, message)
        return step.fail(Failure.REJECTED, why, reply)
    r = step.before._replace(min_expires_s=least, **last_answer(reply))
    return step.send(r, request._replace(expires_s=least, lengthened=True), r.state)
