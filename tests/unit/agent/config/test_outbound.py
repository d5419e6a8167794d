"""The keys for users' calls: what is refused, and the values of the core."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whence.agent.config.dial_plan import canonical, dial_plan
from whence.agent.config.load import load
from whence.agent.config.outbound import check_pattern
from whence.agent.config.outbound_to_core import outbound_settings
from whence.core.outbound.model import (
    ContactForm,
    Emergency,
    FromUser,
    Limits,
    NumberHeader,
    OutboundSettings,
    OutboundTrunk,
    OutboundUser,
    Route,
    Routing,
)
from whence.core.outbound.numbers import DialPlan, NumberFormat
from whence.errors import ConfigError

BASE = """
[edge]
country = "44"
domain = "edge.example"
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
domain = "provider.example:5070"
user = "acct%231"
password = "hunter2"
target = "sip:alice@edge.example"
numbers = ["+442071234567", "020 7123 45*"]
TRUNK
[[trunk]]
id = "bolt"
registrar = "sip:192.0.2.2"
user = "acct2"
password = "hunter2"
target = "sip:alice@edge.example"
[[user]]
name = "alice"
password = "topsecret"
USER
[[user]]
name = "bob"
password = "topsecret"
"""


def settings(folder: Path, user: str = "", trunk: str = "", rest: str = "") -> OutboundSettings:
    file = folder / "whence.toml"
    file.write_text(BASE.replace("USER", user).replace("TRUNK", trunk) + rest, encoding="utf-8")
    return outbound_settings(load(file))


def faults(folder: Path, user: str = "", trunk: str = "", rest: str = "") -> list[str]:
    with pytest.raises(ConfigError) as refused:
        settings(folder, user, trunk, rest)
    return [fault.removeprefix("whence.toml: ") for fault in refused.value.faults]


def test_file_without_keys_permits_calls_to_users_only(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.routing == Routing()
    assert (found.trunks, found.is_used) == ((), False)
    assert found.users == (OutboundUser("alice"), OutboundUser("bob"))


def test_keys_of_user_are_canonical(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
        trunks = ["bolt", "acme"]
        caller_number = "020 7123 4567"
        caller_numbers = ["020712345*", "+44 20 7123 4500"]
        anonymous = true
        limits.concurrent_calls = 2
        limits.calls_per_minute = 5
        limits.prefixes = ["+44"]
        """,
    )
    assert found.users[0] == OutboundUser(
        "alice",
        ("bolt", "acme"),
        "+442071234567",
        ("+4420712345*", "+442071234500"),
        True,
        Limits(2, 5, 0, ("+44",)),
    )


def test_keys_of_trunk_are_values_of_core(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        trunk="""
        outbound = {from_user = "number", number_header = "P-Asserted-Identity",
            number_format = "national", diversion = true, contact = "own",
            limits = {concurrent_calls = 30}}
        """.replace("\n", " "),
        rest="[outbound]\nenabled = true",
    )
    assert found.trunks[0] == OutboundTrunk(
        "acme",
        "acct#1",
        "provider.example",
        5070,
        ("+442071234567", "+442071 2345*".replace(" ", "")),
        dial_plan("44"),
        NumberFormat.NATIONAL,
        FromUser.NUMBER,
        NumberHeader.ASSERTED,
        True,
        ContactForm.OWN,
        Limits(30),
    )
    plain = found.trunks[1]
    assert (plain.domain, plain.port, plain.contact) == ("192.0.2.2", None, ContactForm.REGISTERED)


def test_routes_keep_their_order(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        'trunks = ["acme", "bolt"]',
        rest=r"""
        [[route]]
        prefix = "+44 900"
        trunks = []
        [[route]]
        regex = '\+49(30|40)\d+'
        trunks = ["bolt"]
        users = ["alice"]
        try_s = 7
        [outbound]
        emergency_numbers = ["112", "999"]
        emergency_trunks = ["acme"]
        """,
    )
    assert found.routing.routes == (
        Route((), "+44900"),
        Route(
            ("bolt",),
            pattern=re.compile(r"\+49(30|40)\d+", re.ASCII),
            users=frozenset({"alice"}),
            try_s=7,
        ),
    )
    assert found.routing.emergency == Emergency(frozenset({"112", "999"}), ("acme",))


