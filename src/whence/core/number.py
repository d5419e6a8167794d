"""Telephone numbers, compared by form: `+44 20 7123-4567` is `+442071234567`.

The agent writes each number of a trunk into the directory in all its spellings; the edge drops
the separators from what a request says and looks it up exactly. A range, `+4420712345*`, owns all
numbers that begin like it.
"""

from __future__ import annotations

from whence.core.uri import Uri

LONGEST = 32
"""Digits; more than these are no telephone number (E.164 has 15, without prefixes)."""

RANGE = "*"
"""Ends what is a range of numbers."""

LEAST = 3
"""Digits before it: less would own half a continent."""

_SEPARATORS = str.maketrans("", "", " -.()")


def bare(text: str) -> str | None:
    """What is left of a written number without its separators; None where it is no number."""
    number = text.translate(_SEPARATORS)
    digits = number.removeprefix("+")
    is_number = 0 < len(digits) <= LONGEST and digits.isascii() and digits.isdigit()
    return number if is_number else None


def called(uri: Uri) -> str | None:
    """The bare number that a URI calls (RFC 3966, RFC 3261 19.1.6); None where it calls none.

    A number that is local to a global context is what the two are together:
    `2071234567;phone-context=+44` is `+442071234567`.
    """
    written, context = uri.subscriber
    number = bare(written)
    if number is None or number.startswith("+") or not context.startswith("+"):
        return number
    return bare(context + number)


def owns(spelling: str, number: str) -> bool:
    """Whether a trunk's number, or range, in this spelling is, or holds, a bare number."""
    if spelling.endswith(RANGE):
        return number.startswith(spelling.removesuffix(RANGE))
    return spelling == number


def closeness(spelling: str) -> int:
    """Orders what owns one number: the number itself, then the ranges, the longest first."""
    return len(spelling) if spelling.endswith(RANGE) else LONGEST * 2
