"""Registrations of a drop-in: Kamailio's module `uac` sends the REGISTERs, and schedules them.

The edge sees each request and its answer, and learns addresses from them. The rules are those of
the agent's own registrations:
- Only a 2xx from an expected source is learned (learning.py), for the granted time.
- A failure ends nothing.
- An unregistered account loses its addresses at once. A later answer to an older request does not
  restore them.

Only `uac` has the passwords, so `rspauth` is not verified. An account that is removed or disabled
is no candidate for a call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whence.core.registration.events import Action, ForgetAddresses
from whence.core.registration.grant import granted, granted_message, learned, unexpected
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources, permit
from whence.core.registration.model import Account, Registration, Reply, State
from whence.core.registration.reason import NO_ANSWER, UNREGISTERED, RegistrationReason, Why
from whence.core.sip.digest import Credentials
from whence.core.sip.transport_address import IP, TransportAddress, canonical_ip
from whence.core.sip.uri import Uri

_REJECTED = Why(RegistrationReason.REJECTED, "rejected")


@dataclass(frozen=True, slots=True)
class UacRequest:
    """A REGISTER that `uac` sent. `at`: when, in seconds since the epoch.

    `contact` has the account's `l_uuid` as its user. `answers`: whether it has credentials.
    `asked`: the ips that it was sent to, several in a failover; empty if unknown.
    """

    contact: Uri
    aor: str
    call_id: str
    cseq: int
    expires_s: int
    at: float
    answers: bool = False
    asked: tuple[IP, ...] = ()


def asked_ips(texts: Iterable[str]) -> tuple[tuple[IP, ...], tuple[str, ...]]:
    """Parse the ips that Kamailio sent a REGISTER to; also return each text that is no ip.

    Empty texts are skipped.
    """
    ips: list[IP] = []
    unreadable: list[str] = []
    for text in filter(None, texts):
        try:
            ips.append(canonical_ip(text))
        except ValueError:
            unreadable.append(text)
    return tuple(ips), tuple(unreadable)


def answered(
    before: Registration,
    sent: UacRequest,
    reply: Reply,
    source: TransportAddress,
    now: float,
    grace_s: float,
    expected: ExpectedSources = ASKED_ONLY,
) -> tuple[Registration, tuple[Action, ...]]:
    """Return the registration after a final answer from `source`; `before` itself if unchanged.

    `grace_s`: how long an address outlives its registration. `expected`: the sources that may be
    learned, besides the ip that was asked.
    """
    is_unregistered = before.state is State.UNREGISTERED and sent.at <= before.since
    if sent.expires_s == 0 or is_unregistered:
        return before, ()
    if 200 <= reply.status < 300:
        return _granted(before, sent, reply, source, now, grace_s, expected)
    if reply.status in (401, 407) and not sent.answers:
        return before, ()  # `uac` answers the challenge
    return _failed(before, sent, reply, _REJECTED, now), ()


def unanswered(before: Registration, sent: UacRequest, now: float) -> Registration:
    """Return the registration after a REGISTER without an answer."""
    if sent.expires_s == 0 or (before.state is State.UNREGISTERED and sent.at <= before.since):
        return before
    return _failed(before, sent, None, NO_ANSWER, now)


def unregistered(before: Registration, now: float) -> tuple[Registration, tuple[Action, ...]]:
    """Return the registration after `uac` unregistered it, or after its account was removed."""
    after = before._replace(
        state=State.UNREGISTERED,
        since=now,
        granted_s=None,
        expires_at=None,
        learned_until=None,
        unexpected=None,
        next_at=None,
        failures=0,
        last_status=None,
        last_phrase="",
        reason=UNREGISTERED.reason,
        message=UNREGISTERED.message,
    )
    return after, (ForgetAddresses(),)


def _granted(
    before: Registration,
    sent: UacRequest,
    reply: Reply,
    source: TransportAddress,
    now: float,
    grace_s: float,
    expected: ExpectedSources,
) -> tuple[Registration, tuple[Action, ...]]:
    permitted = permit(source, sent.asked, expected, now)
    same = (before.call_id, before.cseq) == (sent.call_id, sent.cseq)
    # The server's own answer counts, even after an answer from an unexpected source.
    is_late = before.unexpected is not None and permitted is not None
    if same and before.state is State.REGISTERED and not is_late:
        return before, ()  # a repeated answer: the grant counts from the first
    account = Account(sent.aor, sent.contact, Credentials(""), sent.expires_s)
    granted_s = granted(reply, account, sent.expires_s)
    if isinstance(granted_s, Why):
        return _failed(before, sent, reply, granted_s, now), ()
    expires_at = now + granted_s
    registered_at = before.unbroken_since(now)
    after = before._replace(
        call_id=sent.call_id,
        cseq=sent.cseq,
        state=State.REGISTERED,
        since=registered_at,
        registered_at=registered_at,
        granted_s=granted_s,
        expires_at=expires_at,
        next_at=None,
        failures=0,
        last_status=reply.status,
        last_phrase=reply.reason,
        reason=RegistrationReason.GRANTED,
        message=granted_message(granted_s),
    )
    if permitted is None:
        asked = " or ".join(map(str, sent.asked)) or "an address that is not known"
        return unexpected(after, source, asked)
    after, lessons = learned(after, source, expires_at, permitted)
    return after, tuple(lesson.with_grace(grace_s) for lesson in lessons)


def _failed(
    before: Registration, sent: UacRequest, reply: Reply | None, why: Why, now: float
) -> Registration:
    # A failed refresh does not end the grant.
    return before._replace(
        call_id=sent.call_id,
        cseq=sent.cseq,
        state=State.WAITING,
        since=before.since if before.state is State.WAITING else now,
        next_at=None,
        failures=before.failures + 1,
        last_status=reply.status if reply else None,
        last_phrase=reply.reason if reply else "",
        reason=why.reason,
        message=why.message,
    )
