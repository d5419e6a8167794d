"""How numbers are dialled in a country, as a value of the core, and numbers in canonical form."""

from __future__ import annotations

from functools import cache

from whence.agent.config import phone_numbers
from whence.core.outbound.numbers import DialPlan
from whence.core.sip.phone_number import PREFIX_END, bare

_UNPREFIXED = frozenset({"", "1"})
"""Trunk prefixes that callers leave out: none, and that of North America."""


@cache
def dial_plan(code: str) -> DialPlan:
    """Return the dial plan of a country by its calling code; empty: no country."""
    home = phone_numbers.country(code)
    if home is None:
        return DialPlan()
    lengths = home.lengths if home.trunk_prefix in _UNPREFIXED else ()
    return DialPlan(phone_numbers.style("as_sent", code), lengths)


def canonical(text: str, code: str) -> str:
    """Return a number, or a prefix with its star, in the form that rules compare.

    `code`: the calling code of its country. Raises ValueError for a number without country, or in
    no valid form.
    """
    phone_numbers.check(text)
    if text.endswith(PREFIX_END):
        digits = phone_numbers.e164(text, code)
        number = f"{digits}{PREFIX_END}" if digits else None
    else:
        number = dial_plan(code).canonical(bare(text) or "")
    if number is None or not number.startswith("+"):
        raise ValueError(
            f'"{text}" has no country code; write it as "+442071234567", or write country = "44" '
            "in [edge]"
        )
    return number
