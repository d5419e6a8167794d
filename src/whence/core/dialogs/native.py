"""Dialogs of the simple form, which Kamailio itself begins and checks.

In this form each party is reached at the very address from which it sends, over UDP. Then one MAC
covers both directions: it covers the addresses of both parties. The MAC is a SHA-256 over a key and
a text, because Kamailio can make it. The key has a fixed length. Only 24 of the 64 digits are in
the cookie, so no party can extend the hashed text.

The routes are in kamailio/cfg/simple_dialogs.cfg.j2. Kamailio's table DIALOGS has an item for each
of these dialogs, under the cookie. The item is one text, which Kamailio compares. `read_item` reads
it for the edge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

from whence.core.dialogs.arrival import MICROSECONDS, Arrival
from whence.core.dialogs.record import DialogRecord, Party, RequestPath, Side
from whence.core.mac import is_same, mac

KIND = "b"
"""The first letter of Kamailio's cookies."""

MAC_LENGTH = 24

COOKIE = rf"{KIND}[0-9]{{10}}d[0-9]{{1,6}}d[0-9]{{1,10}}d[0-9a-f]{{{MAC_LENGTH}}}"
"""A regular expression: the second and microsecond of the start, Kamailio's process, the MAC."""

_COOKIE = re.compile(COOKIE, re.ASCII)

KEY_LENGTH = 32

TEXT_LIMIT = 128
"""The longest Call-ID or tag of the simple form."""

CONTACT_LIMIT = 200
"""The longest Contact of the simple form."""

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


def write_cookie(key: str, id_: str, call_id: str, caller: str, callee: str) -> str:
    """Write Kamailio's cookie. `caller`, `callee`: `ip:port`. `id_`: ends before the MAC."""
    return id_ + _mac(key, id_, call_id, caller, callee)


def covers(key: str, cookie: str, call_id: str, caller: str, callee: str) -> bool:
    """Return whether Kamailio wrote a cookie for this call between `caller` and `callee`."""
    id_, theirs = cookie[:-MAC_LENGTH], cookie[-MAC_LENGTH:]
    return is_same(theirs, _mac(key, id_, call_id, caller, callee))


def direction_of_old(
    key: str, cookie: str, call_id: str, there: tuple[str, ...], senders: Sequence[str]
) -> tuple[Side, RequestPath] | None:
    """Return the sender and the path of a request, where only its cookie is known.

    `senders`: the places, as `ip:port`, from which its sender may have sent before.
    """
    transport, _, receiver = there[0].partition(":")
    if len(there) > 1 or transport != "udp":
        return None
    path = RequestPath(there, f"sip:{receiver}")
    for sender in senders:
        if covers(key, cookie, call_id, sender, receiver):
            return Side.CALLER, path
        if covers(key, cookie, call_id, receiver, sender):
            return Side.CALLEE, path
    return None


def _mac(key: str, id_: str, call_id: str, caller: str, callee: str) -> str:
    # No part but the last has a blank in it, so two lists of parts never give the same text.
    text = f"{key}{id_} {caller} {callee} {call_id}"
    return sha256(text.encode()).hexdigest()[:MAC_LENGTH]


# An item is `CALL-ID CALLEE CALLER'S-URI\nTAG\tTRUNK\tUSER\n\rCALL-ID CALLER `. When the callee
# answers, Kamailio puts a CR before it, and the callee's URI and an LF behind it. Then the text
# `\rCALL-ID SENDER REQUEST-URI\n` is in the item for a request from either party to the other.
# Records of the edge have no CR.


def is_item(text: str) -> bool:
    """Return whether Kamailio itself wrote an entry of DIALOGS."""
    return "\r" in text


def read_item(text: str, cookie: str) -> DialogRecord:
    """Read what Kamailio wrote about a dialog. Raises ValueError for other text."""
    to_caller, middle, to_callee = text.removeprefix("\r").removesuffix("\n").split("\n")
    tag, trunk_id, user = middle.split("\t")
    start, callee, _ = to_caller.rsplit(" ", 2)
    call_id, caller, answered = to_callee.removeprefix("\r").rsplit(" ", 2)
    if start != call_id:
        raise ValueError("an item with two Call-IDs")
    record = DialogRecord(call_id, tag, trunk_id, user, _party(caller, cookie))
    return (
        record
        if not answered
        else DialogRecord(call_id, tag, trunk_id, user, record.caller, _party(callee, cookie))
    )


def _party(place: str, cookie: str) -> Party:
    ip, _, _ = place.rpartition(":")
    return Party((ip,), (RequestPath((f"udp:{place}",), f"sip:{place}"),), (cookie,))
