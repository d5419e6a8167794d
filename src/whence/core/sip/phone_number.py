"""Telephone numbers, compared without separators: `+44 20 7123-4567` is `+442071234567`.

The agent stores each number of a trunk in all its spellings. The edge removes the separators from
the number in a request, and looks it up exactly. A prefix, `+4420712345*`, owns all numbers that
begin like it.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from whence.core.sip.uri import Uri

LONGEST = 32
"""Digits of a telephone number at most. E.164 has 15, without prefixes."""

PREFIX_END = "*"
"""The end of a prefix, which means all numbers that begin like it."""

LEAST = 3
"""Digits of a prefix at least: fewer would own half a continent."""

LEAST_ACCOUNT = 5
"""Digits at least of an account that may be a number with its country, but without the +."""

LEAST_SUBSCRIBER = 5
"""Digits at least after a prefix of the country: a number with fewer is a short code."""

_SEPARATORS = str.maketrans("", "", " -.()")


def bare(text: str) -> str | None:
    """Return a number without its separators; None where `text` is not a number."""
    number = text.translate(_SEPARATORS)
    digits = number.removeprefix("+")
    is_number = 0 < len(digits) <= LONGEST and digits.isascii() and digits.isdigit()
    return number if is_number else None


def called(uri: Uri) -> str | None:
    """Return the bare number that a URI calls (RFC 3966, RFC 3261 19.1.6), or None.

    A local number is joined with its global context: `2071234567;phone-context=+44` is
    `+442071234567`.
    """
    written, context = uri.subscriber
    number = bare(written)
    if number is None or number.startswith("+") or not context.startswith("+"):
        return number
    return bare(context + number)


def owns(spelling: str, number: str) -> bool:
    """Return whether `spelling`, of a trunk's number or prefix, owns the bare number `number`."""
    if spelling.endswith(PREFIX_END):
        return number.startswith(spelling.removesuffix(PREFIX_END))
    return spelling == number


def closeness(spelling: str) -> int:
    """Return the rank of an owner of a number: the number itself, then the longest prefix."""
    return len(spelling) if spelling.endswith(PREFIX_END) else LONGEST * 2


def account_spellings(account: str) -> frozenset[str]:
    """Return the spellings of an account; the account alone where it is not a telephone number.

    An account `4930222` may be the number `+4930222`, or not: that depends on its provider. So it
    counts as that number wherever this prevents a call to a wrong trunk.
    """
    number = bare(account)
    if number is None:
        return frozenset({account})
    digits = number.removeprefix("+").removeprefix("00")
    if number.startswith("0") and not number.startswith("00"):
        digits = ""
    forms = {account, number}
    if len(digits) >= LEAST_ACCOUNT and not digits.startswith("0"):
        forms |= {digits, f"+{digits}", f"00{digits}"}
    return frozenset(forms)


class Format(StrEnum):
    """How a number is written for a target."""

    AS_SENT = "as_sent"
    E164 = "e164"
    NATIONAL = "national"
    PLAIN = "plain"


class Style(NamedTuple):
    """A format, and the prefixes of its country."""

    format: Format = Format.AS_SENT
    code: str = ""
    """The calling code of the country: `49`; empty where none is configured."""
    trunk_prefix: str = ""
    """Before a national number: `0` in most of Europe."""
    international: str = "00"
    """The prefix that replaces the +."""

    def __str__(self) -> str:
        return ":".join(self)

    @classmethod
    def parse(cls, text: str) -> Style:
        """Read the result of `str`; empty text is the default."""
        return _style(text)


@lru_cache(maxsize=1024)
def _style(text: str) -> Style:
    if not text:
        return Style()
    format_, code, trunk_prefix, international = text.split(":")
    return Style(Format(format_), code, trunk_prefix, international)


def written(number: str, e164: str, style: Style) -> str:
    """Write a bare number in a style. `e164`: the same number in E.164; empty: unknown.

    A number of an unknown country is written as it was sent.
    """
    if style.format is Format.AS_SENT:
        return number
    e164 = e164 or in_e164(number, style)
    if not e164:
        return number
    if style.format is Format.E164:
        return e164
    digits = e164.removeprefix("+")
    if style.format is Format.PLAIN:
        return digits
    if style.code and digits.startswith(style.code):
        return style.trunk_prefix + digits.removeprefix(style.code)
    return style.international + digits


def in_e164(number: str, style: Style) -> str:
    """Return a bare number in E.164 by its prefix; empty where no prefix names its country."""
    if number.startswith("+"):
        return number
    prefixes = [(style.international, "+"), ("00", "+")]
    if style.code and style.trunk_prefix:
        prefixes.append((style.trunk_prefix, f"+{style.code}"))
    for prefix, replacement in prefixes:
        rest = number.removeprefix(prefix)
        if prefix and number.startswith(prefix) and len(rest) >= LEAST_SUBSCRIBER:
            return replacement + rest
    return ""
