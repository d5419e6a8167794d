"""Cookies of dialogs that Kamailio itself begins and checks: those of the simple form.

Both parties of such a dialog send over UDP from one place each. A cookie has one MAC for both
directions: it covers the places from which the parties send. A party of the *near* form is reached
at that very place. A party of the *far* form is reached by another Contact, or along further
Routes. For requests to it, the cookie has a second MAC, which covers that path.

A MAC is a SHA-256 over a key and a text, because Kamailio can make it. The key has a fixed length.
Only 24 of the 64 digits are in the cookie, so no party can extend the hashed text.

The routes are in kamailio/cfg/simple_dialogs.cfg.j2. Kamailio's table DIALOGS has an item for each
of these dialogs (`item.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

from whence.core.dialogs.arrival import MICROSECONDS, Arrival
from whence.core.dialogs.record import RequestPath, Side
from whence.core.mac import is_same, mac

NEAR, FAR = "b", "c"
"""The first letter of Kamailio's cookies: the kind says which form the caller has."""

KINDS = (NEAR, FAR)

MAC_LENGTH = 24

PATH_MARK = "w"
"""The letter before the second MAC of a cookie."""

COOKIE = rf"[{NEAR}{FAR}][0-9]{{10}}d[0-9]{{1,6}}d[0-9]{{1,10}}d[0-9a-f]{{{MAC_LENGTH}}}"
"""A regular expression: the second and microsecond of the start, Kamailio's process, the MAC."""

PATH_MAC = rf"{PATH_MARK}[0-9a-f]{{{MAC_LENGTH}}}"
"""A regular expression: what follows in a cookie for requests to a party of the far form."""

_COOKIE = re.compile(COOKIE, re.ASCII)
_ANY_COOKIE = re.compile(rf"({COOKIE})(?:{PATH_MAC})?", re.ASCII)

TO_CALLER, TO_CALLEE = "r", "e"
"""What a second MAC begins with: the party that it leads to."""

KEY_LENGTH = 32

TEXT_LIMIT = 128
"""The longest Call-ID or tag of the simple form."""

CONTACT_LIMIT = 200
"""The longest Contact of the simple form."""

ROUTES_LIMIT = 8
"""How many proxies a route set of the simple form has at most, without the edge."""

ROUTES_LENGTH = 600
"""The longest route set of the simple form."""

KEY_END = ">"
"""Each key of the table ends with it: Kamailio cuts the cookie out of `<sip:…;whence=COOKIE>`."""


def key_for_kamailio(key: str) -> str:
    """Derive Kamailio's key from that of the edge's cookies."""
    return mac(key, KEY_LENGTH // 2, "native dialogs")


def began_at(cookie: str) -> float:
    """Return the instant at which a cookie's dialog began. Raises ValueError for other text."""
    return arrival_of(cookie).at


def arrival_of(cookie: str) -> Arrival:
    """Return the arrival of the INVITE of a cookie's dialog. Raises ValueError for other text."""
    if _COOKIE.match(cookie) is None:
        raise ValueError("no cookie of Kamailio")
    second, microsecond, process, _ = cookie[1:].split("d", 3)
    return Arrival(int(second) * MICROSECONDS + int(microsecond), int(process))


def id_of(cookie: str) -> str:
    """Return the id of a dialog that Kamailio began: its own cookie.

    `cookie`: Kamailio's cookie, or one that the edge wrote later, with two more MACs.
    """
    found = _COOKIE.match(cookie)
    return found[0] if found is not None else ""


def is_native(cookie: str) -> bool:
    """Return whether Kamailio wrote all of a cookie. A cookie of the edge may begin with one."""
    return _ANY_COOKIE.fullmatch(cookie) is not None


def write_cookie(key: str, id_: str, call_id: str, caller: str, callee: str) -> str:
    """Write Kamailio's cookie. `caller`, `callee`: `ip:port`. `id_`: ends before the MAC."""
    return id_ + _mac(key, id_, caller, callee, call_id)


def add_path(key: str, cookie: str, call_id: str, to: Side, there: Sequence[str], ip: str) -> str:
    """Write the cookie for requests to a party of the far form.

    `cookie`: that of `write_cookie`. `there`: the places on the path to the party. `ip`: where the
    caller sends from, for requests to the callee.
    """
    return cookie + PATH_MARK + _path_mac(key, cookie, call_id, to, there, ip)


def covers(key: str, cookie: str, call_id: str, caller: str, callee: str) -> bool:
    """Return whether Kamailio wrote a cookie for this call between `caller` and `callee`."""
    cookie = id_of(cookie)
    id_, theirs = cookie[:-MAC_LENGTH], cookie[-MAC_LENGTH:]
    return is_same(theirs, _mac(key, id_, caller, callee, call_id))


def direction_of_old(
    key: str, cookie: str, call_id: str, there: tuple[str, ...], senders: Sequence[str]
) -> tuple[Side, RequestPath] | None:
    """Return the sender and the path of a request, where only its cookie is known.

    `senders`: the places, as `ip:port`, from which its sender may have sent before.
    """
    transport, _, receiver = there[0].partition(":")
    if transport != "udp":
        return None
    path = RequestPath(there, f"sip:{receiver}")
    base, _, path_mac = cookie.partition(PATH_MARK)
    for sender in senders:
        if path_mac:
            ip = sender.rpartition(":")[0]
            for to in Side:
                if is_same(path_mac, _path_mac(key, base, call_id, to, there, ip)):
                    return to.other, path
        if len(there) > 1:
            continue
        if covers(key, base, call_id, sender, receiver):
            return Side.CALLER, path
        if base.startswith(NEAR) and covers(key, base, call_id, receiver, sender):
            return Side.CALLEE, path
    return None


def _path_mac(key: str, cookie: str, call_id: str, to: Side, there: Sequence[str], ip: str) -> str:
    places = ",".join(there)
    if to is Side.CALLER:
        return _mac(key, cookie, TO_CALLER, places, call_id)
    return _mac(key, cookie, TO_CALLEE + ip, places, call_id)


def _mac(key: str, id_: str, *parts: str) -> str:
    # No part but the last has a blank in it, so two lists of parts never give the same text.
    text = f"{key}{id_} {' '.join(parts)}"
    return sha256(text.encode()).hexdigest()[:MAC_LENGTH]
