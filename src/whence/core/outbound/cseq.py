"""Sequence numbers of a phone's requests at a trunk (RFC 3261 8.1.1.5, 12.2.1.1; RFC 3262 7.2).

The edge answers a trunk's challenge with another request, which needs a higher number. Each number
of the phone has TRIES numbers at the trunk. So the mapping needs no memory, and survives a restart
of Kamailio. The numbers have gaps, which RFC 3261 12.2.2 permits.
"""

from __future__ import annotations

import re

from whence.core.sip.grammar import CSEQ_LIMIT, TOKEN

TRIES = 8
"""Numbers at the trunk for one number of the phone: the request, and seven answers at most."""

_SPACE = CSEQ_LIMIT // TRIES
"""A phone begins anywhere in 31 bits. Its number modulo this fits."""

_RACK = re.compile(rf"[ \t]*+([0-9]{{1,10}})[ \t]++([0-9]{{1,10}})[ \t]++({TOKEN}++)[ \t]*+")


def outward(number: int, tries: int) -> int:
    """Return the number at the trunk of a phone's `number`. `tries`: below TRIES."""
    return number % _SPACE * TRIES + tries


def inward(number: int) -> tuple[int, int]:
    """Return the phone's number modulo 2^28, and the try, of a `number` at the trunk."""
    return number // TRIES, number % TRIES


def restored(number: int, near: int) -> int:
    """Return the phone's number of a `number` at the trunk. `near`: another one of that dialog."""
    low, _ = inward(number)
    base = near - near % _SPACE + low
    nearest = min((base - _SPACE, base, base + _SPACE), key=lambda one: abs(one - near))
    return nearest if 0 <= nearest < CSEQ_LIMIT else base


def parse_rack(text: str) -> tuple[str, int, str] | None:
    """Parse a RAck into (response number as written, CSeq number, method); None for other texts."""
    found = _RACK.fullmatch(text)
    if found is None or int(found[2]) >= CSEQ_LIMIT:
        return None
    return found[1], int(found[2]), found[3]


def rack_outward(rack: tuple[str, int, str], tries: int) -> str:
    """Write a phone's RAck for the trunk. `tries`: the try of the INVITE that it names."""
    response, number, method = rack
    return f"{response} {outward(number, tries)} {method}"


def shifted(number: int, offset: int) -> int | None:
    """Return the number at the trunk in a dialog that the trunk began; None: it is too high.

    There the phone's first numbers are unchanged. The edge adds one for each challenge that it has
    answered in the dialog.
    """
    return number + offset if number + offset < CSEQ_LIMIT else None
