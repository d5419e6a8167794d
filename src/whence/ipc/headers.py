"""The SIP headers between edge and agent, and the MACs that authenticate them.

The agent's request names a next hop and the socket from which the edge sends it. The edge adds a
*source header* to the reply: the address that the answer came from. A MAC with the agent key covers
both. Only the edge and the agent have that key, and no message carries it. So neither the
sender of a forwarded reply nor a process on the agent port can write these headers.
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import quote

from whence.core.mac import mac

PREFIX = "x-whence"
"""The start of the name of each header here, in small letters."""

NEXT_HOP = "X-Whence-Next-Hop"
NAME_PARAM = ";name="
"""Begins the last part of a next hop over TLS: the name that the certificate must be for."""
SOCKET = "X-Whence-Socket"
MAC = "X-Whence-Mac"
SOURCE = "X-Whence-Source"
TLS_REJECT_REASON = "X-Whence-Tls-Reject-Reason"
"""Replaces the source header: why the edge rejects an answer over TLS: `code;detail`."""
SEEN_AT = "X-Whence-Seen-At"
"""Beside the source header: the `ip:port` at which the server saw our request, as its reply has it.
Absent if the reply does not say it.
"""
TRUNK = "X-Whence-Trunk"

DETAIL_LIMIT = 200
"""Characters of the detail of a TLS reject reason, before they are escaped."""


class TlsReject(StrEnum):
    """The codes of TLS_REJECT_REASON."""

    CERTIFICATE_FOR_ANOTHER_NAME = "certificate_for_another_name"
    """Detail: a name in the certificate, if it has one."""
    ANSWERED_OVER_ANOTHER_TRANSPORT = "answered_over_another_transport"
    """Detail: that transport."""


def tls_reject_reason(code: TlsReject, detail: str) -> str:
    """Write the value of TLS_REJECT_REASON. The peer may have chosen the detail: it is escaped."""
    return f"{code};{quote(detail[:DETAIL_LIMIT], safe='*:@', errors='replace')}"


def tls_reject_message(value: str, name: str) -> str:
    """Return the value of TLS_REJECT_REASON in words. `name`: the name that the agent asked for."""
    code, _, detail = value.partition(";")
    if code == TlsReject.CERTIFICATE_FOR_ANOTHER_NAME:
        return f"its certificate is for {detail or 'no name'}, not {name}"
    if code == TlsReject.ANSWERED_OVER_ANOTHER_TRANSPORT:
        return f"a request over TLS was answered over {detail}"
    return f"the edge rejects the answer: {value}"


def request_mac(key: str, method: str, call_id: str, cseq: str, next_hop: str, socket: str) -> str:
    """Return the MAC over a request of the agent, its next hop and its socket."""
    return _mac(key, "request", method, call_id, cseq, next_hop, socket)


def reply_mac(
    key: str,
    call_id: str,
    cseq: str,
    status: int,
    source: str,
    reject_reason: str = "",
    seen_at: str = "",
) -> str:
    """Return the MAC of a reply: which answer, its source or why the edge rejects it, SEEN_AT."""
    return _mac(key, "reply", call_id, cseq, str(status), source, reject_reason, seen_at)


def _mac(key: str, *parts: str) -> str:
    return mac(key, 16, *parts)
