"""The forms in which a provider may write a trunk's number. The rules are of `phonenumbers`.

The edge removes separators from a called number, and looks up exactly the rest. So the agent stores
every form of a number when it reads the file.

The import of `phonenumbers` is slow, and many files have no numbers. So only the functions that
need it import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from whence.core.sip.phone_number import LEAST, PREFIX_END, Format, Style, bare

INTERNATIONAL = "00"
"""International prefix of most countries. Providers elsewhere write it, too."""


@dataclass(frozen=True, slots=True)
class Country:
    """How numbers are written in a country, or in the countries that share a calling code."""

    code: str
    region: str
    trunk_prefix: str
    """Digits before a national number: 0 in most of Europe, 8 in Russia, none in Italy."""
    international_prefix: str
    """Digits for the +: 00 in Europe, 011 in North America. Empty: none, or several."""
    rewrites: bool
    """Whether the national form is not just trunk prefix and digits: mobiles in Argentina."""
    lengths: tuple[int, ...]
    """Possible lengths of a national number, in digits."""


@cache
def country(code: str) -> Country | None:
    """Return the country of a calling code, `44`. None: no country has it."""
    if not (code.isascii() and code.isdigit() and len(code) <= 3) or code.startswith("0"):
        return None
    import phonenumbers  # noqa: PLC0415
    from phonenumbers import PhoneMetadata  # noqa: PLC0415

    region = phonenumbers.region_code_for_country_code(int(code))
    known = PhoneMetadata.metadata_for_region(region)
    if known is None:  # unused, or of no country: 800 is for international freephone numbers
        return None
    dialled = (known.preferred_international_prefix or known.international_prefix or "").replace(
        "~",
        "",  # the caller waits for a second dial tone
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
    """Return a valid calling code. Raises ValueError with the right form."""
    if country(text) is None:
        import phonenumbers  # noqa: PLC0415

        region = {"UK": "GB"}.get(text.upper(), text.upper())
        of_region = str(phonenumbers.country_code_for_region(region))
        meant = [of_region, text.removeprefix("+"), text.removeprefix(INTERNATIONAL)]
        right = next((code for code in meant if country(code)), None)
        hint = f'write "{right}"' if right else 'write the digits after the + of its numbers, "44"'
        raise ValueError(f'"{text}" is not the calling code of a country; {hint}')
    return text


def check(text: str) -> None:
    """Check a number or prefix of a trunk. Raises ValueError with the right form."""
    _read(text)


def spellings(text: str, code: str = "") -> frozenset[str]:
    """Return all bare forms of a number or prefix of a trunk.

    `code`: the calling code of the provider's country. If it is empty, a number without its country
    code has only the written form. So has a number that is impossible in that country. Raises
    ValueError.
    """
    number, star = _read(text)
    home = country(code)
    found = _in_country(number, star, home)
    forms = {number} | (set() if found is None else _forms(*found, home))
    return frozenset(form + star for form in forms if not star or len(form.strip("+")) >= LEAST)


def e164(text: str, code: str = "") -> str:
    """Return a number, or the digits of a prefix, in E.164 with +. Empty: country not known."""
    number, star = _read(text)
    found = _in_country(number, star, country(code))
    if found is None:
        return ""
    there, national = found
    return f"+{there.code if there else ''}{national}"


def style(format_: str, code: str) -> Style:
    """Return how numbers are written for a trunk in the country of `code`. Empty code: unknown."""
    home = country(code)
    if home is None:
        return Style(Format(format_))
    return Style(
        Format(format_), home.code, home.trunk_prefix, home.international_prefix or INTERNATIONAL
    )


def _in_country(number: str, star: str, home: Country | None) -> tuple[Country | None, str] | None:
    """Return (country, national number) of a number or of the digits of a prefix. None: unknown."""
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
    """Return (bare number, ""), or (digits, "*") of a prefix. Raises ValueError."""
    star = PREFIX_END if text.endswith(PREFIX_END) else ""
    if PREFIX_END in text.removesuffix(PREFIX_END):
        raise ValueError(
            f'"{text}" has a star that is not at the end; a prefix is all numbers that begin '
            'alike, write "+4420712345*"'
        )
    number = bare(text.removesuffix(PREFIX_END))
    if text == PREFIX_END or (star and number and len(number.strip("+")) < LEAST):
        raise ValueError(
            f'"{text}" is too short for a prefix; write at least {LEAST} digits before the star, '
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
    """Return (country, national number) of a number with a country code. None: it has none.

    The country is None if it is unknown.
    """
    prefixes = ["+", home.international_prefix if home else "", INTERNATIONAL]
    prefix = next((p for p in prefixes if p and number.startswith(p)), None)
    digits = number.removeprefix(prefix or "")
    if prefix is None or not digits:
        return None
    for length in (1, 2, 3):
        if there := country(digits[:length]):
            national = digits[length:]
            if there.trunk_prefix.startswith("0"):  # no national number begins with it
                national = national.removeprefix(there.trunk_prefix)
            return (there, national) if national else (None, digits)
    return None, digits


def _at_home(number: str, home: Country) -> tuple[Country, str] | None:
    """Return (country, national number) of a number in national form. None: it has no such form."""
    import phonenumbers  # noqa: PLC0415
    from phonenumbers import NumberParseException, ValidationResult  # noqa: PLC0415

    try:
        parsed = phonenumbers.parse(number, home.region)
    except NumberParseException:
        return None
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    dialled = bool(home.trunk_prefix) and number.startswith(home.trunk_prefix)
    fits = reason == ValidationResult.IS_POSSIBLE and dialled
    if not fits and not phonenumbers.is_valid_number(parsed):
        return None  # a short code, an extension, or a number without its area code
    return home, phonenumbers.national_significant_number(parsed)


def _begins_at_home(number: str, home: Country) -> tuple[Country, str] | None:
    """Return (country, first digits of national numbers) of a prefix in national form.

    None: no number of the country begins so.
    """
    if home.trunk_prefix and number.startswith(home.trunk_prefix):
        national = number.removeprefix(home.trunk_prefix)
        return (home, national) if national else None
    code = home.code if number.startswith(home.code) else ""
    for whole in sorted({n + len(prefix) for n in home.lengths for prefix in ("", code)}):
        for digit in "250":  # these find a possible number in every country
            one = number + digit * (whole - len(number))
            if found := _at_home(one, home):
                national = number if found[1] == one else number.removeprefix(home.code)
                return (home, national) if national and one.endswith(found[1]) else None
    return None


def _rewritten(e164: str, home: Country) -> set[str]:
    """Return the national form of a number in a country with `rewrites`; empty in others."""
    if not home.rewrites:
        return set()
    import phonenumbers  # noqa: PLC0415
    from phonenumbers import NumberParseException  # noqa: PLC0415

    try:
        parsed = phonenumbers.parse(f"+{e164}")
    except NumberParseException:
        return set()
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    number = bare(written)
    return set() if number is None else {number}
