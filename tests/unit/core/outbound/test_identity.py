"""What a trunk gets of a call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.caller import Caller
from whence.core.outbound.identity import (
    ANONYMOUS_URI,
    REMOVED,
    Identity,
    identity,
    our_uri_of,
    shown_number,
    their_uri_of,
)
from whence.core.outbound.model import FromUser, NumberHeader, OutboundTrunk, OutboundUser
from whence.core.outbound.numbers import Called, DialPlan, NumberFormat
from whence.core.sip.phone_number import Format, Style
from whence.core.sip.uri import Uri

UK = DialPlan(Style(Format.AS_SENT, "44", "0", "00"))
ACME = OutboundTrunk("acme", "acct1", "provider.example", plan=UK)
OWN = "+442071234567"
ALICE = Caller(OutboundUser("alice", ("acme",), OWN), OWN)
BERLIN = Called("+493012345678")


def of(trunk: OutboundTrunk = ACME, caller: Caller = ALICE, called: Called = BERLIN) -> Identity:
    found = identity(trunk, caller, called)
    assert found is not None
    return found


def test_identity_of_plain_trunk_is_account() -> None:
    assert of() == Identity(
        request_uri="sip:+493012345678@provider.example",
        our_uri="sip:acct1@provider.example",
        their_uri="sip:+493012345678@provider.example",
        our_user="acct1",
        their_user="+493012345678",
        from_="<sip:acct1@provider.example>",
        to="<sip:+493012345678@provider.example>",
    )


def test_from_of_trunk_may_be_number() -> None:
    number = ACME._replace(from_user=FromUser.NUMBER)
    assert of(number).from_ == f"<sip:{OWN}@provider.example>"
    assert of(number, ALICE._replace(number="")).from_ == "<sip:acct1@provider.example>"


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (NumberHeader.NONE, ()),
        (
            NumberHeader.ASSERTED,
            (("P-Asserted-Identity", f"<sip:{OWN}@provider.example>"),),
        ),
        (
            NumberHeader.PREFERRED,
            (("P-Preferred-Identity", f"<sip:{OWN}@provider.example>"),),
        ),
        (
            NumberHeader.REMOTE_PARTY,
            (
                (
                    "Remote-Party-ID",
                    f"<sip:{OWN}@provider.example>;party=calling;screen=no;privacy=off",
                ),
            ),
        ),
    ],
)
def test_number_is_in_header_of_trunk(
    header: NumberHeader, line: tuple[tuple[str, str], ...]
) -> None:
    assert of(ACME._replace(number_header=header)).headers == line


def test_number_header_without_number_has_account() -> None:
    asserted = ACME._replace(number_header=NumberHeader.ASSERTED)
    headers = of(asserted, ALICE._replace(number="")).headers
    assert headers == (("P-Asserted-Identity", "<sip:acct1@provider.example>"),)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (NumberHeader.NONE, "P-Preferred-Identity"),
        (NumberHeader.ASSERTED, "P-Asserted-Identity"),
        (NumberHeader.REMOTE_PARTY, "Remote-Party-ID"),
    ],
)
@pytest.mark.parametrize("from_user", FromUser)
def test_anonymous_call_hides_number_in_from(
    header: NumberHeader, name: str, from_user: FromUser
) -> None:
    trunk = ACME._replace(number_header=header, from_user=from_user)
    found = of(trunk, ALICE._replace(anonymous=True))
    assert found.from_ == '"Anonymous" <sip:anonymous@anonymous.invalid>'
    assert found.our_user == ""
    assert our_uri_of(trunk, found.our_user) == found.our_uri == ANONYMOUS_URI
    headers = dict(found.headers)
    assert OWN in headers[name]
    assert headers["Privacy"] == "id"


def test_account_named_anonymous_is_not_hidden() -> None:
    trunk = ACME._replace(account="anonymous")
    assert our_uri_of(trunk, of(trunk).our_user) == "sip:anonymous@provider.example"


@pytest.mark.parametrize(
    ("format_", "called", "shown"),
    [
        (NumberFormat.E164, "+493012345678", OWN),
        (NumberFormat.INTERNATIONAL, "00493012345678", "00442071234567"),
        (NumberFormat.NATIONAL, "00493012345678", "02071234567"),
        (NumberFormat.PLAIN, "493012345678", "442071234567"),
    ],
)
def test_numbers_have_format_of_trunk(format_: NumberFormat, called: str, shown: str) -> None:
    trunk = ACME._replace(number_format=format_, from_user=FromUser.NUMBER)
    found = of(trunk)
    assert found.request_uri == f"sip:{called}@provider.example"
    assert found.from_ == f"<sip:{shown}@provider.example>"


def test_number_of_another_trunk_is_not_shown() -> None:
    bolt = ACME._replace(numbers=("+498912345*",), from_user=FromUser.NUMBER)
    assert shown_number(bolt, ALICE) == ""
    assert of(bolt).our_user == "acct1"
    assert shown_number(bolt, ALICE._replace(number="+4989123456")) == "+4989123456"


def test_emergency_number_is_written_as_dialled() -> None:
    trunk = ACME._replace(number_format=NumberFormat.INTERNATIONAL)
    found = of(trunk, called=Called("112", emergency=True))
    assert found.request_uri == "sip:112@provider.example"


def test_number_that_trunk_reads_otherwise_gets_no_identity() -> None:
    german = ACME._replace(plan=DialPlan(Style(Format.AS_SENT, "49", "0", "00")))
    assert identity(german, ALICE, Called("03012345678")) is None


@pytest.mark.parametrize(
    ("trunk", "request_uri", "our_uri"),
    [
        (
            ACME._replace(port=5070),
            "sip:+493012345678@provider.example:5070",
            "sip:acct1@provider.example",
        ),
        (
            ACME._replace(domain="2001:db8::1", account="a;b@c"),
            "sip:+493012345678@[2001:db8::1]",
            "sip:a%3Bb%40c@[2001:db8::1]",
        ),
    ],
)
def test_uris_are_valid(trunk: OutboundTrunk, request_uri: str, our_uri: str) -> None:
    found = of(trunk)
    assert (found.request_uri, found.our_uri) == (request_uri, our_uri)
    ours = Uri.parse(found.our_uri)
    assert ours is not None
    assert (ours.user, ours.host) == (trunk.account, trunk.domain)
    assert their_uri_of(trunk, found.their_user) == found.their_uri


@pytest.mark.parametrize(
    ("caller", "value"),
    [
        (ALICE, None),
        (
            ALICE._replace(diverting=OWN, diversion_reason="user-busy"),
            f"<sip:{OWN}@provider.example>;reason=user-busy",
        ),
        (ALICE._replace(diverting=OWN), f"<sip:{OWN}@provider.example>"),
        (
            ALICE._replace(diverting=OWN, anonymous=True),
            f"<sip:{OWN}@provider.example>;privacy=full",
        ),
    ],
)
def test_diversion_is_for_trunk_that_wants_it(caller: Caller, value: str | None) -> None:
    assert dict(of(ACME._replace(diversion=True), caller).headers).get("Diversion") == value
    assert "Diversion" not in dict(of(ACME, caller).headers)


@given(st.text(), st.booleans())
def test_identity_has_no_name_of_user(name: str, anonymous: bool) -> None:
    user = OutboundUser(f"private-{name}", ("acme",), OWN, anonymous=anonymous)
    for header in NumberHeader:
        trunk = ACME._replace(number_header=header, diversion=True)
        assert "private-" not in repr(of(trunk, Caller(user, OWN, anonymous, OWN)))


def test_removed_headers_have_caller_identities() -> None:
    names = {name.lower() for name in REMOVED}
    assert {
        "p-asserted-identity",
        "p-preferred-identity",
        "remote-party-id",
        "privacy",
        "diversion",
        "history-info",
        "authorization",
        "proxy-authorization",
        "identity",
    } <= names
