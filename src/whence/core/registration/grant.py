"""For how long a 2xx to a REGISTER grants (RFC 3261 10.2.4), and which address is learned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from whence.core.registration.events import IgnoreReply, Learn
from whence.core.registration.learning import Permit
from whence.core.registration.model import Account, Registration, Reply
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TRANSPORTS, Transport, TransportAddress
from whence.core.sip.uri import Uri

GRANT_LIMIT_S = 7 * 86_400
"""The longest accepted grant: a learned address must not stay valid for years."""


_CONTACT_NOT_LISTED = Why(
    RegistrationReason.CONTACT_NOT_LISTED, "the registrar lists other contacts, and not ours"
)


_NO_TIME_GRANTED = Why(RegistrationReason.NO_TIME_GRANTED, "the registrar granted no time")


def granted(reply: Reply, account: Account, asked_s: int) -> int | Why:
    """Return for how many seconds a 2xx grants (RFC 3261 10.2.4), or why it grants nothing.

    The `expires` of our Contact counts first, then the Expires header, then `asked_s`. A registrar
    lists all Contacts of the account. If it lists others and not ours, it has not registered us.
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
    """Find our Contact. The first that fits counts, in this order:

    - our token at our host and port;
    - our token elsewhere: NAT helpers rewrite host and port;
    - our user at our host and port: some registrars drop the parameter `line`;
    - the only listed Contact, if the settings say that the provider rewrites Contacts.
    """
    own, token = account.contact, account.token
    own_place = _place(own)
    named = [c for c in contacts if token in (c.uri.user, c.uri.params.get("line"))]
    here = [c for c in contacts if _place(c.uri) == own_place]
    exact = [c for c in here if c in named]
    dropped = [c for c in here if c.uri.user == own.user]
    rewritten = contacts if account.rewritten and len(contacts) == 1 else ()
    return next(iter([*exact, *named, *dropped, *rewritten]), None)


def _place(uri: Uri) -> tuple[str, int]:
    """Return (host, port) of a Contact. A registrar may leave out the default port."""
    transport = TRANSPORTS.get(uri.params.get("transport", "").lower(), Transport.UDP)
    return uri.host, uri.port or transport.default_port


def learned(
    r: Registration, source: TransportAddress, expires_at: float, permitted: Permit
) -> tuple[Registration, tuple[Learn, ...]]:
    """Return the registration after a grant by a permitted `source`, and the Learn action."""
    if permitted.until is not None:
        expires_at = min(expires_at, permitted.until)
    after = r._replace(registrar=source, learned_until=expires_at, unexpected=None)
    p = permitted
    return after, (Learn(source, expires_at, p.ground, p.until, p.exact),)


def unexpected(
    r: Registration, source: TransportAddress, asked: str
) -> tuple[Registration, tuple[IgnoreReply, ...]]:
    """Return the registration after a grant by an unexpected `source`, and its action."""
    message = f"{r.message} by {source}, but {asked} was asked: no address is learned"
    reason = RegistrationReason.GRANTED_BY_UNEXPECTED_ADDRESS
    return r._replace(unexpected=source, reason=reason, message=message), (
        IgnoreReply(source, asked),
    )


@lru_cache(maxsize=256)  # thousands of trunks share one text
def granted_message(granted_s: int) -> str:
    """Return the message that says for how long a registration is granted."""
    return f"granted {granted_s} s"
