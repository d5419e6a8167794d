"""SIP text: write REGISTER and OPTIONS, and parse their answers into the core's types.

Headers are read by the grammar in core/sip, as the edge reads them. A message that is not valid
raises InvalidReplyError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from whence.core.registration.events import Send
from whence.core.registration.model import Account, Reply
from whence.core.sip.challenges import HEADER_LIMIT, parse_challenges, parse_params
from whence.core.sip.contact import Contact, listed
from whence.core.sip.digest import AuthenticationInfo, Challenge
from whence.core.sip.grammar import parse_cseq, parse_seconds
from whence.core.sip.message import Message
from whence.core.sip.uri import Uri, escape_user, host_text
from whence.core.sip.via import branch, seen_at
from whence.errors import InvalidReplyError
from whence.ipc import headers

REPLY_LIMIT = 65_535
PHRASE_LIMIT = 200
"""Characters of a reason phrase that are kept."""
HEADERS_LIMIT = 256
"""Header lines of a reply. No registrar sends more."""

_STATUS_LINE = re.compile(r"sip/2\.0 +([1-6][0-9]{2})(?: .*)?")


class Received(NamedTuple):
    """A reply from the edge: the request that it answers, its source header, its content."""

    branch: str
    call_id: str
    cseq: int
    method: str
    status: int
    source: str
    mac: str
    reply: Reply
    tls_reject_reason: str = ""
    seen_at: str = ""
    """From the edge's header."""
    via: str = ""
    """The first Via header."""

    @property
    def via_seen_at(self) -> str:
        """From the Via, if the server answered a connection of the agent's own."""
        return seen_at(self.via)


def uri_text(uri: Uri) -> str:
    """Return the text of one of our own URIs."""
    port = f":{uri.port}" if uri.port else ""
    params = "".join(f";{name}={value}" for name, value in uri.params.items())
    return f"{uri.scheme}:{escape_user(uri.user)}@{host_text(uri.host)}{port}{params}"


def register(
    account: Account, send: Send, call_id: str, via: str, edge_headers: Sequence[str]
) -> bytes:
    """Write a REGISTER (RFC 3261 10.2). `edge_headers`: the header lines for the edge."""
    lines = [
        f"REGISTER {account.request_uri} SIP/2.0",
        f"Via: {via}",
        f"From: <{account.aor}>;tag={call_id[:16]}",
        f"To: <{account.aor}>",
        f"Call-ID: {call_id}",
        f"CSeq: {send.cseq} REGISTER",
        f"Contact: <{uri_text(account.contact)}>;expires={send.expires_s}",
        *_removed_contact(account, send),
        f"Expires: {send.expires_s}",
        "Max-Forwards: 70",
        *_further_headers(account),
        *edge_headers,
    ]
    lines += [f"{name}: {value}" for name, value in send.authorizations]
    return _message(lines)


def options(uri: str, call_id: str, cseq: int, via: str, edge_headers: Sequence[str]) -> bytes:
    """Write an OPTIONS to the edge itself, as a health check."""
    lines = [
        f"OPTIONS {uri} SIP/2.0",
        f"Via: {via}",
        f"From: <{uri}>;tag={call_id[:16]}",
        f"To: <{uri}>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} OPTIONS",
        "Max-Forwards: 1",
        *edge_headers,
    ]
    return _message(lines)


def keep_alive(account: Account, call_id: str, via: str, edge_headers: Sequence[str]) -> bytes:
    """Write an OPTIONS (RFC 3261 11) to the server that granted."""
    lines = [
        f"OPTIONS {account.request_uri} SIP/2.0",
        f"Via: {via}",
        f"From: <{account.aor}>;tag={call_id[:16]}",
        f"To: <{account.aor}>",
        f"Call-ID: {call_id}",
        "CSeq: 1 OPTIONS",
        f"Contact: <{uri_text(account.contact)}>",
        "Accept: application/sdp",
        "Max-Forwards: 70",
        *_further_headers(account),
        *edge_headers,
    ]
    return _message(lines)


def read(data: bytes) -> Received:
    """Parse a reply.

    Raises: InvalidReplyError for any other datagram.
    """
    if len(data) > REPLY_LIMIT:
        raise InvalidReplyError("too long")
    message = _message_of(data)
    start = _STATUS_LINE.fullmatch(message.start)
    if start is None or message.fault or message.head.count("\r\n") > HEADERS_LIMIT:
        raise InvalidReplyError("not a reply")
    fields = message.fields()
    cseq = parse_cseq(_first(fields, "cseq"))
    if cseq is None:
        raise InvalidReplyError("CSeq")
    status, via = int(start[1]), _first(fields, "via")
    reason = message.first_line.split(None, 2)[2:]
    return Received(
        branch=branch(via),
        call_id=_first(fields, "call-id"),
        cseq=cseq[0],
        method=cseq[1],
        status=status,
        source=_single(fields, headers.SOURCE),
        tls_reject_reason=_single(fields, headers.TLS_REJECT_REASON),
        seen_at=_single(fields, headers.SEEN_AT),
        via=via,
        mac=_single(fields, headers.MAC),
        reply=_reply(fields, status, "".join(reason), cseq[0]),
    )


