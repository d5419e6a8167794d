"""Which number a phone may show, and whether it may hide it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.caller import Caller, caller_of, may_write_from
from whence.core.outbound.model import OutboundUser
from whence.core.outbound.numbers import DialPlan
from whence.core.sip.phone_number import Format, Style, owns
from whence.core.sip.uri import Uri

UK = DialPlan(Style(Format.AS_SENT, "44", "0", "00"))
MAIN = "+442071234500"
BOB = "+442071239999"
ALICE = OutboundUser("alice", ("acme",), MAIN, ("+44207123455*", "+442079999999"))


def caller(headers: dict[str, list[str]], *, emergency: bool = False) -> Caller:
    return caller_of(ALICE, headers, UK, emergency=emergency)


def test_caller_shows_number_of_user() -> None:
    assert caller({"from": ["<sip:alice@edge.example>;tag=1"]}) == Caller(ALICE, MAIN)


@pytest.mark.parametrize(
    ("headers", "number"),
    [
        ({"from": ["<sip:+442071234555@edge.example>;tag=1"]}, "+442071234555"),
        ({"from": ['"Boss" <sip:02071234555@edge.example>;tag=1']}, "+442071234555"),
        ({"from": ["tel:+44-20-7999-9999;tag=1"]}, "+442079999999"),
        ({"p-preferred-identity": ["<sip:+442079999999@edge.example>"]}, "+442079999999"),
        ({"p-asserted-identity": ["<sip:x@y>, <tel:+442079999999>"]}, "+442079999999"),
        ({"remote-party-id": ["<sip:+442079999999@h>;party=calling"]}, "+442079999999"),
        (
            {
                "p-preferred-identity": [f"<sip:{BOB}@edge.example>"],
                "from": ["<sip:+442079999999@edge.example>"],
            },
            "+442079999999",
        ),
    ],
)
def test_phone_chooses_among_numbers_of_user(headers: dict[str, list[str]], number: str) -> None:
    assert caller(headers).number == number


@pytest.mark.parametrize(
    "text",
    [
        f"<sip:{BOB}@edge.example>",
        f"<tel:{BOB}>",
        f'"{MAIN}" <sip:{BOB}@edge.example>',
        f"<sip:{BOB};phone-context={MAIN}@edge.example>",
        f"<sip:{BOB}@edge.example>, {BOB}",
        f"<sip:{BOB}:{MAIN}@edge.example>",
        f"<sip:+442071239999%40@edge.example>;x={MAIN}",
        f"<sip:{BOB}@edge.example?P-Asserted-Identity={MAIN}>",
    ],
)
@pytest.mark.parametrize(
    "header", ["from", "p-preferred-identity", "p-asserted-identity", "remote-party-id"]
)
def test_phone_cannot_choose_number_of_another_user(header: str, text: str) -> None:
    assert caller({header: [text]}).number == MAIN


@given(
    st.dictionaries(
        st.sampled_from(["from", "p-preferred-identity", "p-asserted-identity", "diversion"]),
        st.lists(
            st.one_of(
                st.text(max_size=40),
                st.from_regex(r"<(sip|tel):\+?4?4?2071[0-9]{6}(@h)?>(;x=y)?", fullmatch=True),
            ),
            max_size=3,
        ),
    )
)
def test_number_of_any_headers_is_of_user(headers: dict[str, list[str]]) -> None:
    found = caller(headers)
    own = (MAIN, *ALICE.caller_numbers)
    assert any(owns(one, found.number) for one in own)
    assert not found.diverting or any(owns(one, found.diverting) for one in own)


def test_user_without_number_shows_none() -> None:
    nameless = OutboundUser("alice", ("acme",))
    headers = {"from": [f"<sip:{MAIN}@edge.example>"]}
    assert caller_of(nameless, headers, UK, emergency=False).number == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"privacy": ["id"]},
        {"privacy": ["user; ID ;critical"]},
        {"privacy": ["header"]},
        {"from": ['"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1']},
        {"from": ["sip:x@ANONYMOUS.invalid"]},
    ],
)
def test_phone_may_hide_its_number(headers: dict[str, list[str]]) -> None:
    assert caller(headers).anonymous
    assert not caller(headers, emergency=True).anonymous


@pytest.mark.parametrize(
    "headers", [{}, {"privacy": ["none"]}, {"from": ["<sip:anonymous@edge.example>"]}]
)
def test_call_without_wish_is_not_anonymous(headers: dict[str, list[str]]) -> None:
    assert not caller(headers).anonymous


def test_user_may_always_be_anonymous() -> None:
    shy = ALICE._replace(anonymous=True)
    assert caller_of(shy, {}, UK, emergency=False).anonymous
    assert not caller_of(shy, {}, UK, emergency=True).anonymous


@pytest.mark.parametrize(
    ("value", "diverting", "reason"),
    [
        ("<sip:+442071234555@h>;reason=user-busy", "+442071234555", "user-busy"),
        ("<sip:+442071234555@h>;reason=x", "+442071234555", ""),
        (f"<sip:{BOB}@h>;reason=unconditional", "", ""),
        (f"<sip:{BOB}@h>, <tel:+442071234555>;reason=Away", "+442071234555", "away"),
        ("", "", ""),
    ],
)
def test_diversion_counts_for_numbers_of_user(value: str, diverting: str, reason: str) -> None:
    found = caller({"diversion": [value]})
    assert (found.diverting, found.diversion_reason) == (diverting, reason)


@pytest.mark.parametrize(
    ("text", "is_ours", "expected"),
    [
        ("sip:alice@edge.example", True, True),
        ("sip:+442071234555@edge.example", True, True),
        ("sip:anonymous@anonymous.invalid", False, True),
        ("tel:+442071234555", False, True),
        ("sip:bob@edge.example", True, False),
        (f"sip:{BOB}@edge.example", True, False),
        ("sip:alice@evil.example", False, False),
        ("sip:ALICE@edge.example", True, False),
        ("tel:alice", False, False),
        ("nonsense", True, False),
    ],
)
def test_from_in_call_to_user_is_own(text: str, is_ours: bool, expected: bool) -> None:
    assert may_write_from(Uri.parse(text), is_ours, ALICE, UK) is expected