@pytest.mark.parametrize(
    ("user", "trunk", "rest", "fault"),
    [
        (
            'trunks = ["gone"]',
            "",
            "",
            'user "alice": trunks: has no trunk "gone"; add [[trunk]] with id = "gone"',
        ),
        (
            'trunks = ["acme", "acme"]',
            "",
            "",
            'user "alice": trunks: "acme" occurs 2 times; write it once',
        ),
        (
            'caller_number = "12345"',
            "",
            "",
            'user "alice": caller_number: "12345" has no country code; write it as '
            '"+442071234567", or write country = "44" in [edge]',
        ),
        (
            'caller_number = "alice"',
            "",
            "",
            'user "alice": caller_number: "alice" is not a number; write "+442071234567"',
        ),
        (
            'caller_number = "+4420712345*"',
            "",
            "",
            'user "alice": caller_number: "+4420712345*" is a prefix; write one number, and the '
            "prefix in caller_numbers",
        ),
        (
            'trunks = ["acme"]\ncaller_number = "+493012345678"',
            "",
            "",
            'user "alice": caller_number: "+493012345678" is a number of none of its trunks; add '
            "it to the numbers of one",
        ),
        (
            'limits = {prefixes = ["0049"]}',
            "",
            "",
            'user "alice": limits: prefixes[0]: "0049" begins no number: numbers with a country '
            'code are compared with +; write "+49"',
        ),
        (
            'limits = {prefixes = ["020"]}',
            "",
            "",
            'user "alice": limits: prefixes: "020" begins no number: numbers of 44 are compared '
            'with their country code; write "+4420"',
        ),
        (
            'limits = {prefixes = ["+44x"]}',
            "",
            "",
            'user "alice": limits: prefixes[0]: "+44x" is not the begin of a number; write "+44"',
        ),
        (
            "limits = {calls = 3}",
            "",
            "",
            'user "alice": limits: calls: unknown key; known are concurrent_calls, '
            "calls_per_minute, prefixes",
        ),
        (
            "",
            'outbound = {from_user = "number", number_header = "X"}',
            "",
            'trunk "acme": outbound: number_header: is not a known value; write '
            "'none', 'P-Asserted-Identity', 'P-Preferred-Identity' or 'Remote-Party-ID'",
        ),
        (
            "",
            "",
            '[[route]]\nprefix = "+49"',
            'route number 1: trunks: is missing; write trunks = ["acme"]',
        ),
        (
            "",
            "",
            '[[route]]\nprefix = "+49"\nregex = "x"\ntrunks = []',
            "route number 1: has prefix and regex; write one of the two",
        ),
        (
            "",
            "",
            '[[route]]\nregex = "("\ntrunks = []',
            'route number 1: regex: "(" is not a regular expression: missing ), unterminated '
            "subpattern",
        ),
        (
            "",
            "",
            '[[route]]\nprefix = "020"\ntrunks = ["acme"]',
            'route number 1: prefix: "020" begins no number: numbers of 44 are compared with '
            'their country code; write "+4420"',
        ),
        (
            "",
            "",
            '[[route]]\ntrunks = []\n[[route]]\ntrunks = ["gone"]',
            'route number 2: trunks: has no trunk "gone"; add [[trunk]] with id = "gone"',
        ),
        (
            "",
            "",
            '[[route]]\ntrunks = ["acme"]\nusers = ["carol"]',
            'route number 1: users: has no user "carol"; add [[user]] with name = "carol"',
        ),
        (
            "",
            "",
            '[[route]]\ntrunks = ["acme"]\nusers = ["bob"]',
            'route number 1: users: "bob" has none of its trunks; add one to trunks of [[user]]',
        ),
        (
            "",
            "",
            '[route]\nprefix = "+49"',
            "route: is not a list of tables; write [[route]] above each",
        ),
        (
            "",
            "",
            '[outbound]\nemergency_numbers = ["112"]',
            "outbound: emergency_numbers and emergency_trunks are needed together; write both",
        ),
        (
            "",
            "",
            '[outbound]\nemergency_numbers = ["+112"]\nemergency_trunks = ["acme"]',
            'outbound: emergency_numbers[0]: "+112" is not an emergency number; write its digits, '
            '"112"',
        ),
        (
            "",
            "",
            '[outbound]\nemergency_numbers = ["112"]\nemergency_trunks = ["gone"]',
            'outbound: emergency_trunks: has no trunk "gone"; add [[trunk]] with id = "gone"',
        ),
    ],
)
def test_fault_has_place_and_right_form(
    tmp_path: Path, user: str, trunk: str, rest: str, fault: str
) -> None:
    assert faults(tmp_path, user, trunk, rest) == [fault]


def test_national_format_without_country_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    trunk = 'outbound = {number_format = "national"}'
    text = BASE.replace("USER", "").replace("TRUNK", trunk).replace('country = "44"', "")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(file)
    (fault,) = refused.value.faults
    assert fault.startswith('whence.toml: trunk "acme": outbound: number_format: "national"')


def test_user_with_trunks_needs_country(tmp_path: Path) -> None:
    # Without it, 0900… would pass a route that bars +44900.
    file = tmp_path / "whence.toml"
    text = BASE.replace("USER", 'trunks = ["acme"]').replace("TRUNK", "")
    text = text.replace('country = "44"', "").replace(', "020 7123 45*"', "")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert refused.value.faults == [
        'whence.toml: edge: country: is empty, but user "alice" has trunks; write country = "44", '
        "so that the edge can read the numbers that users dial"
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        r"\+49(30|40)\d+",
        r"\+44[1-9]{2}\d*",
        r"(\+49|\+43)\d{5,}",
        r"(\d{2}){3}",
        r"(\d+)?",
        r"[+(]+",
    ],
)
def test_pattern_with_bounded_time_is_accepted(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern", [r"(\d+)+", r"(\d*)*1", r"((\d+)x)*", r"(\d{1,})+", r"(a|\d+)+?", "1" * 201, "["]
)
def test_pattern_with_unbounded_time_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        ("34", "912345678", "+34912345678"),
        ("1", "2125551234", "+12125551234"),
        ("49", "03012345678", "+493012345678"),
        ("39", "0612345678", "+390612345678"),
    ],
)
def test_dial_plan_reads_numbers_of_country(code: str, number: str, expected: str) -> None:
    assert dial_plan(code).canonical(number) == expected
    assert canonical(number, code) == expected


def test_dial_plan_without_country_is_default() -> None:
    assert dial_plan("") == DialPlan()
