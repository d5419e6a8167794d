"""Contacts, as the 200 to a REGISTER lists them (RFC 3261 10.3, 20.10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from whence.core.sip.uri import Uri

SECONDS_LIMIT = 2**31

LISTED_LIMIT = 200
"""How many are read of one header: no account has more, and an attacker's may be anything."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One Contact, with its `expires` parameter in seconds where it has one."""

    uri: Uri
    expires_s: int | None = None
    q: float = 1.0
    """Its preference, from 0 to 1 (RFC 3261 20.10); 1 without the parameter."""

    @classmethod
    def parse(cls, text: str) -> Contact:
        """Read one. What cannot be read is listed all the same, and is nobody's."""
        uri = Uri.of_header(text) or _UNREADABLE
        after = text.rpartition(">")[2] if ">" in text else text.partition(";")[2]
        expires, q = _EXPIRES.search(after), _Q.search(after)
        return cls(
            uri,
            seconds(expires.group(1)) if expires else None,
            float(q.group(1)) if q else 1.0,
        )


_UNREADABLE = Uri("", "", "")
_EXPIRES = re.compile(r"(?:^|;)\s*expires\s*=\s*(\d+)", re.IGNORECASE)
_Q = re.compile(
    r"(?:^|;)\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.ASCII | re.IGNORECASE
)
_SECONDS = re.compile(r"\s*(\d{1,10})", re.ASCII)


def listed(header: str) -> list[Contact]:
    """Read a Contact header that may list several, with commas between them."""
    return [Contact.parse(text) for text in parts(header)]


def parts(header: str) -> Iterator[str]:
    """Cut at the commas that stand in no quotes and no angle brackets."""
    begin, quoted, escaped, inside, found = 0, False, False, False, 0
    for at, c in enumerate(header):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = c == "\\", c != '"'
        elif c == '"':
            quoted = True
        elif c == "<":
            inside = True
        elif c == ">":
            inside = False
        elif c == "," and not inside:
            yield header[begin:at]
            begin, found = at + 1, found + 1
            if found == LISTED_LIMIT:
                return
    if header[begin:].strip():
        yield header[begin:]


def seconds(text: str | None) -> int | None:
    """Read delta-seconds (RFC 3261 25.1), as in Expires; None where there are none."""
    number = _SECONDS.match(text or "")
    return min(int(number.group(1)), SECONDS_LIMIT) if number else None
