"""The forms in which a provider may write a trunk's number."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.agent.config.phone_numbers import check, country_code, e164, spellings
from whence.core.sip.phone_number import LEAST, bare, owns

LONDON = {"+442071234567", "442071234567", "00442071234567", "+4402071234567"}
IN_BRITAIN = {"02071234567", "2071234567"}

CODES = sorted(
    str(code)
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
    if regions != ("001",)
)


@pytest.mark.parametrize(
    "written",
    ["+44 20 7123-4567", "0044 20 7123 4567", "+44 (0)20 7123 4567", "+442071234567"],
)
def test_spellings_with_country_code_have_plus_00_and_bare(written: str) -> None:
    assert spellings(written) == LONDON | ({bare(written)} - {None})


@pytest.mark.parametrize(
    "written",
    ["+442071234567", "020 7123 4567", "20 7123 4567", "442071234567", "+44 (0)20 7123 4567"],
)
def test_spellings_in_own_country_have_national_forms(written: str) -> None:
    assert spellings(written, "44") == LONDON | IN_BRITAIN


def test_spellings_in_other_country_have_no_national_form() -> None:
    assert spellings("+442071234567", "33") == LONDON


@pytest.mark.parametrize(
    ("written", "code", "among"),
    [
        ("+442071234567", "1", {"011442071234567"}),
        ("011 44 20 7123 4567", "1", {"+442071234567", "00442071234567"}),
        ("0011 44 20 7123 4567", "61", {"+442071234567", "0011442071234567"}),
        ("8~10 44 20 7123 4567".replace("~", ""), "7", {"+442071234567"}),
        ("+442071234567", "81", {"010442071234567"}),
    ],
)
def test_spellings_have_the_countrys_international_prefix(
    written: str, code: str, among: set[str]
) -> None:
    assert among <= spellings(written, code)


@pytest.mark.parametrize(
    ("written", "code", "among"),
    [
        ("(212) 555-0123", "1", {"+12125550123", "12125550123", "2125550123"}),
        ("8 495 123-45-67", "7", {"+74951234567", "84951234567", "4951234567"}),
        ("+7 800 555 35 35", "7", {"88005553535", "8005553535"}),
        ("06 698 12345", "39", {"+390669812345", "0669812345"}),
        ("06 1 234 5678", "36", {"+3612345678", "0612345678", "12345678"}),
        ("011 15-2345-6789", "54", {"+5491123456789", "0111523456789"}),
        ("030 12345678", "49", {"+493012345678", "03012345678"}),
    ],
)
def test_spellings_have_the_countrys_trunk_prefix(written: str, code: str, among: set[str]) -> None:
    assert among <= spellings(written, code)


def test_spellings_of_italian_number_keep_the_zero() -> None:
    assert "669812345" not in spellings("+390669812345", "39")


@pytest.mark.parametrize("written", ["100", "7123 4567", "1", "00", "123456789012345678901"])
def test_spellings_of_short_number_are_as_written(
    written: str,
) -> None:
    assert spellings(written, "44") == {bare(written)}


@pytest.mark.parametrize("written", ["100", "020-7123-4567", "442071234567"])
def test_spellings_without_country_are_as_written(written: str) -> None:
    assert spellings(written) == {bare(written)}


def test_spellings_of_unassigned_country_code_are_known() -> None:
    assert spellings("+999 123") == {"+999123", "999123", "00999123"}


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("alice", 'write "\\+442071234567"'),
        ("", 'write "\\+442071234567"'),
        ("+44 20 7123 4567 ext 8", 'write "\\+442071234567"'),
        ("4" * 33, 'write "\\+442071234567"'),
        ("+020 7123 4567", "no country's code begins with 0"),
    ],
)
def test_check_of_no_number_reports_the_right_form(written: str, right: str) -> None:
    with pytest.raises(ValueError, match=right):
        check(written)
    with pytest.raises(ValueError, match=right):
        spellings(written, "44")


# Prefixes.


@pytest.mark.parametrize("written", ["020 7123 45*", "+4420712345*", "20712345*", "4420712345 *"])
def test_spellings_of_prefix_have_the_forms_of_its_numbers(written: str) -> None:
    assert spellings(written, "44") == {
        *("+4420712345*", "4420712345*", "004420712345*", "+44020712345*"),
        *("020712345*", "20712345*"),
    }


@pytest.mark.parametrize("written", ["100*", "4420*"])
def test_spellings_of_prefix_without_country_are_as_written(written: str) -> None:
    assert spellings(written) == {written}


def test_spellings_of_extension_prefix_are_as_written() -> None:
    assert spellings("100*", "44") == {"100*"}


def test_spellings_of_prefix_are_never_too_short() -> None:
    assert "20*" not in spellings("020*", "44")


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("+44*", "is too short for a prefix; write at least 3 digits before the star"),
        ("*", "is too short for a prefix; write at least 3 digits before the star"),
        ("02*", "is too short for a prefix; write at least 3 digits before the star"),
        ("+44*20", "has a star that is not at the end; a prefix is all numbers that begin alike"),
        ("4420**", "has a star that is not at the end; a prefix is all numbers that begin alike"),
        ("*4420", "has a star that is not at the end; a prefix is all numbers that begin alike"),
        ("+020*", "no country's code begins with 0"),
        ("sales*", "is not a number"),
    ],
)
def test_check_of_no_prefix_reports_the_right_form(written: str, fault: str) -> None:
    with pytest.raises(ValueError, match="write ") as refused:
        check(written)
    assert f'"{written}"' in str(refused.value)
    assert fault in str(refused.value)


@given(st.sampled_from(CODES), st.data())
def test_prefix_owns_a_number_in_each_form(code: str, data: st.DataObject) -> None:
    region = phonenumbers.region_code_for_country_code(int(code))
    example = phonenumbers.example_number(region)
    if example is None:
        return
    plus = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    end = data.draw(st.integers(1 + len(code) + LEAST, len(plus)))
    prefixes = spellings(plus[:end] + "*", code)
    for form in (plus, plus[1:], "00" + plus[1:], plus.removeprefix(f"+{code}")):
        assert any(owns(one, form) for one in prefixes)


@pytest.mark.parametrize("code", CODES)
def test_country_code_accepts_every_calling_code(code: str) -> None:
    assert country_code(code) == code
    assert f"+{code}123456789" in spellings(f"+{code}123456789", code)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("uk", '"44"'),
        ("GB", '"44"'),
        ("de", '"49"'),
        ("0044", '"44"'),
        ("+44", '"44"'),
        ("800", 'the digits after the + of its numbers, "44"'),
        ("444", 'the digits after the + of its numbers, "44"'),
        ("England", 'the digits after the + of its numbers, "44"'),
        ("٤٤", 'the digits after the + of its numbers, "44"'),
        ("", 'the digits after the + of its numbers, "44"'),
    ],
)
def test_country_code_of_wrong_form_reports_the_right_form(text: str, right: str) -> None:
    with pytest.raises(ValueError, match="is not the calling code") as refused:
        country_code(text)
    assert str(refused.value) == f'"{text}" is not the calling code of a country; write {right}'


numbers = st.builds(
    "{}{}".format,
    st.sampled_from(["", "+", "00", "0", "+1", "+7", "+39", "8"]),
    st.from_regex(r"[1-9][0-9]{1,17}", fullmatch=True),
)


@given(numbers, st.sampled_from(["", *CODES]))
def test_spellings_are_bare_and_include_the_written_one(written: str, code: str) -> None:
    found = spellings(written, code)
    assert written in found
    assert all(bare(one) == one for one in found)


@given(st.sampled_from(CODES), st.data())
def test_spellings_of_plus_form_are_in_those_of_other_forms(code: str, data: st.DataObject) -> None:
    region = phonenumbers.region_code_for_country_code(int(code))
    example = phonenumbers.example_number(region)
    if example is None:
        return
    formats = phonenumbers.PhoneNumberFormat
    style = data.draw(st.sampled_from([formats.E164, formats.INTERNATIONAL, formats.NATIONAL]))
    written = phonenumbers.format_number(example, style).replace("/", "")
    plus = phonenumbers.format_number(example, formats.E164)
    assert spellings(plus, code) <= spellings(written, code)


@pytest.mark.parametrize(
    ("written", "code", "expected"),
    [
        ("+44 (0)20 7123 4567", "", "+442071234567"),
        ("020 7123 4567", "44", "+442071234567"),
        ("20 7123 4567", "44", "+442071234567"),
        ("020 7123*", "44", "+44207123"),
        ("+49301234*", "49", "+49301234"),
        ("020 7123 4567", "", ""),
        ("100", "44", ""),
    ],
)
def test_e164_of_number_with_known_country(written: str, code: str, expected: str) -> None:
    assert e164(written, code) == expected
