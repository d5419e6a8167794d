"""Telephone numbers, compared by form: `+44 20 7123-4567` is `00442071234567`.

The agent writes each number of a trunk into the directory in all its spellings; the edge drops
the separators from what a request says and looks it up exactly.
"""

from __future__ import annotations

_SEPARATORS = str.maketrans("", "", " -.()")


def bare(text: str) -> str | None:
    """What is left of a written number without its separators; None where it is no number."""
    number = text.translate(_SEPARATORS)
    digits = number.removeprefix("+")
    return number if digits and digits.isascii() and digits.isdigit() else None


def spellings(number: str) -> frozenset[str]:
    """All bare forms in which a provider may write `number`; ValueError where it is no number."""
    found = bare(number)
    if found is None:
        raise ValueError(f'"{number}" is not a number; write "+442071234567"')
    if not found.startswith(("+", "00")):
        return frozenset({found})
    digits = found.removeprefix("+").removeprefix("00")
    if not digits:
        return frozenset({found})
    return frozenset({"+" + digits, digits, "00" + digits})
