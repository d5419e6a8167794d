"""The grammar of header values (RFC 3261 25.1): lists, name-addrs, parameters, quoted strings.

Every reader of a header value uses these functions. A value that the grammar does not allow has no
reading: two parsers could read it differently. Blanks around separators are allowed, also folded
ones. Regular expressions are possessive: their time is proportional to the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]"
"""One character of a token."""

QUOTED = r'"(?:[^"\\]|\\.)*+"'
"""A quoted-string, with its quotes. A quoted-pair in it may be an escaped quote."""

_BLANKS = r"[ \t\r\n]*+"
_BLANK_CHARACTERS = " \t\r\n"

_LIST_ITEM = re.compile(rf'(?:[^",<]++|{QUOTED}|<[^>]*+>)*+', re.DOTALL)
"""Matches up to the next comma outside quotes and brackets."""

_NAME_ADDR = re.compile(
    rf'{_BLANKS}(?:{QUOTED}{_BLANKS}|[^"<>,;:]*+)<([^<>"]*+)>({_BLANKS}(?:;.*+)?)', re.DOTALL
)
_ADDR_SPEC = re.compile(rf'{_BLANKS}([^\s<>",;?]++)({_BLANKS}(?:;.*+)?)', re.DOTALL)
"""A URI without brackets. It has no comma, semicolon or question mark (RFC 3261 20.10)."""

_WORD = re.compile(
    rf'{_BLANKS}(?:({QUOTED})|<([^<>"]*+)>|([^";<>]*+))({_BLANKS}(?:;.*+)?)', re.DOTALL
)

_PARAM = re.compile(
    rf";{_BLANKS}(?:({TOKEN}++){_BLANKS}(?:={_BLANKS}({QUOTED}|(?:[^\s\";,<>]|<[^<>]*+>)*+){_BLANKS})?)?",
    re.DOTALL,
)
"""A parameter. An empty one, as of two semicolons, and a value in bare brackets are tolerated."""

_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_CSEQ = re.compile(rf"{_BLANKS}0*+([0-9]{{0,10}}+)(?<=[0-9])[ \t\r\n]++({TOKEN}++){_BLANKS}")
_SECONDS = re.compile(rf"{_BLANKS}([0-9]++){_BLANKS}(?:[;(].*+)?", re.DOTALL)

CSEQ_LIMIT = 2**31
"""A sequence number is below this limit (RFC 3261 8.1.1.5)."""

SECONDS_LIMIT = 2**31
"""The longest time in seconds; a longer one counts as this."""


def split_list(header: str) -> Iterator[str]:
    """Yield the values of a header, which commas separate.

    A comma in quotes or angle brackets separates nothing. A quote or bracket may have
    no end. The rest of the header is then one value, which the grammar does not allow.
    """
    at, length = 0, len(header)
    while at < length:
        item = _LIST_ITEM.match(header, at)
        end = length if item is None else item.end()
        if end < length and header[end] != ",":
            end = length
        if end < length or header[at:end].strip():
            yield header[at:end]
        at = end + 1


def split_name_addr(value: str) -> tuple[str, str] | None:
    """Split a name-addr or addr-spec into its URI and the text of the header's parameters.

    Parameters after a URI without brackets are the header's (RFC 3261 20.10).
    """
    found = _NAME_ADDR.fullmatch(value) or _ADDR_SPEC.fullmatch(value)
    return (found[1], found[2]) if found is not None else None


def split_word(value: str) -> str:
    """Return the word of a value without its parameters; empty where the value is not valid.

    The word is in quotes, in angle brackets, or bare. It need not be a URI: the header of a
    provider may hold a number with blanks in it.
    """
    found = _WORD.fullmatch(value)
    if found is None or parse_params(found[4]) is None:
        return ""
    quoted, bracketed, bare, _ = found.groups()
    return (unquote(quoted) if quoted else bracketed or bare or "").strip(_BLANK_CHARACTERS)


def parse_params(text: str) -> list[tuple[str, str]] | None:
    """Parse parameters, each after a semicolon; None where the grammar does not allow `text`.

    Returns (name in small letters, value without quotes), in their order. A parameter without a
    value has an empty one.
    """
    params = []
    at = len(text) - len(text.lstrip(_BLANK_CHARACTERS))
    while at < len(text):
        param = _PARAM.match(text, at)
        if param is None:
            return None
        name, value = param.groups()
        if name:
            params.append((name.lower(), unquote(value or "")))
        at = param.end()
    return params


def unquote(text: str) -> str:
    """Return the content of a quoted-string; another text unchanged."""
    if not text.startswith('"'):
        return text
    content = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", content) if "\\" in content else content


def parse_cseq(text: str) -> tuple[int, str] | None:
    """Parse a CSeq into (sequence number, method). The number may have leading zeros."""
    found = _CSEQ.fullmatch(text)
    if found is None:
        return None
    number = int(found[1] or "0")
    return (number, found[2]) if number < CSEQ_LIMIT else None


def parse_seconds(text: str | None) -> int | None:
    """Parse delta-seconds, as in Expires; None for other texts.

    A comment or parameters may follow, as in Retry-After (RFC 3261 20.33).
    """
    found = _SECONDS.fullmatch(text or "")
    if found is None:
        return None
    digits = found[1].lstrip("0") or "0"
    return min(int(digits), SECONDS_LIMIT) if len(digits) <= 10 else SECONDS_LIMIT
