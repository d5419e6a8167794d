"""Further headers in which a provider says whom a call is for: their text, and the URIs in it.

A trunk names them in its `number_headers`. `Diversion` (RFC 5806) and `History-Info` (RFC 7044) may
hold several values; the latest comes first here: of the former the first, of the latter the last.
A header of a provider's own may hold a number, or a name, without a URI around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from whence.core.sip.grammar import split_list, split_word
from whence.core.sip.phone_number import bare
from whence.core.sip.uri import Uri

HISTORY_INFO = "history-info"

SEVERAL = frozenset({"diversion", HISTORY_INFO})
"""Headers that may hold several values, in one line or in several."""

VALUES_LIMIT = 4
"""How many values of one header count."""

LENGTH_LIMIT = 4_000
"""Characters of one header: longer ones count as absent."""


def text_of(headers: Iterable[tuple[str, str]]) -> str:
    """Write (name in small letters, value) as one text, one line each."""
    return "\n".join(
        [
            f"{name}: {value.replace(chr(13), ' ').replace(chr(10), ' ').strip()}"
            for name, value in headers
            if len(value) <= LENGTH_LIMIT
        ]
    )


def read(text: str) -> Mapping[str, tuple[Uri, ...]]:
    """Read what `text_of` wrote: header name → its URIs, the one that counts first comes first."""
    found = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(": ")
        if colon and (uris := _uris(name, value)):
            found[name] = uris
    return found


def _uris(name: str, value: str) -> tuple[Uri, ...]:
    values = list(split_list(value)) if name in SEVERAL else [value]
    if name == HISTORY_INFO:
        values.reverse()
    read_ = [_uri(one) for one in values[:VALUES_LIMIT]]
    return tuple([uri for uri in read_ if uri is not None])


def _uri(text: str) -> Uri | None:
    uri = Uri.of_header(text)
    if uri is not None:
        return uri
    word = split_word(text)
    if bare(word) is not None:
        return Uri("tel", word, "")
    is_word = word.isprintable() and not any(c in word for c in ' :@"<>')
    return Uri("sip", word, "") if word and is_word else None
