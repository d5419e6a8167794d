"""The nearest trunk of a request, and what was missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core.identification.evidence import at
from tests.unit.core.identification.world import NOW
from whence.core.identification.address import Address, Origin
from whence.core.identification.decision import Identified, Reason, Refused, Rule, Unknown
from whence.core.identification.explain import (
    FormerAddress,
    IgnoredReply,
    Lack,
    Missing,
    NearbyTrunk,
    Nearest,
    nearest,
)
from whence.core.identification.request import Request
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

UNKNOWN = Unknown(())
REQUEST = Request(
    TransportAddress.parse("udp:192.0.2.1:5090"), Uri("sip", "+44201", "edge.example")
)


def near(*neighbours: NearbyTrunk, decision: Unknown | Refused = UNKNOWN) -> Nearest | None:
    return nearest(REQUEST, decision, neighbours, NOW)


def has(*addresses: Address, **more: object) -> NearbyTrunk:
    return NearbyTrunk("acme", True, addresses=addresses, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("neighbour", "missing"),
    [
        (
            has(at(expires_at=NOW - 42)),
            [(Lack.ADDRESS_EXPIRED, "its address 192.0.2.1 expired 42 s ago")],
        ),
        (
            has(former=(FormerAddress(at(expires_at=NOW - 90), NOW - 90),)),
            [(Lack.ADDRESS_EXPIRED, "its address 192.0.2.1 expired 1 min 30 s ago")],
        ),
        (
            has(former=(FormerAddress(at(expires_at=NOW + 900), NOW - 5),)),
            [(Lack.ADDRESS_REVOKED, "its address 192.0.2.1 was revoked 5 s ago")],
        ),
        (has(at(transport="tls")), [(Lack.TRANSPORT_TOO_WEAK, "learned over tls, came over udp")]),
        (
            has(at("192.0.2.0/24", transport="tcp")._replace(origin=Origin.PINNED)),
            [(Lack.TRANSPORT_TOO_WEAK, "pinned over tcp, came over udp")],
        ),
        (
            has(at(port=5060, exact=True)),
            [(Lack.PORT_DIFFERS, "its port is 5060 (exact), came from 5090")],
        ),
        (
            has(at(transport="tls", exact=True, expires_at=NOW - 1)),
            [
                (Lack.ADDRESS_EXPIRED, "its address 192.0.2.1 expired 1 s ago"),
                (Lack.TRANSPORT_TOO_WEAK, "learned over tls, came over udp"),
                (Lack.PORT_DIFFERS, "its port is 5060 (exact), came from 5090"),
            ],
        ),
        (
            has(at("192.0.2.7"), at("2001:db8::/32"), named=("number +44201",)),
            [
                (
                    Lack.ELSEWHERE,
                    "number +44201 belongs to it, whose calls come from 192.0.2.7, 2001:db8::/32, "
                    "not from 192.0.2.1",
                )
            ],
        ),
        (
            has(at("192.0.2.7", expires_at=NOW), named=("token t0",)),
            [
                (
                    Lack.NOT_REGISTERED,
                    "token t0 belongs to it, but it has no address now: it is not registered",
                )
            ],
        ),
        (NearbyTrunk("acme", False), [(Lack.DISABLED, "it is disabled")]),
        (
            NearbyTrunk("acme", False, ("user u",)),
            [(Lack.DISABLED, "user u belongs to it, but it is disabled")],
        ),
        (
            NearbyTrunk("acme", False, ("token t",), gone=True),
            [(Lack.GONE, "token t belongs to it, but it is gone from the file")],
        ),
    ],
)
def test_nearest_names_what_was_missing(
    neighbour: NearbyTrunk, missing: list[tuple[Lack, str]]
) -> None:
    expected = tuple(Missing(code, message) for code, message in missing)
    assert near(neighbour) == Nearest("acme", expected)


def test_nearest_reports_an_ignored_reply() -> None:
    reply = IgnoredReply(REQUEST.source.ip, "192.0.2.9", NOW - 5)
    found = near(has(ignored=(reply,)))
    assert found is not None and [one.code for one in found.missing] == [Lack.REPLY_IGNORED]
    refused = Refused(Reason.AMBIGUOUS, ("acme", "bell"), ())
    found = near(has(ignored=(reply,)), decision=refused)
    assert found is not None and found.trunk_id is None
    codes = [one.code for one in found.missing]
    assert codes == [Lack.NOTHING_DISTINGUISHES, Lack.REPLY_IGNORED]


def test_nearest_uses_the_best_address_of_a_trunk() -> None:
    found = near(has(at(expires_at=NOW - 1, transport="tls"), at(transport="tls"), at("10.0.0.1")))
    assert found is not None and found.trunk_id == "acme"
    assert [one.code for one in found.missing] == [Lack.TRANSPORT_TOO_WEAK]


def test_nearest_prefers_an_address_to_a_name() -> None:
    named = replace(has(at("192.0.2.7"), named=("number +44201",)), trunk_id="bell")
    found = near(named, has(at(expires_at=NOW - 9)))
    assert found is not None and found.trunk_id == "acme"


def test_nearest_prefers_a_name_then_the_later_end() -> None:
    late, early = at(expires_at=NOW - 1), at(expires_at=NOW - 100)
    one, two = has(late), replace(has(early), trunk_id="bell")
    assert near(two, one) == near(one, two) == near(one)
    named = replace(two, named=("number +44201",))
    assert near(named, one) == near(named)


def test_nearest_without_neighbours_is_none() -> None:
    assert near() is None


def test_nearest_of_an_identified_request_is_none() -> None:
    trunk = Trunk("acme", "t", "u", "sip:a@b", (at(),))
    identified = Identified(trunk, Rule.ONLY_CANDIDATE, ())
    assert nearest(REQUEST, identified, [has(at())], NOW) is None


def test_nearest_of_an_ambiguous_call_is_the_named_trunk() -> None:
    ambiguous = Refused(Reason.AMBIGUOUS, ("one", "two"), ())
    elsewhere = has(at("192.0.2.7"), named=("number +44201",))
    unknown_source = replace(has(at(transport="tls")), trunk_id="three")
    found = near(elsewhere, unknown_source, decision=ambiguous)
    assert found is not None and found.trunk_id == "acme"
    found = near(unknown_source, replace(has(at()), trunk_id="one"), decision=ambiguous)
    assert found is not None
    assert str(found) == "no trunk: nothing in the request names exactly one of one and two"
    many = near(decision=Refused(Reason.AMBIGUOUS, ("a", "b", "c"), ()))
    assert many is not None
    assert str(many) == "no trunk: nothing in the request names exactly one of a, b and c"
