"""Reads the further headers that trunks list in `number_headers`.

`Diversion` (RFC 5806) and `History-Info` (RFC 7044) may hold several values. Here the latest value
comes first: the first one of `Diversion`, the last one of `History-Info`. A provider's private
header may hold a number or a name without a URI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from whence.core.sip.grammar import split_list, split_word
from whence.core.sip.phone_number import bare
from whence.core.sip.uri import Uri

HISTORY_INFO = "history-info"

SEVERAL = frozenset({"diversion", HISTORY_INFO})
"""Headers that may hold several values, in one line or several."""

VALUES_LIMIT = 4
"""How many values of one header are read."""

LENGTH_LIMIT = 4_000
"""How many characters a header has at most. A longer one counts as absent."""


def text_of(headers: Iterable[tuple[str, str]]) -> str:
    """Write headers, as (name in lower case, value), as one text with a line for each."""
    return "\n".join(
        [
            f"{name}: {value.replace(chr(13), ' ').replace(chr(10), ' ').strip()}"
            for name, value in headers
            if len(value) <= LENGTH_LIMIT
        ]
    )


def read(text: str) -> Mapping[str, tuple[Uri, ...]]:
    """Read the text of `text_of`: header name → its URIs, in the order of their weight."""
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