def _message_of(data: bytes) -> Message:
    try:
        return Message(data.decode())
    except UnicodeDecodeError:
        return Message(data)


def _reply(fields: Mapping[str, list[str]], status: int, reason: str, cseq: int) -> Reply:
    contacts: list[Contact] = []
    for value in fields.get("contact", ()):
        contacts += listed(value)
    challenged: list[Challenge] = []
    infos: list[AuthenticationInfo] = []
    for proxy, challenge_name, info_name in _AUTH_HEADERS:
        for value in fields.get(challenge_name, ()):
            challenged += parse_challenges(value, proxy=proxy)
        infos += authentication_infos(fields.get(info_name, ()), proxy=proxy)
    return Reply(
        status=status,
        reason=_phrase(reason) if len(reason) <= PHRASE_LIMIT else _printable(reason),
        cseq=cseq,
        contacts=tuple(contacts),
        expires_s=_shortest(fields, "expires"),
        min_expires_s=parse_seconds(_first(fields, "min-expires")),
        retry_after_s=parse_seconds(_first(fields, "retry-after")),
        challenges=tuple(challenged),
        infos=tuple(infos),
    )


_AUTH_HEADERS = (
    (False, "www-authenticate", "authentication-info"),
    (True, "proxy-authenticate", "proxy-authentication-info"),
)
"""Whether a proxy writes them, and the headers of challenges and of proofs."""


def authentication_infos(values: Sequence[str], *, proxy: bool) -> list[AuthenticationInfo]:
    """Return the `rspauth` of a reply with its parameters (RFC 7616 3.5); empty without one."""
    if not values:
        return []
    text = ", ".join(values)
    if len(text) > HEADER_LIMIT or not text.isprintable():
        return []
    found = parse_params(text)
    if "rspauth" not in found:
        return []
    return [
        AuthenticationInfo(
            rspauth=found["rspauth"],
            cnonce=found.get("cnonce", ""),
            nonce_count=found.get("nc", ""),
            qop=found.get("qop", ""),
            proxy=proxy,
        )
    ]


_SMALL = {
    name: name.lower()
    for name in (headers.SOURCE, headers.TLS_REJECT_REASON, headers.SEEN_AT, headers.MAC)
}


def _single(fields: Mapping[str, list[str]], name: str) -> str:
    """Return a header that must occur once; with two, one is forged, and none counts."""
    values = fields.get(_SMALL[name], ())
    return values[0] if len(values) == 1 else ""


def _first(fields: Mapping[str, list[str]], name: str) -> str:
    values = fields.get(name)
    return values[0] if values else ""


def _shortest(fields: Mapping[str, list[str]], name: str) -> int | None:
    """Return the shortest time of a header. It may occur once (RFC 3261 7.3.1).

    So no address stays valid for longer than the registrar granted.
    """
    times = [parse_seconds(value) for value in fields.get(name, ())]
    return min((time for time in times if time is not None), default=None)


def _printable(text: str) -> str:
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text[:PHRASE_LIMIT]


_phrase = lru_cache(maxsize=256)(_printable)
"""The same, as one object for all trunks: each keeps the phrase of its last reply."""


def _removed_contact(account: Account, send: Send) -> Sequence[str]:
    """Return the line that removes our former Contact (RFC 3261 10.2.2).

    Else the registrar would send calls to an address that may belong to somebody else now.
    """
    if account.former_contact is None or send.expires_s == 0:
        return ()
    return [f"Contact: <{uri_text(account.former_contact)}>;expires=0"]


_USER_AGENT = ("User-Agent: Whence",)


def _further_headers(account: Account) -> Sequence[str]:
    """Return User-Agent, and the headers of the operator. These come first."""
    if not account.headers:
        return _USER_AGENT
    named = {name.lower() for name, _ in account.headers}
    lines = [f"{name}: {value}" for name, value in account.headers]
    return lines if "user-agent" in named else [*lines, *_USER_AGENT]


def _message(lines: Sequence[str]) -> bytes:
    return ("\r\n".join([*lines, "Content-Length: 0", "", ""])).encode()
