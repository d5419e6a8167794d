"""Who came nearest, and what was missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.core.identification.evidence import at
from tests.unit.core.registration.world import NOW
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
def test_what_was_missing_is_said(neighbour: NearbyTrunk, missing: list[tuple[Lack, str]]) -> None:
    expected = tuple(Missing(code, message) for code, message in missing)
    assert near(neighbour) == Nearest("acme", expected)


def test_an_ignored_reply_from_there_is_missing() -> None:
    reply = IgnoredReply(REQUEST.source.ip, "192.0.2.9", NOW - 5)
    found = near(has(ignored=(reply,)))
    assert found is not None and [one.code for one in found.missing] == [Lack.REPLY_IGNORED]
    refused = Refused(Reason.AMBIGUOUS, ("acme", "bell"), ())
    found = near(has(ignored=(reply,)), decision=refused)
    assert found is not None and found.trunk_id is None
    codes = [one.code for one in found.missing]
    assert codes == [Lack.NOTHING_DISTINGUISHES, Lack.REPLY_IGNORED]


def test_of_a_trunks_addresses_the_one_that_fits_best_counts() -> None:
    found = near(has(at(expires_at=NOW - 1, transport="tls"), at(transport="tls"), at("10.0.0.1")))
    assert found is not None and found.trunk_id == "acme"
    assert [one.code for one in found.missing] == [Lack.TRANSPORT_TOO_WEAK]


def test_who_has_an_address_there_comes_nearer_than_who_is_only_named() -> None:
    named = replace(has(at("192.0.2.7"), named=("number +44201",)), trunk_id="bell")
    found = near(named, has(at(expires_at=NOW - 9)))
    assert found is not None and found.trunk_id == "acme"


def test_of_two_that_ended_the_named_and_then_the_later_one_comes_nearer() -> None:
    late, early = at(expires_at=NOW - 1), at(expires_at=NOW - 100)
    one, two = has(late), replace(has(early), trunk_id="bell")
    assert near(two, one) == near(one, two) == near(one)
    named = replace(two, named=("number +44201",))
    assert near(named, one) == near(named)


def test_nobody_came_near_where_nobody_has_to_do_with_it() -> None:
    assert near() is None


def test_what_is_a_trunks_has_no_nearest() -> None:
    trunk = Trunk("acme", "t", "u", "sip:a@b", (at(),))
    identified = Identified(trunk, Rule.ONLY_CANDIDATE, ())
    assert nearest(REQUEST, identified, [has(at())], NOW) is None


def test_of_what_is_ambiguous_the_trunk_is_told_that_the_request_names_elsewhere() -> None:
    ambiguous = Refused(Reason.AMBIGUOUS, ("one", "two"), ())
    elsewhere = has(at("192.0.2.7"), named=("number +44201",))
    unknown_source = replace(has(at(transport="tls")), trunk_id="three")
    found = near(elsewhere, unknown_source, decision=ambiguous)
    assert found is not None and found.trunk_id == "acme"
    found = near(unknown_source, replace(has(at()), trunk_id="one"), decision=ambiguous)
    assert found is not None
    assert str(found) == "no trunk: nothing in the request is of one of one and two alone"
    many = near(decision=Refused(Reason.AMBIGUOUS, ("a", "b", "c"), ()))
    assert many is not None
    assert str(many) == "no trunk: nothing in the request is of one of a, b and c alone"
