"""In which forms a provider may write a trunk's number: what phonenumbers knows of the world.

The edge drops separators, and looks up exactly what is left: so every form is written down here,
when the file is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, ValidationResult

from whence.core.sip.phone_number import LEAST, PREFIX_END, Format, Style, bare

INTERNATIONAL = "00"
"""What most countries dial instead of the +; providers of other countries write it too."""


@dataclass(frozen=True, slots=True)
class Country:
    """How numbers are written in a country, or in those that share its calling code."""

    code: str
    region: str
    trunk_prefix: str
    """Before a national number: 0 in most of Europe, 8 in Russia, nothing in Italy."""
    international_prefix: str
    """Instead of the +: 00 in Europe, 011 in North America; empty where there are several."""
    rewrites: bool
    """Whether a national number is more than trunk prefix and digits: Argentina's mobile ones."""
    lengths: tuple[int, ...]
    """How many digits a national number may have."""


@cache
def country(code: str) -> Country | None:
    """What is known of a calling code, `44`; None where no country has it."""
    if not (code.isascii() and code.isdigit() and len(code) <= 3) or code.startswith("0"):
        return None
    region = phonenumbers.region_code_for_country_code(int(code))
    known = PhoneMetadata.metadata_for_region(region)
    if known is None:  # nobody has it, or no country: 800 is for calls that are free everywhere
        return None
    dialled = (known.preferred_international_prefix or known.international_prefix or "").replace(
        "~",
        "",  # where the caller waits for a tone
    )
    return Country(
        code,
        region,
        known.national_prefix or "",
        dialled if dialled.isdigit() else "",
        known.national_prefix_transform_rule is not None,
        tuple(known.general_desc.possible_length) if known.general_desc else (),
    )


def country_code(text: str) -> str:
    """Check a calling code; a ValueError tells the right form."""
    if country(text) is None:
        region = {"UK": "GB"}.get(text.upper(), text.upper())
        of_region = str(phonenumbers.country_code_for_region(region))
        meant = [of_region, text.removeprefix("+"), text.removeprefix(INTERNATIONAL)]
        right = next((code for code in meant if country(code)), None)
        said = f'write "{right}"' if right else 'write the digits behind the + of its numbers, "44"'
        raise ValueError(f'"{text}" is not the calling code of a country; {said}')
    return text


def check(text: str) -> None:
    """Raise a ValueError, that tells the right form, for what is not a trunk's number."""
    _read(text)


def spellings(text: str, code: str = "") -> frozenset[str]:
    """All bare forms of a number, or prefix, of a trunk whose provider is in the country of `code`.

    Without a code, or where it fits no number of that country, a number that is not written with
    its country is known only as it is written. ValueError where it is no number.
    """
    number, star = _read(text)
    home = country(code)
    found = _place(number, star, home)
    forms = {number} | (set() if found is None else _forms(*found, home))
    return frozenset(form + star for form in forms if not star or len(form.strip("+")) >= LEAST)


def e164(text: str, code: str = "") -> str:
    """Write a number, or the digits of a prefix, with its + and country; empty: not known."""
    number, star = _read(text)
    found = _place(number, star, country(code))
    if found is None:
        return ""
    there, national = found
    return f"+{there.code if there else ''}{national}"


def style(format_: str, code: str) -> Style:
    """Say how a trunk in the country of `code` wants its numbers written; empty: none."""
    home = country(code)
    if home is None:
        return Style(Format(format_))
    return Style(
        Format(format_), home.code, home.trunk_prefix, home.international_prefix or INTERNATIONAL
    )


def _place(number: str, star: str, home: Country | None) -> tuple[Country | None, str] | None:
    """(country, national number) of a number, or of the digits of a prefix."""
    found = _abroad(number, home)
    if found is None and home is not None:
        found = _begins_at_home(number, home) if star else _at_home(number, home)
    return found


