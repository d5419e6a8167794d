"""Kamailio's own item of a dialog in its table DIALOGS: one text, which Kamailio compares.

An item is `CALL-ID CALLEE CALLER'S-URI ROUTES LF TAG TAB TRUNK TAB USER LF CR CALL-ID CALLER `,
with blanks only behind the Call-IDs, CALLEE, the URI and CALLER. CALLER and CALLEE are places as
`ip:port`. ROUTES is the value of the Routes, ours first. When the callee answers, Kamailio puts a
CR before the item, and `CALLEE'S-URI ROUTES LF` behind it. Then the text
`CR CALL-ID SENDER REQUEST-URI ROUTES LF` is in the item for a request from either party to the
other. Records of the edge have no CR.
"""

from __future__ import annotations

from whence.core.dialogs import targets
from whence.core.dialogs.cookie import find_cookie
from whence.core.dialogs.record import DialogRecord, Party, RequestPath
from whence.core.sip.uri import Uri


def is_item(text: str) -> bool:
    """Return whether Kamailio itself wrote an entry of DIALOGS."""
    return "\r" in text


def read_item(text: str) -> DialogRecord:
    """Read what Kamailio wrote about a dialog. Raises ValueError for other text."""
    to_caller, middle, to_callee = text.removeprefix("\r").removesuffix("\n").split("\n")
    tag, trunk_id, user = middle.split("\t")
    call_id, callee, uri, routes = to_caller.rsplit(" ", 3)
    to_callee = to_callee.removeprefix("\r")
    start, caller, *answered = to_callee.rsplit(" ", 3 if text.startswith("\r") else 2)
    if start != call_id:
        raise ValueError("an item with two Call-IDs")
    record = DialogRecord(call_id, tag, trunk_id, user, _party(caller, uri, routes))
    if not text.startswith("\r"):
        return record
    return DialogRecord(call_id, tag, trunk_id, user, record.caller, _party(callee, *answered))


def _party(place: str, uri: str, routes: str) -> Party:
    way = targets.uris(routes.split(","))
    cookie = find_cookie(way[:1])
    if cookie is None:
        raise ValueError("an item without a cookie")
    ours = 2 if find_cookie(way[1:2]) == cookie else 1  # two, if the call left by another socket
    there = targets.places(way[ours:], Uri.parse(uri))
    if there is None:
        raise ValueError("an item without a path")
    path = RequestPath(there, f"sip:{there[0].partition(':')[2]}")
    return Party((place.rpartition(":")[0],), (path,), (cookie,))
