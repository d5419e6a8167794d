"""What a trunk gets of a user's call: Request-URI, From, To, and the headers of the caller.

All of it is made of the trunk's account, its numbers, and the canonical number. Nothing is copied
from the phone, whose headers of REMOVED are removed: its name and its address stay private.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from whence.core.outbound.caller import Caller
from whence.core.outbound.model import FromUser, NumberHeader, OutboundTrunk
from whence.core.outbound.numbers import Called
from whence.core.sip.phone_number import owns
from whence.core.sip.uri import escape_user

ANONYMOUS_URI = "sip:anonymous@anonymous.invalid"
"""RFC 3323 4.1.1.3"""

REMOVED = (
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Remote-Party-ID",
    "Privacy",
    "Diversion",
    "History-Info",
    "Referred-By",
    "Reply-To",
    "Organization",
    "Call-Info",
    "Warning",
    "User-Agent",
    "Server",
    "Identity",
    "Identity-Info",
    "Proxy-Authorization",
    "Authorization",
    "P-Access-Network-Info",
    "P-Visited-Network-ID",
    "P-Associated-URI",
    "P-Called-Party-ID",
    "P-Charging-Vector",
    "P-Charging-Function-Addresses",
    "P-User-Database",
    "P-Profile-Key",
    "P-Served-User",
)
"""Headers of a phone that no trunk gets: they name it, its network or its owner, or claim an
identity."""

REMOVED_BUT_IN_EMERGENCY = ("Geolocation", "Geolocation-Routing", "Geolocation-Error")
"""The place of the caller (RFC 6442), which only an emergency call may carry."""

_COMPACT = frozenset({"b", "y", "n"})
"""Compact names of Referred-By, Identity and Identity-Info, which not all parsers know."""
_OF_MAKERS = ("x-", "p-")
"""How headers of phones' makers and of provider networks begin."""
_KEPT = frozenset({"p-early-media"})
_HIDDEN = frozenset(name.lower() for name in REMOVED) | _COMPACT
_PLACES = frozenset(name.lower() for name in REMOVED_BUT_IN_EMERGENCY)


def hidden_headers(names: Iterable[str], *, emergency: bool = False) -> list[str]:
    """Return those headers of a phone that no trunk gets. `names`: in small letters."""
    return [name for name in names if _is_hidden(name) or (not emergency and name in _PLACES)]


def _is_hidden(name: str) -> bool:
    return name in _HIDDEN or (name.startswith(_OF_MAKERS) and name not in _KEPT)


class Identity(NamedTuple):
    """What a trunk gets of a call."""

    request_uri: str
    our_uri: str
    """The URI of From."""
    their_uri: str
    """The URI of To."""
    our_user: str
    """The user of `our_uri`, as written; empty: anonymous. The route state has it."""
    their_user: str
    """The user of `their_uri`, as written."""
    from_: str
    """From without its tag."""
    to: str
    """To without a tag."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers: (name, value)."""


def identity(trunk: OutboundTrunk, caller: Caller, called: Called) -> Identity | None:
    """Return what a trunk gets; None where it would read the number as another one."""
    dialled = called.number
    if not called.emergency:
        written = trunk.plan.write(dialled, trunk.number_format)
        if written is None:
            return None
        dialled = written
    number = shown_number(trunk, caller)
    user = number if number and trunk.from_user is FromUser.NUMBER else _account(trunk)
    if caller.anonymous:
        user = ""
    our_uri, their_uri = our_uri_of(trunk, user), their_uri_of(trunk, dialled)
    return Identity(
        request_uri=f"sip:{dialled}@{trunk.server}",
        our_uri=our_uri,
        their_uri=their_uri,
        our_user=user,
        their_user=dialled,
        from_=f'"Anonymous" <{our_uri}>' if caller.anonymous else f"<{our_uri}>",
        to=f"<{their_uri}>",
        headers=(*_number_headers(trunk, caller, number), *_diversion(trunk, caller)),
    )


def our_uri_of(trunk: OutboundTrunk, our_user: str) -> str:
    """Return the URI of our From at a trunk, also for later requests of the dialog."""
    return f"sip:{our_user}@{trunk.host}" if our_user else ANONYMOUS_URI


def their_uri_of(trunk: OutboundTrunk, their_user: str) -> str:
    """Return the URI of the called party at a trunk."""
    return f"sip:{their_user}@{trunk.host}"


def shown_number(trunk: OutboundTrunk, caller: Caller) -> str:
    """Return the caller's number as this trunk gets it; empty: the account identifies it."""
    return _own_number(trunk, caller.number)


def _own_number(trunk: OutboundTrunk, number: str) -> str:
    """Write a number of this trunk; empty for another trunk's, which the provider would refuse."""
    if not number or (trunk.numbers and not any(owns(own, number) for own in trunk.numbers)):
        return ""
    return trunk.plan.write(number, trunk.number_format) or ""


def _account(trunk: OutboundTrunk) -> str:
    return escape_user(trunk.account)


def _number_headers(
    trunk: OutboundTrunk, caller: Caller, number: str
) -> tuple[tuple[str, str], ...]:
    """Return the header with the caller's number, and Privacy (RFC 3325 9.1 to 9.3).

    The provider needs the number of an anonymous caller, too. So an anonymous call has this header
    even if the trunk asks for none.
    """
    header = trunk.number_header
    if header is NumberHeader.NONE and caller.anonymous:
        header = NumberHeader.PREFERRED
    if header is NumberHeader.NONE:
        return ()
    value = f"<sip:{number or _account(trunk)}@{trunk.host}>"
    if header is NumberHeader.REMOTE_PARTY:
        privacy = "full" if caller.anonymous else "off"
        value += f";party=calling;screen=no;privacy={privacy}"
    lines = [(str(header), value)]
    if caller.anonymous:
        lines.append(("Privacy", "id"))
    return tuple(lines)


def _diversion(trunk: OutboundTrunk, caller: Caller) -> tuple[tuple[str, str], ...]:
    """Return the Diversion of a forwarded call (RFC 5806), if the trunk has its number."""
    number = _own_number(trunk, caller.diverting) if trunk.diversion else ""
    if not number:
        return ()
    value = f"<sip:{number}@{trunk.host}>"
    if caller.diversion_reason:
        value += f";reason={caller.diversion_reason}"
    if caller.anonymous:
        value += ";privacy=full"
    return (("Diversion", value),)