def _forms(there: Country | None, national: str, home: Country | None) -> set[str]:
    e164 = (there.code if there else "") + national
    forms = {f"+{e164}", e164, INTERNATIONAL + e164}
    if home and home.international_prefix:
        forms.add(home.international_prefix + e164)
    if there and there.trunk_prefix:  # +44 (0)20 7123 4567
        forms.add(f"+{there.code}{there.trunk_prefix}{national}")
    if there and there == home:
        forms |= {national, there.trunk_prefix + national} | _rewritten(e164, home)
    return forms


def _read(text: str) -> tuple[str, str]:
    """(bare number, or the digits of a prefix; a star if it is one)."""
    star = PREFIX_END if text.endswith(PREFIX_END) else ""
    if PREFIX_END in text.removesuffix(PREFIX_END):
        raise ValueError(
            f'"{text}" has a star that is not its end; a prefix is all numbers that begin alike, '
            'write "+4420712345*"'
        )
    number = bare(text.removesuffix(PREFIX_END))
    if text == PREFIX_END or (star and number and len(number.strip("+")) < LEAST):
        raise ValueError(
            f'"{text}" is too short a prefix; write {LEAST} digits at least before the star, '
            '"+4420712345*"'
        )
    if number is None:
        raise ValueError(f'"{text}" is not a number; write "+442071234567"')
    if number.startswith("+0"):
        raise ValueError(
            f'"{text}": no country\'s code begins with 0; write "+442071234567", or without the + '
            'as it is dialled in its country, with country = "44"'
        )
    return number, star


def _abroad(number: str, home: Country | None) -> tuple[Country | None, str] | None:
    """(country, national number) of one that is written with its country; None if it is not."""
    prefixes = ["+", home.international_prefix if home else "", INTERNATIONAL]
    prefix = next((p for p in prefixes if p and number.startswith(p)), None)
    digits = number.removeprefix(prefix or "")
    if prefix is None or not digits:
        return None
    for length in (1, 2, 3):
        if there := country(digits[:length]):
            national = digits[length:]
            if there.trunk_prefix.startswith("0"):  # no national number begins like it
                national = national.removeprefix(there.trunk_prefix)
            return (there, national) if national else (None, digits)
    return None, digits


def _at_home(number: str, home: Country) -> tuple[Country, str] | None:
    """(country, national number) of one that is written as in its country; None if it is none."""
    try:
        parsed = phonenumbers.parse(number, home.region)
    except NumberParseException:
        return None
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    dialled = bool(home.trunk_prefix) and number.startswith(home.trunk_prefix)
    fits = reason == ValidationResult.IS_POSSIBLE and dialled
    if not fits and not phonenumbers.is_valid_number(parsed):
        return None  # a short code, an extension, or without its area
    return home, phonenumbers.national_significant_number(parsed)


def _begins_at_home(number: str, home: Country) -> tuple[Country, str] | None:
    """(country, how national numbers begin) of a prefix; None if none of the country's do."""
    if home.trunk_prefix and number.startswith(home.trunk_prefix):
        national = number.removeprefix(home.trunk_prefix)
        return (home, national) if national else None
    code = home.code if number.startswith(home.code) else ""
    for whole in sorted({n + len(prefix) for n in home.lengths for prefix in ("", code)}):
        for digit in "250":  # a number of the country that begins so: a few tries find one
            one = number + digit * (whole - len(number))
            if found := _at_home(one, home):
                national = number if found[1] == one else number.removeprefix(home.code)
                return (home, national) if national and one.endswith(found[1]) else None
    return None


def _rewritten(e164: str, home: Country) -> set[str]:
    """A number as it is dialled in a country where that is more than its trunk prefix."""
    if not home.rewrites:
        return set()
    try:
        parsed = phonenumbers.parse(f"+{e164}")
    except NumberParseException:
        return set()
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    number = bare(written)
    return set() if number is None else {number}
