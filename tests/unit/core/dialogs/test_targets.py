"""Where requests inside a dialog may lead, and which cookies and records permit it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whence.core.dialogs import targets
from whence.core.dialogs.arrival import Arrival
from whence.core.dialogs.cookie import (
    COOKIE_LENGTH,
    began_at,
    covers_via,
    covers_way,
    new_id,
    write_cookie,
)
from whence.core.dialogs.record import DialogRecord, OwnSockets, Party, RequestPath, Side
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

KEY = "11" * 32
NOON = 1_800_000_000.0
OWN = OwnSockets.of(
    [TransportAddress.parse("udp:203.0.113.1:5060"), TransportAddress.parse("udp:127.0.0.1:5062")]
)
FAR = TransportAddress.parse("udp:198.51.100.7:5060")
ID = new_id(Arrival.of(NOON), "0123456789abcdef")


def read(text: str) -> Uri | None:
    return Uri.parse(text)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sip:a@192.0.2.1", "udp:192.0.2.1:5060"),
        ("sip:b;x=y:pw@192.0.2.1:5060;ob;lr", "udp:192.0.2.1:5060"),
        ("sip:192.0.2.1;transport=TCP", "tcp:192.0.2.1:5060"),
        ("sips:a@192.0.2.1", "tls:192.0.2.1:5061"),
        ("sips:a@192.0.2.1;transport=tcp", "tls:192.0.2.1:5061"),
        ("sip:a@192.0.2.1;transport=tls", "tls:192.0.2.1:5061"),
        ("sip:a@[2001:DB8::1]:5070", "udp:[2001:db8::1]:5070"),
        ("sip:a@[::ffff:192.0.2.1]", "udp:192.0.2.1:5060"),
        ("sip:a@Proxy.Example:5070", "udp:proxy.example:5070"),
        ("sip:a@127.1", "udp:127.1:5060"),
        ("sip:a@192.0.2.1;transport=sctp", None),
        ("sip:a@192.0.2.1;maddr=192.0.2.2", None),
        ("sip:a@h|x", None),
        ("sip:a@h x", None),
        ("tel:+4420", None),
    ],
)
def test_place_is_where_a_uri_leads(uri: str, place: str | None) -> None:
    found = read(uri)
    assert (targets.place(found) if found else None) == place


@pytest.mark.parametrize(
    ("contact", "source", "hop"),
    [
        ("sip:a@192.0.2.1", "udp:198.51.100.7:5060", "sip:192.0.2.1:5060"),
        (
            "sip:a@192.0.2.1;transport=tcp",
            "udp:198.51.100.7:5060",
            "sip:192.0.2.1:5060;transport=tcp",
        ),
        ("sip:a@name.example", "udp:198.51.100.7:5070", "sip:198.51.100.7:5070"),
        ("sip:a@name.example", "tls:[2001:db8::7]:4711", "sip:[2001:db8::7]:4711;transport=tls"),
        ("sip:a@127.1", "udp:198.51.100.7:5070", "sip:198.51.100.7:5070"),
        ("sip:a@2130706433", "udp:198.51.100.7:5070", "sip:198.51.100.7:5070"),
        ("sip:a@127.0.0.1:5080", "udp:127.0.0.1:5080", "sip:127.0.0.1:5080"),
        ("sip:a@203.0.113.1:5080", "udp:127.0.0.1:5080", "sip:203.0.113.1:5080"),
        ("sip:a@203.0.113.1:5080", "udp:203.0.113.1:5080", "sip:203.0.113.1:5080"),
        ("sip:a@127.0.0.1:5432;transport=tcp", "udp:198.51.100.7:5060", None),
        ("sip:a@127.0.0.2", "udp:127.0.0.1:5060", None),
        ("sip:a@[::1]", "udp:198.51.100.7:5060", None),
        ("sip:a@[::ffff:127.0.0.1]", "udp:198.51.100.7:5060", None),
        ("sip:a@0.0.0.0", "udp:198.51.100.7:5060", None),
        ("sip:a@[::]", "udp:198.51.100.7:5060", None),
        ("sip:a@224.0.1.75", "udp:198.51.100.7:5060", None),
        ("sip:a@[ff02::1]", "udp:198.51.100.7:5060", None),
        ("sip:a@255.255.255.255", "udp:198.51.100.7:5060", None),
        ("sip:a@203.0.113.1", "udp:198.51.100.7:5060", None),
        ("sip:a@203.0.113.1:22;transport=tcp", "udp:198.51.100.7:5060", None),
        ("sip:a@203.0.113.1", "udp:203.0.113.1:5080", None),
        ("sip:a@127.0.0.1:5062", "udp:127.0.0.1:5080", None),
        ("sip:a@name.example", "udp:127.0.0.1:5062", None),
    ],
)
def test_way_leads_only_where_a_party_may_send(contact: str, source: str, hop: str | None) -> None:
    way = targets.way((), read(contact), TransportAddress.parse(source), OWN)
    assert (way.hop if way else None) == hop


def test_way_leads_along_the_route_set() -> None:
    routes = targets.uris(["<sip:192.0.2.9;lr>, <sip:proxy.example;lr>", "<sip:192.0.2.8>"])
    way = targets.way(routes, read("sip:a@127.0.0.1"), FAR, OWN)
    assert way == RequestPath(
        (
            "udp:192.0.2.9:5060",
            "udp:proxy.example:5060",
            "udp:192.0.2.8:5060",
            "udp:127.0.0.1:5060",
        ),
        "sip:192.0.2.9:5060",
    )
    assert targets.way([None], read("sip:a@192.0.2.1"), FAR, OWN) is None
    assert targets.way([read("sip:h")] * 16, read("sip:a@192.0.2.1"), FAR, OWN) is None


def test_refreshed_way_keeps_its_route_set() -> None:
    before = RequestPath(("udp:192.0.2.9:5060", "udp:192.0.2.1:5060"), "sip:192.0.2.9:5060")
    after = targets.refreshed(before, read("sip:a@192.0.2.2"), FAR, OWN)
    assert after == RequestPath(("udp:192.0.2.9:5060", "udp:192.0.2.2:5060"), "sip:192.0.2.9:5060")
    direct = RequestPath(("udp:192.0.2.1:5060",), "sip:192.0.2.1:5060")
    assert targets.refreshed(direct, read("sip:a@127.0.0.1"), FAR, OWN) is None
    assert targets.refreshed(direct, None, FAR, OWN) is None


texts = st.text("abc:1", max_size=4)
parts = st.tuples(texts, texts, st.sampled_from(list(Side)), st.lists(texts, max_size=3), texts)


def cookie(of: tuple[str, str, Side, list[str], str]) -> str:
    call_id, via, to, there, from_ip = of
    return write_cookie(KEY, ID, call_id, via, to, there, from_ip)


@given(parts, parts)
def test_cookie_covers_only_its_own_call_and_path(
    made: tuple[str, str, Side, list[str], str], asked: tuple[str, str, Side, list[str], str]
) -> None:
    word = cookie(made)
    assert len(word) == COOKIE_LENGTH
    assert began_at(word) == NOON
    call_id, via, to, there, from_ip = asked
    same_call = call_id == made[0]
    assert covers_via(KEY, word, call_id, via) == (same_call and via == made[1])
    covers = covers_way(KEY, word, call_id, to, there, from_ip)
    assert covers == (same_call and (to, there, from_ip) == made[2:])
    assert not covers_via("22" * 32, word, *made[:2])


@given(parts, st.integers(0, COOKIE_LENGTH - 1), st.sampled_from("0123456789abcdef"))
def test_cookie_with_another_digit_covers_less(
    made: tuple[str, str, Side, list[str], str], at: int, digit: str
) -> None:
    word = cookie(made)
    assume(word[at] != digit)
    changed = word[:at] + digit + word[at + 1 :]
    call_id, via, to, there, from_ip = made
    via_holds = covers_via(KEY, changed, call_id, via)
    assert not (via_holds and covers_way(KEY, changed, call_id, to, there, from_ip))


def test_began_at_of_other_text_raises_value_error() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        began_at("x" * COOKIE_LENGTH)


A, B = (
    RequestPath(("udp:192.0.2.1:5060",), "sip:192.0.2.1:5060"),
    RequestPath(("udp:192.0.2.2:5060",), "sip:b"),
)
RECORD = DialogRecord(
    "call", "tag", "acme", "", Party(("192.0.2.1",), (A,), ("a",)), Party((), (B,), ("b",))
)


def test_direction_needs_cookie_and_way_of_one_party() -> None:
    assert targets.direction(RECORD, "b", B.places) == (Side.CALLER, B)
    assert targets.direction(RECORD, "a", A.places) == (Side.CALLEE, A)
    for word, places in (("a", B.places), ("b", A.places), ("c", A.places), ("a", ())):
        assert targets.direction(RECORD, word, places) is None


def test_party_remembers_the_last_ones() -> None:
    party = Party()
    for n in range(20):
        party = party.with_more(f"192.0.2.{n}", A, str(n))
    assert party.ips == tuple(f"192.0.2.{n}" for n in range(12, 20))
    assert party.ways == (A,)
    assert party.with_more("", None, "") == party


lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


@given(lines, lines, lines, st.ip_addresses().map(str))
def test_record_reads_what_it_wrote(call: str, trunk: str, user: str, ip: str) -> None:
    record = DialogRecord(call, "tag", trunk, user, Party((ip,), (A, B), ("x",)), Party())
    assert DialogRecord.from_text(record.to_text()) == record


@pytest.mark.parametrize("text", ["", "ended", "[]", "[1]", "{}", "null"])
def test_record_of_other_text_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        DialogRecord.from_text(text)


@pytest.mark.parametrize(
    ("contact", "source", "sent_by", "has_nat", "expected"),
    [
        ("sip:a@198.51.100.7", "udp:198.51.100.7:5060", True, False, False),
        ("sip:a@198.51.100.7:5080", "udp:198.51.100.7:5060", True, False, False),
        ("sip:a@198.51.100.7:5080", "udp:198.51.100.7:5060", False, False, True),
        ("sip:a@198.51.100.7:5080", "udp:198.51.100.7:5060", True, True, True),
        ("sip:a@192.168.1.2", "udp:198.51.100.7:5060", True, False, True),
        ("sip:a@phone.example", "udp:198.51.100.7:5060", True, False, True),
        ("sip:a@198.51.100.7", "tcp:198.51.100.7:40000", True, False, True),
        ("sip:a@x.invalid;transport=ws", "ws:198.51.100.7:40000", False, False, True),
    ],
)
def test_phone_is_reached_at_its_source_behind_nat(
    contact: str, source: str, sent_by: bool, has_nat: bool, expected: bool
) -> None:
    at = TransportAddress.parse(source)
    found = targets.is_at_source(read(contact), at, is_sent_by=sent_by, has_nat=has_nat)
    assert found is expected


@pytest.mark.parametrize(
    ("source", "hop"),
    [
        ("udp:198.51.100.7:4000", "sip:198.51.100.7:4000"),
        ("tcp:198.51.100.7:4000", "sip:198.51.100.7:4000;transport=tcp"),
        ("wss:[2001:db8::7]:4000", "sip:[2001:db8::7]:4000;transport=ws"),
    ],
)
def test_cookie_brings_the_source_of_a_phone_back(source: str, hop: str) -> None:
    at = TransportAddress.parse(source)
    way = targets.way((), read("sip:a@192.168.1.2"), at, OWN, at_source=True)
    assert way == RequestPath(("udp:192.168.1.2:5060",), hop, True)
    kept = targets.source_of(way)
    cookie = write_cookie(KEY, ID, "call", "", Side.CALLEE, way.places, "192.0.2.1", kept)
    found = targets.direction_of_old(KEY, cookie, "call", way.places, "192.0.2.1")
    assert found == (Side.CALLER, way)
    bare, _, _ = cookie.partition("h")
    for other in (bare, cookie[:-1] + ("0" if cookie[-1] != "0" else "1")):
        assert targets.direction_of_old(KEY, other, "call", way.places, "192.0.2.1") is None
    record = DialogRecord("", "", "", "", Party((), (way,)))
    assert DialogRecord.from_text(record.to_text()) == record


def test_phone_behind_a_proxy_is_reached_by_its_routes() -> None:
    routes = [read("sip:192.0.2.9;lr")]
    way = targets.way(routes, read("sip:a@192.168.1.2"), FAR, OWN, at_source=True)
    assert way is not None and (way.hop, way.at_source) == ("sip:192.0.2.9:5060", False)


def test_source_of_a_phone_is_no_socket_of_ours() -> None:
    ours = TransportAddress.parse("udp:203.0.113.1:5060")
    assert targets.way((), read("sip:a@192.168.1.2"), ours, OWN, at_source=True) is None
