"""The route state: what the edge needs of a call with a trunk, encrypted in our Record-Route.

Each peer sends it back in the Route of its requests, and in a repeated 2xx. So a call survives a
restart of Kamailio, ringing or answered. Each branch has its own, because each trunk gets another
From and another CSeq. It is valid for one Call-ID and one caller's tag, and so shows who sends a
request: the caller, or the called party. It does not show that a peer may send requests: the rules
of core/dialogs do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from whence.core.dialogs.cookie import PARAM
from whence.core.outbound.cseq import TRIES
from whence.core.outbound.encryption import decrypt, encrypt
from whence.core.sip.grammar import CSEQ_LIMIT
from whence.core.sip.uri import Uri

TEXT_LIMIT = 255
"""The longest text of a route state, in bytes. A longer URI would not fit into a datagram."""


class Kind(StrEnum):
    """The kind of a call: the first letter of its route state. A hex digit begins a cookie."""

    OUT = "o"
    """A user calls through a trunk."""
    IN = "p"
    """A trunk calls a user. The provider may challenge the requests of the user's phone."""
    LOCAL = "u"
    """A user calls a user."""


class RouteState(NamedTuple):
    """A call, as its route state has it. Only kind OUT has all values."""

    kind: Kind
    user: str
    """The local user with the phone: the caller, or, of kind IN, the called one."""
    trunk_id: str = ""
    cseq: int = 0
    """The phone's CSeq of the INVITE."""
    tries: int = 0
    """The try of the INVITE that this branch is (`cseq.outward`)."""
    our_user: str = ""
    """The user in the From that the trunk got, as written."""
    their_user: str = ""
    """The user in the To that the trunk got, as written."""
    phone_from: str = ""
    """The URI in the phone's From, as written."""
    phone_to: str = ""
    """The URI in the phone's To, as written."""


_VALUE = re.compile(rf"[{''.join(Kind)}][0-9a-v]{{20,}}", re.ASCII)

# The first byte: the try, and which URIs are shortened.
_FROM_IS_AOR = 8
_TO_IS_HERE = 16
_TO_IS_SAME = 32

# A length byte: a number in so many bytes, or a text. The length of a long text is behind it.
_PACKED_FLAG = 0x80
_LONG = 0x7F
_NUMBER = re.compile(r"\+?[0-9]{1,64}", re.ASCII)


def write_state(key: str, call_id: str, caller_tag: str, state: RouteState, domain: str) -> str:
    """Return the route state as a value for our Record-Route.

    `domain`: that of the local users. Raises ValueError for a text that is too long.
    """
    if not 0 <= state.tries < TRIES or not 0 <= state.cseq < CSEQ_LIMIT:
        raise ValueError(f"CSeq {state.cseq}, try {state.tries}")
    flags, phone_from, phone_to = state.tries, state.phone_from, state.phone_to
    if phone_from == f"sip:{state.user}@{domain}":
        flags, phone_from = flags | _FROM_IS_AOR, ""
    if phone_to == f"sip:{state.their_user}@{domain}":
        flags, phone_to = flags | _TO_IS_SAME, ""
    elif phone_to.startswith("sip:") and phone_to.endswith(f"@{domain}"):
        flags, phone_to = flags | _TO_IS_HERE, phone_to[4 : -len(domain) - 1]
    texts = [state.trunk_id, state.user, state.our_user, state.their_user, phone_from, phone_to]
    while texts and not texts[-1]:  # `_unpack` reads a missing text as empty
        texts.pop()
    content = bytes([flags]) + state.cseq.to_bytes(4, "big") + b"".join(map(_pack, texts))
    return encrypt(key, state.kind, (call_id, caller_tag), content)


def read_state(
    key: str, call_id: str, from_tag: str, to_tag: str, value: str, domain: str
) -> tuple[RouteState, bool] | None:
    """Return the route state, and whether the caller sends the message; None if it is not ours.

    `from_tag`, `to_tag`: of the request; for a reply those of the request that it answers.
    """
    if not _VALUE.fullmatch(value):
        return None
    for tag, is_caller in ((from_tag, True), (to_tag, False)):
        content = decrypt(key, value[0], (call_id, tag), value)
        if content is not None:
            return _state(Kind(value[0]), content, domain), is_caller
    return None


def find_state(uris: Iterable[Uri | None], param: str = PARAM) -> str | None:
    """Return the value of the first URI that may have a route state in this parameter."""
    for uri in uris:
        value = uri.params.get(param, "") if uri is not None else ""
        if _VALUE.fullmatch(value):
            return value
    return None


def _state(kind: Kind, content: bytes, domain: str) -> RouteState:
    flags, cseq, at = content[0], int.from_bytes(content[1:5], "big"), 5
    texts = []
    for _ in range(6):
        text, at = _unpack(content, at)
        texts.append(text)
    trunk_id, user, ours, theirs, phone_from, phone_to = texts
    if flags & _FROM_IS_AOR:
        phone_from = f"sip:{user}@{domain}"
    if flags & _TO_IS_SAME:
        phone_to = f"sip:{theirs}@{domain}"
    elif flags & _TO_IS_HERE:
        phone_to = f"sip:{phone_to}@{domain}"
    tries = flags & TRIES - 1
    return RouteState(kind, user, trunk_id, cseq, tries, ours, theirs, phone_from, phone_to)


def _pack(text: str) -> bytes:
    """Write a text after its length. A telephone number becomes one number.

    A first digit keeps its zeros, and shows the +.
    """
    if _NUMBER.fullmatch(text):
        number = int(f"2{text[1:]}" if text[0] == "+" else f"1{text}")
        size = (number.bit_length() + 7) // 8
        return bytes([_PACKED_FLAG | size]) + number.to_bytes(size, "big")
    raw = text.encode()
    if len(raw) > TEXT_LIMIT:
        raise ValueError("a text of the route state is too long")
    if len(raw) < _LONG:
        return bytes([len(raw)]) + raw
    return bytes([_LONG, len(raw)]) + raw


def _unpack(content: bytes, at: int) -> tuple[str, int]:
    """Read the text at an offset; return it and the next offset."""
    if at >= len(content):
        return "", at
    length, at = content[at], at + 1
    if length & _PACKED_FLAG:
        end = at + (length & _LONG)
        digits = str(int.from_bytes(content[at:end], "big"))
        return ("+" if digits[0] == "2" else "") + digits[1:], end
    if length == _LONG:
        length, at = content[at], at + 1
    return content[at : at + length].decode(), at + length
