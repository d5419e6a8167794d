"""The cookie in our Record-Route: it names a dialog, and its MACs cover where requests may lead.

The first letter of a cookie is its kind. The edge writes cookies of the kind `a`. Kamailio itself
writes those of the kinds `b` and `c`, which `native.py` describes. The id of a dialog begins with
the kind, and each MAC covers the id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from whence.core.dialogs import native
from whence.core.dialogs.arrival import Arrival
from whence.core.dialogs.record import Side
from whence.core.mac import is_same, mac
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import Uri

PARAM = "whence"
"""The parameter of our Record-Route that holds the cookie."""


KIND = "a"


_TIME_LENGTH = 14
_PROCESS_LENGTH = 6


ID_LENGTH = len(KIND) + _TIME_LENGTH + _PROCESS_LENGTH + 16
"""Letters of a dialog's id: the kind, the microsecond of its INVITE's arrival, the process, then
random digits, in hex."""


MAC_LENGTH = 18


_SOURCE = "h"
"""Before the source of a phone, which is no digit of a cookie."""


COOKIE_LENGTH = ID_LENGTH + 2 * MAC_LENGTH
"""A cookie is the id, a MAC over the Via of the request, and a MAC over the request path.

In a dialog that Kamailio began, the id is Kamailio's own cookie, which is longer. The source of a
phone follows where requests reach the phone there only. The MAC over the path covers it.
"""


RECORD_S = 30 * 86_400
"""How long a dialog without any request keeps its record. Each request starts this time anew."""


OLD_S = 86_400
"""How long after the start of a dialog its cookie alone opens it for all requests."""


HARMLESS = frozenset({"ACK", "BYE", "INFO", "PRACK", "UPDATE"})
"""Requests that begin nothing at a peer that does not know their dialog (RFC 3261 12.2.2)."""


KEPT_LENGTH = 128
"""The longest Call-ID or tag that a record stores unchanged."""


# Cookies.


def new_id(arrival: Arrival, randomness: str) -> str:
    """Make a dialog's id. `arrival`: that of its INVITE. `randomness`: 16 hex digits."""
    process = arrival.process & 0xFFFFFF
    return f"{KIND}{arrival.at_us:0{_TIME_LENGTH}x}{process:0{_PROCESS_LENGTH}x}{randomness}"


def write_cookie(
    key: str,
    id_: str,
    call_id: str,
    via: str,
    to: Side,
    there: Sequence[str],
    from_ip: str,
    source: TransportAddress | None = None,
) -> str:
    """Write the cookie of a Record-Route.

    `via`: where answers to the request are sent, as `transport:ip:port`, for a stream with
    `#connection`. `to`: the party that requests with this cookie reach. `there`: the places on the
    way to it. `from_ip`: the source of these requests; empty: unknown. `source`: where requests
    reach that party, if its Contact does not say it.
    """
    at = "" if source is None else _SOURCE + _digits(source)
    way = _way_mac(key, id_, call_id, to, there, from_ip, at)
    return id_ + _via_mac(key, id_, call_id, via) + way + at


def find_cookie(uris: Sequence[Uri | None]) -> str | None:
    """Return the cookie of the first URI that has one."""
    for uri in uris:
        cookie = uri.params.get(PARAM, "") if uri is not None else ""
        if _COOKIE.fullmatch(cookie):
            return cookie
    return None


_AT = rf"(?:{_SOURCE}[0-4](?:[0-9a-f]{{8}}|[0-9a-f]{{32}})[0-9a-f]{{4}})?"

_COOKIE = re.compile(
    rf"{KIND}[0-9a-f]{{{COOKIE_LENGTH - 1}}}{_AT}|{native.COOKIE}"
    rf"(?:{native.PATH_MAC}|[0-9a-f]{{{2 * MAC_LENGTH}}}{_AT})?",
    re.ASCII,
)


def began_at(cookie: str) -> float:
    """Return the instant at which a cookie's dialog began. Raises ValueError for other text."""
    if cookie.startswith(native.KINDS):
        return native.began_at(cookie)
    return arrival_of(cookie).at


def arrival_of(cookie: str) -> Arrival:
    """Return the arrival of the INVITE of a cookie's dialog. Raises ValueError for other text."""
    if cookie.startswith(native.KINDS):
        return native.arrival_of(cookie)
    end = len(KIND) + _TIME_LENGTH
    return Arrival(int(cookie[len(KIND) : end], 16), int(cookie[end : end + _PROCESS_LENGTH], 16))


def id_of(cookie: str) -> str:
    """Return the id of a cookie's dialog."""
    if cookie.startswith(native.KINDS):
        return native.id_of(cookie)
    return cookie[:ID_LENGTH]


def covers_via(key: str, cookie: str, call_id: str, via: str) -> bool:
    """Return whether a cookie of this call belongs to a request whose answers are sent to `via`."""
    cookie, _, _ = cookie.partition(_SOURCE)
    theirs = cookie[-2 * MAC_LENGTH : -MAC_LENGTH]
    return is_same(theirs, _via_mac(key, cookie[: -2 * MAC_LENGTH], call_id, via))


def source_in(cookie: str) -> TransportAddress | None:
    """Return the source of a phone in a cookie; None where it has none.

    `covers_way` must have verified the cookie.
    """
    _, _, digits = cookie.partition(_SOURCE)
    if not digits:
        return None
    ip = ip_address(bytes.fromhex(digits[1:-4]))
    return TransportAddress(list(Transport)[int(digits[0])], ip, int(digits[-4:], 16))


def _digits(source: TransportAddress) -> str:
    transport = list(Transport).index(source.transport)
    return f"{transport}{source.ip.packed.hex()}{source.port:04x}"


def covers_way(
    key: str, cookie: str, call_id: str, to: Side, there: Sequence[str], from_ip: str
) -> bool:
    """Return whether a cookie of this call was made for the path along the places `there`."""
    cookie, has_source, digits = cookie.partition(_SOURCE)
    id_, theirs, at = cookie[: -2 * MAC_LENGTH], cookie[-MAC_LENGTH:], has_source + digits
    return is_same(theirs, _way_mac(key, id_, call_id, to, there, from_ip, at))


def kept(key: str, text: str) -> str:
    """Return a Call-ID or tag as a record stores it: unchanged, or as a MAC if long or odd."""
    if len(text) <= KEPT_LENGTH and text.isprintable():
        return text
    return "\x1f" + mac(key, MAC_LENGTH // 2, "kept", text)


def _via_mac(key: str, id_: str, call_id: str, via: str) -> str:
    return mac(key, MAC_LENGTH // 2, "via", id_, call_id, via)


def _way_mac(
    key: str, id_: str, call_id: str, to: Side, there: Sequence[str], from_ip: str, at: str
) -> str:
    return mac(key, MAC_LENGTH // 2, f"way{at}", id_, call_id, to, from_ip, *there)
