"""The canonical form of a dialled number, and its form for a trunk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.numbers import Called, DialPlan, NumberFormat, called_party
from whence.core.sip.phone_number import Format, Style, in_e164
from whence.core.sip.uri import Uri

NONE = DialPlan()
UK = DialPlan(Style(Format.AS_SENT, "44", "0", "00"))
GERMANY = DialPlan(Style(Format.AS_SENT, "49", "0", "00"))
SPAIN = DialPlan(Style(Format.AS_SENT, "34", "", "00"), (9,))
ITALY = DialPlan(Style(Format.AS_SENT, "39", "", "00"), (6, 7, 8, 9, 10, 11))
USA = DialPlan(Style(Format.AS_SENT, "1", "1", "011"), (10,))
RUSSIA = DialPlan(Style(Format.AS_SENT, "7", "8", "810"))
PLANS = [NONE, UK, GERMANY, SPAIN, ITALY, USA, RUSSIA]

dialled = st.from_regex(r"\+?(00|011|810|0|1|44|49|34)?[0-9]{1,18}", fullmatch=True)


@pytest.mark.parametrize(
    ("plan", "number", "canonical"),
    [
        (UK, "+442071234567", "+442071234567"),
        (UK, "02071234567", "+442071234567"),
        (UK, "00442071234567", "+442071234567"),
        (UK, "+4402071234567", "+442071234567"),
        (UK, "004402071234567", "+442071234567"),
        (UK, "00493012345678", "+493012345678"),
        (UK, "+4903012345678", "+493012345678"),
        (UK, "00490900123456", "+49900123456"),
        (UK, "+360611234567", "+3611234567"),
        (UK, "+390612345678", "+390612345678"),
        (UK, "112", "112"),
        (UK, "0900", "0900"),
        (NONE, "02071234567", "02071234567"),
        (NONE, "0012125551234", "+12125551234"),
        (SPAIN, "912345678", "+34912345678"),
        (ITALY, "0612345678", "+390612345678"),
        (USA, "2125551234", "+12125551234"),
        (USA, "12125551234", "+12125551234"),
        (USA, "011442071234567", "+442071234567"),
        (RUSSIA, "84951234567", "+74951234567"),
        (RUSSIA, "810442071234567", "+442071234567"),
    ],
)
def test_canonical_number_is_e164_where_country_is_known(
    plan: DialPlan, number: str, canonical: str
) -> None:
    assert plan.canonical(number) == canonical


@pytest.mark.parametrize(
    "number",
    [
        "+490012125551234",
        "+0012125551234",  # a trunk could read it without the +
        "+011442071234567",
        "+1011442071234567",
        "+112125551234",
        "+440012125551234",  # without code and one zero, it begins like a foreign number
        "+1234567890123456",  # sixteen digits
        "+123",
        "1" * 21,
    ],
)
def test_canonical_of_number_that_no_telephone_has_is_none(number: str) -> None:
    assert UK.canonical(number) is None


@given(st.sampled_from(PLANS), dialled)
def test_canonical_form_of_canonical_number_is_itself(plan: DialPlan, number: str) -> None:
    canonical = plan.canonical(number)
    assert canonical is None or plan.canonical(canonical) == canonical


@pytest.mark.parametrize(
    ("plan", "format_", "text"),
    [
        (UK, NumberFormat.E164, "+442071234567"),
        (UK, NumberFormat.INTERNATIONAL, "00442071234567"),
        (UK, NumberFormat.NATIONAL, "02071234567"),
        (UK, NumberFormat.PLAIN, "442071234567"),
        (GERMANY, NumberFormat.NATIONAL, "00442071234567"),
        (USA, NumberFormat.INTERNATIONAL, "011442071234567"),
        (NONE, NumberFormat.INTERNATIONAL, "00442071234567"),
        (NONE, NumberFormat.NATIONAL, "00442071234567"),
    ],
)
def test_write_uses_format_of_trunk(plan: DialPlan, format_: NumberFormat, text: str) -> None:
    assert plan.write("+442071234567", format_) == text


def test_write_replaces_form_that_trunk_reads_as_foreign_number() -> None:
    # In national form, without a prefix, this number of Spain begins like one of New York.
    assert SPAIN.write("+3400121255512", NumberFormat.NATIONAL) == "+3400121255512"
    assert SPAIN.write("+34912345678", NumberFormat.NATIONAL) == "912345678"


def test_trunk_prefix_after_country_code_hides_no_foreign_number() -> None:
    # A user may call +49. In national form for Germany, this number would be 0012125551234.
    assert UK.canonical("+49012125551234") == "+4912125551234"
    assert UK.canonical("+490012125551234") is None
    assert GERMANY.write("+49012125551234", NumberFormat.NATIONAL) == "+49012125551234"


def test_write_of_number_without_country_needs_the_same_reading() -> None:
    # Without a country of the edge, the number stays as it is; a trunk in Germany calls Berlin.
    assert NONE.canonical("03012345678") == "03012345678"
    assert GERMANY.write("03012345678", NumberFormat.E164) is None
    assert GERMANY.write("116117", NumberFormat.E164) == "116117"


@given(st.sampled_from(PLANS), st.sampled_from(PLANS), st.sampled_from(NumberFormat), dialled)
def test_trunk_reads_the_canonical_number(
    ours: DialPlan, theirs: DialPlan, format_: NumberFormat, number: str
) -> None:
    canonical = ours.canonical(number)
    text = theirs.write(canonical, format_) if canonical is not None else None
    if canonical is None or text is None:
        return
    if format_ is NumberFormat.PLAIN and canonical.startswith("+"):
        assert f"+{text}" == canonical
        assert not text.startswith("0")
    elif canonical.startswith("+"):
        # The trunk takes its own prefixes away, as a switch does, and knows nothing of ours.
        assert (in_e164(text, theirs.style) or f"+{theirs.style.code}{text}") == canonical
    else:
        assert text == canonical
        assert not in_e164(text, theirs.style)


def call(text: str, plan: DialPlan = UK, *, is_ours: bool = True) -> Called | None:
    users = {"alice", "100", "112"}
    return called_party(Uri.parse(text), is_ours, users.__contains__, {"112", "999"}, plan)


@pytest.mark.parametrize(
    "text",
    [
        "sip:+493012345678@edge.example",
        "sip:00493012345678@edge.example",
        "sip:%2B493012345678@edge.example",
        "sip:%30%30493012345678@edge.example",
        "sip:+49(30)1234-5678@edge.example",
        "sip:+49.30.12345678@edge.example;user=phone",
        "sip:+493012345678:password@edge.example",
        "sip:+493012345678;phone-context=+1@edge.example",
        "sip:+493012345678;isub=123;ext=9@edge.example",
        "sip:3012345678;phone-context=+49@edge.example;user=phone",
        "sip:3012345678@edge.example;phone-context=+49",
        "tel:+493012345678",
        "tel:+49-30-12345678;isub=0012125551234",
        "tel:+493012345678;postd=pp22",
        "tel:3012345678;phone-context=+49",
        "TEL:+493012345678",
        "sips:+493012345678@edge.example",
    ],
)
def test_called_party_of_any_spelling_is_canonical_number(text: str) -> None:
    assert call(text) == Called("+493012345678")


@pytest.mark.parametrize(
    "text",
    [
        "sip:edge.example",
        "sip:bob@edge.example",
        "sip:*21*0012125551234%23@edge.example",  # a feature code of the provider
        "sip:%252B493012345678@edge.example",
        "sip:++493012345678@edge.example",
        "sip:+49301234\u0665@edge.example",
        "sip:+4930123456%0A78@edge.example",
        "sip:+493012345678%3Bphone-context=x%40evil@edge.example@evil.example",
        "tel:alice",
        "tel:bob;phone-context=edge.example",
        "urn:service:sos",
        "sip:@edge.example",
    ],
)
def test_called_party_of_other_text_is_none(text: str) -> None:
    assert call(text) is None


def test_called_party_at_foreign_host_is_none() -> None:
    assert call("sip:+493012345678@evil.example", is_ours=False) is None
    assert call("sip:alice@evil.example", is_ours=False) is None
    assert call("sip:112@evil.example", is_ours=False) is None


def test_called_party_with_name_of_user_is_user() -> None:
    assert call("sip:alice@edge.example") == Called(user="alice")
    assert call("sip:100@edge.example") == Called(user="100")
    assert call("sip:100;phone-context=edge.example@edge.example") == Called(user="100")


@pytest.mark.parametrize(
    "text",
    [
        "sip:112@edge.example",  # also the name of a user
        "sip:1-1-2@edge.example",
        "tel:112;phone-context=+44",
        "tel:112;phone-context=edge.example",
        "sip:%31%31%32@edge.example;user=phone",
    ],
)
def test_called_party_of_emergency_number_is_emergency(text: str) -> None:
    assert call(text) == Called("112", emergency=True)


@pytest.mark.parametrize("text", ["sip:1120@edge.example", "sip:0112@edge.example", "tel:+112"])
def test_called_party_of_similar_number_is_no_emergency(text: str) -> None:
    found = call(text)
    assert found is None or not found.emergency


@given(st.text(max_size=40), st.text(max_size=20))
def test_called_number_has_only_digits(user: str, context: str) -> None:
    for text in (f"sip:{user}@edge.example", f"tel:{user};phone-context={context}"):
        found = call(text)
        if found is not None and not found.user:
            digits = found.number.removeprefix("+")
            assert digits.isascii()
            assert digits.isdigit()


@pytest.mark.parametrize("number", ["14109001234567", "147009001234567", "141123456", "123456789"])
def test_long_number_without_country_is_refused(number: str) -> None:
    """A network may read a code of its own, and then a number that no rule has compared."""
    assert UK.canonical(number) is None
    assert UK.write(number, NumberFormat.E164) is None


@pytest.mark.parametrize("number", ["1571", "118118", "79460000"])
def test_short_number_without_country_is_unchanged(number: str) -> None:
    assert UK.canonical(number) == number
