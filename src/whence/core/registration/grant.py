"""What a 2xx to a REGISTER grants (RFC 3261 10.2.4), and which address it teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whence.core.registration.events import IgnoreReply, Learn
from whence.core.registration.learning import Permit
from whence.core.registration.model import Account, Registration, Reply
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress

GRANT_LIMIT_S = 7 * 86_400
"""The longest grant that is believed: an address that was learned does not stay for years."""


_CONTACT_NOT_LISTED = Why(
    RegistrationReason.CONTACT_NOT_LISTED, "the registrar lists other contacts, and not ours"
)


_NO_TIME_GRANTED = Why(RegistrationReason.NO_TIME_GRANTED, "the registrar granted no time")


def granted(reply: Reply, account: Account, asked_s: int) -> int | Why:
    """Return for how many seconds a 2xx grants us (RFC 3261 10.2.4), or why it grants nothing.

    Our own Contact's `expires`, else the Expires header, else what was asked for. Registrars list
    all Contacts of the account; one that lists others and not ours has not registered us.
    """
    seconds = asked_s if reply.expires_s is None else reply.expires_s
    if reply.contacts:
        ours = _ours(reply.contacts, account)
        if ours is None:
            return _CONTACT_NOT_LISTED
        if ours.expires_s is not None:
            seconds = ours.expires_s
    if seconds <= 0:
        return _NO_TIME_GRANTED
    return min(seconds, GRANT_LIMIT_S)


def _ours(contacts: Sequence[Contact], account: Account) -> Contact | None:
    """Find our Contact: our token at our place; our token elsewhere, as NAT helpers rewrite it; our
    user at our place, where a registrar drops the parameter `line`. The only one that is listed is
    ours in any case where the provider is known to rewrite Contacts.
    """
    own, token = account.contact, account.token
    place = (own.host, own.port)
    named = [c for c in contacts if token in (c.uri.user, c.uri.params.get("line"))]
    here = [c for c in contacts if (c.uri.host, c.uri.port) == place]
    exact = [c for c in here if c in named]
    dropped = [c for c in here if c.uri.user == own.user]
    rewritten = contacts if account.rewritten and len(contacts) == 1 else ()
    return next(iter([*exact, *named, *dropped, *rewritten]), None)


def learned(
    r: Registration, source: TransportAddress, expires_at: float, permitted: Permit
) -> tuple[Registration, tuple[Learn, ...]]:
    """Return the registration after a grant that teaches `source`, and what it teaches."""
    if permitted.until is not None:
        expires_at = min(expires_at, permitted.until)
    after = replace(r, registrar=source, learned_until=expires_at, unexpected=None)
    p = permitted
    return after, (Learn(source, expires_at, p.ground, p.until, p.exact),)


def unexpected(
    r: Registration, source: TransportAddress, asked: str
) -> tuple[Registration, tuple[IgnoreReply, ...]]:
    """Return the registration after a grant by `source`, which was not asked, and what is told."""
    message = f"{r.message} by {source}, but {asked} was asked: no address is learned"
    reason = RegistrationReason.GRANTED_BY_UNEXPECTED_ADDRESS
    return replace(r, unexpected=source, reason=reason, message=message), (
        IgnoreReply(source, asked),
    )


def granted_message(granted_s: int) -> str:
    """Tell people for how long a registration is granted."""
    return f"granted {granted_s} s"
