"""Contacts, as the 200 to a REGISTER lists them (RFC 3261 10.3, 20.10)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from whence.core.sip.grammar import parse_params, parse_seconds, split_list, split_name_addr
from whence.core.sip.uri import Uri

LISTED_LIMIT = 200
"""Contacts of one header that are read. No account has more, and a peer may send any number."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One Contact, with its `expires` parameter in seconds where it has one."""

    uri: Uri
    expires_s: int | None = None
    q: float = 1.0
    """Its preference, from 0 to 1 (RFC 3261 20.10); 1 without the parameter."""

    @classmethod
    def parse(cls, text: str) -> Contact:
        """Parse one Contact. An invalid one has an empty URI, which matches no account.

        A repeated `expires` is invalid (RFC 3261 7.3.1); the shortest counts, so that no address
        stays valid for longer than the registrar granted.
        """
        found = split_name_addr(text)
        uri = Uri.parse(found[0]) if found is not None else None
        params = parse_params(found[1]) if found is not None else None
        if uri is None or params is None:
            return cls(_INVALID)
        times = [parse_seconds(value) for name, value in params if name == "expires"]
        preferences = [value for name, value in params if name == "q" and _Q.fullmatch(value)]
        return cls(
            uri,
            min((time for time in times if time is not None), default=None),
            float(preferences[0]) if preferences else 1.0,
        )


_INVALID = Uri("", "", "")
_Q = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def listed(header: str) -> list[Contact]:
    """Parse a Contact header, which may list several with commas between them."""
    return [Contact.parse(text) for text in islice(split_list(header), LISTED_LIMIT)]
