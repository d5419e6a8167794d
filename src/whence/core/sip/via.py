"""The Via headers: where Kamailio sends a reply, and how the server saw our request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from whence.core.sip.grammar import parse_params, split_list
from whence.core.sip.transport_address import TRANSPORTS, Transport, TransportAddress, canonical_ip
from whence.core.sip.uri import host_text

_VIA = re.compile(
    r"sip\s*/\s*2\.0\s*/\s*(" + "|".join(TRANSPORTS) + r")\s+"
    r"(\[[0-9a-f:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?\s*"
    r"((?:;\s*[a-z0-9_.-]+\s*(?:=\s*[a-z0-9_.:!%*+~\[\]-]*\s*)?)*)",
    re.ASCII,
)
"""Matches a Via that all parsers read alike, in small letters. Its host is an ip address."""


_PORT = re.compile(r":\s*([0-9]{1,5})\s*$", re.ASCII)

RPORT_FLAG = 5
"""Kamailio's flag of a request whose reply goes to the source port, though it has no `rport`."""

TO_PHONE_FLAG = 12
"""Kamailio's flag of a request that goes to a phone: over its own connection, or not at all."""

NAT_FLAG = 6
"""Kamailio's branch flag of a contact behind NAT. Branch flags count on their own."""

KEEPALIVE_FLAG = 7
"""Kamailio's branch flag of a contact that gets OPTIONS, which keep the way through its NAT."""


def reply_destination(values: Sequence[str]) -> str | None:
    """Return where Kamailio sends a stateless reply: `transport:ip:port`, and `#connection`.

    `values`: the values of the reply's Via headers in small letters, the edge's own first. The
    second Via names the destination (RFC 3261 18.2.2, RFC 3581 4). Only a stream has a connection:
    Kamailio writes it into the parameter `i` of its own Via. None where one of the two is not
    valid, or where the second has a host name or `maddr`: Kamailio would resolve the name.
    """
    vias = [via for value in values for via in value.split(",")]
    read = [_VIA.fullmatch(via.strip()) for via in vias[:2]]
    if len(read) < 2 or read[0] is None or read[1] is None:
        return None
    transport, host, port, _ = read[1].groups()
    ours, theirs = _params(read[0][4]), _params(read[1][4])
    if ours is None or theirs is None or "maddr" in theirs:
        return None
    try:
        ip = canonical_ip(theirs.get("received") or host)
        to_port = int(theirs.get("rport") or port or TRANSPORTS[transport].default_port)
        connection = "" if transport == "udp" else f"#{int(ours['i'][::-1], 16)}"
    except (KeyError, ValueError):
        return None
    return f"{transport}:{host_text(str(ip))}:{to_port}{connection}"


def branch(value: str) -> str:
    """Return the branch of the first Via in a header value; empty if it has none.

    `value`: in its own letters. A Via with a repeated parameter has no branch.
    """
    first = next(split_list(value), "")
    sent_by, semicolon, rest = first.partition(";")
    params = parse_params(semicolon + rest) if '"' not in sent_by else None
    found = [value for name, value in params or () if name == "branch"]
    return found[0] if len(found) == 1 else ""


def reply_port(values: Sequence[str], source: TransportAddress) -> int:
    """Return the port to which a reply to a request from `source` is sent.

    `values`: the values of the request's Via headers in small letters. With `rport` in the topmost
    Via it is the source port (RFC 3581 4). Otherwise it is the port of that Via (RFC 3261 18.2.2).
    """
    _, *params = next(iter(values), "").partition(",")[0].split(";")
    if any(param.partition("=")[0].strip() == "rport" for param in params):
        return source.port
    return sent_by_port(values, source.transport)


def sent_by_port(values: Sequence[str], transport: Transport) -> int:
    """Return the port that the topmost Via itself names. `values`: as of `reply_port`."""
    port = _PORT.search(next(iter(values), "").partition(",")[0].partition(";")[0])
    return int(port[1]) if port else transport.default_port


def is_sent_by(values: Sequence[str], source: TransportAddress) -> bool:
    """Return whether the topmost Via names the source itself. `values`: as of `reply_port`."""
    sent_by = next(iter(values), "").partition(",")[0].partition(";")[0]
    _, _, host = _PORT.sub("", sent_by).strip().rpartition(" ")
    try:
        is_there = canonical_ip(host) == source.ip
    except ValueError:
        return False
    return is_there and sent_by_port(values, source.transport) == source.port


def seen_at(value: str) -> str:
    """Return the `ip:port` at which a server saw our request; empty if its reply does not say it.

    `value`: our own Via in the reply. The server wrote `received` and `rport` into it (RFC 3581 4),
    or `received` alone (RFC 3261 18.2.1).
    """
    read = _VIA.fullmatch(value.strip().lower())
    params = None if read is None else _params(read[4])
    if read is None or params is None or not (params.get("received") or params.get("rport")):
        return ""
    transport, host, port, _ = read.groups()
    try:
        ip = canonical_ip(params.get("received") or host)
        number = int(params.get("rport") or port or TRANSPORTS[transport].default_port)
    except ValueError:
        return ""
    return f"{host_text(str(ip))}:{number}" if 0 < number < 65536 else ""


def _params(text: str) -> dict[str, str] | None:
    """Return the parameters of a Via; None where one occurs twice."""
    found: dict[str, str] = {}
    for part in text.split(";")[1:]:
        name, _, value = part.partition("=")
        found[name.strip()] = value.strip()
    return found if len(found) == text.count(";") else None
