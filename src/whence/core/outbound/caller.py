"""Who calls: the number and the privacy of a user's call, of what its phone may choose.

The digest of the request names the user. The phone's headers choose only among the numbers of this
user. So a phone cannot show the number of another user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from whence.core.outbound.model import OutboundUser
from whence.core.outbound.numbers import DialPlan
from whence.core.sip.grammar import parse_params, split_list, split_name_addr
from whence.core.sip.phone_number import called, owns
from whence.core.sip.uri import Uri

CHOICE_HEADERS = ("p-preferred-identity", "p-asserted-identity", "remote-party-id", "from")
"""The headers by which a phone chooses its number, in this order."""

_ANONYMOUS_HOST = "anonymous.invalid"  # RFC 3323 4.1.1.3
_PRIVATE = frozenset({"id", "user", "header"})
"""Values of Privacy that hide the caller (RFC 3323 4.2, RFC 3325 9.3)."""

Headers = Mapping[str, Sequence[str]]
"""Long name in small letters → values, as `Message.fields` returns them."""


class Caller(NamedTuple):
    """The caller of one call."""

    user: OutboundUser
    number: str = ""
    """Its canonical number; empty: the account of the trunk."""
    anonymous: bool = False
    diverting: str = ""
    """The canonical number of this user that forwarded the call; empty: it is not forwarded."""
    diversion_reason: str = ""
    """The reason of the forwarding, a token of RFC 5806; empty: none."""


def caller_of(user: OutboundUser, headers: Headers, plan: DialPlan, *, emergency: bool) -> Caller:
    """Return the caller of a request of `user`. `plan`: how its phone writes numbers.

    An emergency call is never anonymous, because the called party must find the caller.
    """
    number, anonymous = user.caller_number, user.anonymous or _asks_privacy(headers)
    for name in CHOICE_HEADERS:
        chosen = _own_number(user, headers.get(name, ()), plan)
        if chosen:
            number = chosen
            break
    diverting, reason = _diversion(user, headers.get("diversion", ()), plan)
    return Caller(user, number, anonymous and not emergency, diverting, reason)


def may_write_from(uri: Uri | None, is_ours: bool, user: OutboundUser, plan: DialPlan) -> bool:
    """Return whether a From is the user's own, so that another local user may see it.

    It has the user's name or one of its numbers, or is anonymous. `is_ours`: whether its host is
    ours.
    """
    if uri is None:
        return False
    if uri.scheme != "tel" and not is_ours:
        return uri.host == _ANONYMOUS_HOST
    return (uri.scheme != "tel" and uri.user == user.name) or _owned(user, uri, plan) != ""


def _own_number(user: OutboundUser, values: Sequence[str], plan: DialPlan) -> str:
    """Return the first of the user's numbers in the values of a header; empty: none."""
    for text in (text for value in values for text in split_list(value)):
        found = split_name_addr(text)
        if found is not None and (own := _owned_text(user, found[0], plan)):
            return own
    return ""


@lru_cache(maxsize=4096)  # a phone writes the same URI in each call
def _owned_text(user: OutboundUser, text: str, plan: DialPlan) -> str:
    uri = Uri.parse(text)
    return _owned(user, uri, plan) if uri is not None else ""


def _owned(user: OutboundUser, uri: Uri, plan: DialPlan) -> str:
    """Return the canonical number of a URI if it is one of the user's; else an empty text."""
    number = called(uri)
    canonical = plan.canonical(number) if number is not None else None
    if canonical is None:
        return ""
    own = (user.caller_number, *user.caller_numbers)
    return canonical if any(one and owns(one, canonical) for one in own) else ""


def _asks_privacy(headers: Headers) -> bool:
    for value in headers.get("privacy", ()):
        if not _PRIVATE.isdisjoint(word.strip().lower() for word in value.split(";")):
            return True
    uris = [
        Uri.of_header(value)
        for value in headers.get("from", ())
        if _ANONYMOUS_HOST in value.lower()  # few are anonymous, and parsing takes time
    ]
    return any(uri is not None and uri.host == _ANONYMOUS_HOST for uri in uris)


def _diversion(user: OutboundUser, values: Sequence[str], plan: DialPlan) -> tuple[str, str]:
    """Return the last forwarding by this user (RFC 5806): its number and its reason."""
    for text in (text for value in values for text in split_list(value)):
        found = split_name_addr(text)
        uri = Uri.of_header(text)
        number = _owned(user, uri, plan) if uri is not None else ""
        if number:
            params = dict(parse_params(found[1]) or []) if found is not None else {}
            return number, _REASONS.get(params.get("reason", "").lower(), "")
    return "", ""


_REASONS = {
    reason: reason
    for reason in (
        "unknown",
        "user-busy",
        "no-answer",
        "unavailable",
        "unconditional",
        "time-of-day",
        "do-not-disturb",
        "deflection",
        "follow-me",
        "out-of-service",
        "away",
    )
}
"""RFC 5806 6.1"""
