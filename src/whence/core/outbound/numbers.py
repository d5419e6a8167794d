"""The number that a user dials: its canonical form, and its form for a trunk.

Rules compare the canonical form, and the edge writes the number for a trunk from it. So a phone
cannot dial one number past the rules, and reach another one:
- Separators, escapes, `tel:`, `phone-context` and parameters have no part in what a trunk gets.
- A trunk reads the number that it gets by its own country. `DialPlan.write` reads it back. If the
  result differs from the canonical number, the trunk gets another form, or no call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from whence.core.outbound.trunk_prefixes import TRUNK_PREFIXES
from whence.core.sip.phone_number import (
    LEAST_SUBSCRIBER,
    Format,
    Style,
    bare,
    called,
    in_e164,
    written,
)
from whence.core.sip.uri import Uri

E164_DIGITS = 15
"""Digits of a number in E.164 at most (ITU-T E.164 6.1)."""

LOCAL_DIGITS = 20
"""Digits at most of a number without known country. It bounds the time of a route's pattern."""

SHORT_DIGITS = 8
"""The same where the country of the plan is known: local numbers and short codes.

A longer one may be a code of the network with a number behind it, as `1470` in Britain. No rule
would see that number.
"""


class NumberFormat(StrEnum):
    """How a number is written for a trunk."""

    E164 = "e164"
    """+442071234567"""
    INTERNATIONAL = "international"
    """00442071234567"""
    NATIONAL = "national"
    """02071234567 in its own country, 00… for another"""
    PLAIN = "plain"
    """442071234567"""


class DialPlan(NamedTuple):
    """How numbers are dialled in a country. The default has no country."""

    style: Style = Style()
    lengths: tuple[int, ...] = ()
    """Digits of a national number that is dialled without a prefix, as in Spain. Empty: none."""

    def canonical(self, number: str) -> str | None:
        """Return a bare number in E.164; unchanged if its country is unknown.

        None for a number that no telephone has, or that readers could read differently.
        """
        e164 = in_e164(number, self.style) or self._undialled(number)
        if not e164:
            longest = SHORT_DIGITS if self.style.code else LOCAL_DIGITS
            return number if len(number) <= longest else None
        return _without_trunk_prefix(e164)

    def write(self, number: str, format_: NumberFormat) -> str | None:
        """Write a canonical number for a trunk of this country.

        A form that this country reads as another number is replaced by E.164. None for a number
        without country code that this country reads as a number of a country.
        """
        if not number.startswith("+"):
            return number if self.canonical(number) == number else None
        if format_ is NumberFormat.E164:
            return number
        text = self._written(number, format_)
        is_safe = format_ is NumberFormat.PLAIN or self.canonical(text) == number
        return text if is_safe else number

    def _written(self, number: str, format_: NumberFormat) -> str:
        digits = number.removeprefix("+")
        if format_ is NumberFormat.PLAIN:
            return digits
        if format_ is NumberFormat.NATIONAL:
            return written(number, number, self.style._replace(format=Format.NATIONAL))
        return self.style.international + digits

    def _undialled(self, number: str) -> str:
        if self.style.code and number.isdigit() and len(number) in self.lengths:
            return f"+{self.style.code}{number}"
        return ""


def _without_trunk_prefix(e164: str) -> str | None:
    """Remove the trunk prefix that some write after the country code: +44 (0)20 7123 4567.

    None for a number that still begins with 0: a trunk could read it as a foreign number.
    """
    digits = e164.removeprefix("+")
    code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in TRUNK_PREFIXES), "")
    if code:
        national = digits.removeprefix(code).removeprefix(TRUNK_PREFIXES[code])
        if national.startswith("0"):
            return None
        digits = code + national
    if digits.startswith(("10", "11")):  # no area code of North America; `011` is its `00`
        return None
    is_number = LEAST_SUBSCRIBER <= len(digits) <= E164_DIGITS and not digits.startswith("0")
    return f"+{digits}" if is_number else None


class Called(NamedTuple):
    """What a user calls: another user, or a number."""

    number: str = ""
    """The canonical number; an emergency number as it is configured. Empty: a user."""
    user: str = ""
    emergency: bool = False


def called_party(
    uri: Uri | None,
    is_ours: bool,
    is_user: Callable[[str], bool],
    emergency_numbers: Collection[str],
    plan: DialPlan,
) -> Called | None:
    """Return what the Request-URI of a user calls; None: neither a user nor a number.

    `is_ours`: whether its host is ours. A tel URI has no host. `is_user`: whether a local user has
    a name. An emergency number comes before a user of the same name, in any context.
    """
    if uri is None or (uri.scheme != "tel" and not is_ours):
        return None
    user, _ = uri.subscriber
    dialled = bare(user)
    if dialled is not None and dialled in emergency_numbers:
        return Called(dialled, emergency=True)
    if uri.scheme != "tel" and is_user(user):
        return Called(user=user)
    number = called(uri)
    canonical = _canonical(plan, number) if number is not None else None
    return Called(canonical) if canonical is not None else None


@lru_cache(maxsize=1024)
def _canonical(plan: DialPlan, number: str) -> str | None:
    return plan.canonical(number)
