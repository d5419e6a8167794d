"""Test each rule of RFC 3263 and RFC 2782 with a real DNS server."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import dns.rdata
import pytest

from testkit.nameserver import NameServer, address, cname, naptr, srv
from testkit.network import Network
from tests.unit.agent.dns.fixed_answers import fixed_answers
from whence.agent.config.uris import EDGE_TRANSPORTS
from whence.agent.dns.cache import DnsCache, Kind
from whence.agent.dns.resolver import NEXT_HOPS_LIMIT, SipResolver, by_priority
from whence.core.registration.reason import RegistrationReason as Code
from whence.core.registration.reason import Why
from whence.core.sip.transport_address import Transport
from whence.core.sip.uri import Uri

UDP = [(Transport.UDP, 4)]
ALL = [(transport, version) for transport in EDGE_TRANSPORTS for version in (4, 6)]

ZONE = (
    # Two servers, each with an address; most names have them as targets.
    address("one.example", "192.0.2.1"),
    address("two.example", "192.0.2.2"),
    address("both.example", "192.0.2.3", "2001:db8::3"),
    address("six.example", "2001:db8::6"),
    # plain: addresses only.
    address("plain.example", "192.0.2.10"),
    cname("alias.example", "plain.example"),
    # voip: SRV records, and addresses of its web site.
    address("voip.example", "192.0.2.80", "2001:db8::80"),
    srv("_sip._udp.voip.example", "two.example", 5062, priority=20),
    srv("_sip._udp.voip.example", "one.example", 5061, priority=10),
    srv("_sip._tcp.voip.example", "two.example", 5070),
    srv("_sips._tcp.voip.example", "one.example", 5071),
    # big: prefers TCP, then TLS, then UDP, whose order counts before their preference.
    naptr("big.example", "SIP+D2U", "_sip._udp.voip.example", order=30, preference=1),
    naptr("big.example", "SIP+D2T", "_sip._tcp.voip.example", order=20, preference=10),
    naptr("big.example", "SIPS+D2T", "_sips._tcp.voip.example", order=20, preference=20),
    # safe: prefers TLS.
    naptr("safe.example", "SIP+D2T", "_sip._tcp.voip.example", order=20),
    naptr("safe.example", "SIPS+D2T", "_sips._tcp.voip.example", order=10),
    # odd: NAPTR for other services, and one for SIP.
    naptr("odd.example", "E2U+sip", "_sip._tcp.voip.example", order=1),
    naptr("odd.example", "SIP+D2S", "_sip._tcp.voip.example", order=2),
    naptr("odd.example", "SIP+D2U", "_sip._udp.odd.example", order=3),
    srv("_sip._udp.odd.example", "one.example"),
    # brief: a server with a short TTL.
    srv("_sip._udp.brief.example", "moment.example"),
    srv("_sip._udp.brief.example", "one.example"),
    address("moment.example", "192.0.2.70", ttl_s=20),
    # off: has no SIP over UDP, by the target ".".
    address("off.example", "192.0.2.90"),
    srv("_sip._udp.off.example", "."),
    srv("_sip._tcp.off.example", "two.example"),
    # same: the same server twice, and one whose name does not exist.
    srv("_sip._udp.same.example", "gone.example", priority=1),
    srv("_sip._udp.same.example", "one.example", priority=2),
    srv("_sip._udp.same.example", "one.example", priority=3),
    # Both IP versions, and one.
    srv("_sip._udp.mixed.example", "both.example", priority=1),
    srv("_sip._udp.mixed.example", "six.example", priority=2),
    srv("_sip._udp.mixed.example", "one.example", priority=3),
    # Unusable addresses, loops and crowds.
    address(
        "nowhere.example", "0.0.0.0", "224.0.0.1", "::", "ff02::1", "fe80::1", "::ffff:1.2.3.4"
    ),
    cname("loop.example", "pool.example"),
    *(address("many.example", f"10.0.{i >> 8}.{i & 255}") for i in range(1000)),
    *(srv("_sip._udp.crowd.example", f"host-{i}.example") for i in range(100)),
    *(address(f"host-{i}.example", f"10.1.0.{i}", f"2001:db8::{i:x}") for i in range(100)),
)


@pytest.fixture(scope="module")
def nameserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    folder = tmp_path_factory.mktemp("dns")
    with Network() as network, NameServer(network.ip("nameserver"), folder, ZONE) as server:
        yield server


@pytest.fixture
def ask(nameserver: NameServer) -> Ask:
    return Ask(nameserver)


class Ask:
    """A resolver with a new cache for each question."""

    def __init__(self, nameserver: NameServer) -> None:
        self._nameserver = nameserver

    def __call__(self, uri: str, sockets: list[tuple[Transport, int]] = UDP) -> list[str]:
        server = Uri.parse(uri)
        assert server

        async def asking() -> list[str]:
            resolver = SipResolver(
                DnsCache(self._nameserver.address), sockets, lambda low, high: high
            )
            return [str(hop) for hop in await resolver.targets(server)]

        return asyncio.run(asking())

    def asked(self, uri: str, sockets: list[tuple[Transport, int]] = UDP) -> set[tuple[str, str]]:
        """Return the queries that this look-up sent."""
        before = len(self._nameserver.asked())
        self(uri, sockets)
        return set(self._nameserver.asked()[before:])


class NoQueries:
    """A Finder that fails the test if it is used."""

    def failure(self, host: str) -> str:
        return ""

    def error_code(self, name: str, kind: Kind) -> NoReturn:
        raise AssertionError(f"asked for {name} {kind}")

    async def find(self, name: str, kind: Kind) -> NoReturn:
        raise AssertionError(f"asked for {name} {kind}")

    def good_for_s(self, name: str, kind: Kind) -> NoReturn:
        raise AssertionError(f"asked for {name} {kind}")


# A literal address, a port, a transport.


@pytest.mark.parametrize(
    ("uri", "next_hop"),
    [
        ("sip:192.0.2.1", "udp:192.0.2.1:5060"),
        ("sip:192.0.2.1:5070", "udp:192.0.2.1:5070"),
        ("sip:192.0.2.1;transport=tcp", "tcp:192.0.2.1:5060"),
        ("sip:192.0.2.1;transport=tls", "tls:192.0.2.1:5061"),
        ("sip:192.0.2.1;transport=TCP", "tcp:192.0.2.1:5060"),
        ("sip:192.0.2.1;transport=", "udp:192.0.2.1:5060"),
        ("sips:192.0.2.1", "tls:192.0.2.1:5061"),
        ("sip:[2001:db8::0:1]:5070", "udp:[2001:db8::1]:5070"),
        ("sip:[::ffff:192.0.2.1]", "udp:192.0.2.1:5060"),
    ],
)
def test_literal_address_is_resolved_without_dns(uri: str, next_hop: str) -> None:
    server = Uri.parse(uri)
    assert server
    (found,) = asyncio.run(SipResolver(NoQueries(), UDP).targets(server))
    assert str(found) == next_hop


def test_name_with_a_port_queries_only_addresses(ask: Ask) -> None:
    assert ask("sip:voip.example:5080") == ["udp:192.0.2.80:5080"]
    assert ask("sip:voip.example:5080;transport=tcp", ALL) == [
        "tcp:[2001:db8::80]:5080",
        "tcp:192.0.2.80:5080",
    ]
    assert ask.asked("sip:voip.example:5080") == {("A", "voip.example")}


def test_name_with_a_transport_queries_its_srv(ask: Ask) -> None:
    assert ask("sip:voip.example;transport=tcp", ALL) == ["tcp:192.0.2.2:5070"]
    assert ask("sip:voip.example;transport=tls", ALL) == ["tls:192.0.2.1:5071"]
    assert ask.asked("sip:big.example;transport=udp") == {
        ("SRV", "_sip._udp.big.example"),
        ("A", "big.example"),
    }


def test_name_with_a_transport_without_srv_uses_addresses(ask: Ask) -> None:
    assert ask("sip:plain.example;transport=udp") == ["udp:192.0.2.10:5060"]
    assert ask("sip:plain.example;transport=tcp", ALL) == ["tcp:192.0.2.10:5060"]
    assert ask("sip:plain.example;transport=tls", ALL) == ["tls:192.0.2.10:5061"]


def test_transport_without_a_socket_has_no_next_hop(ask: Ask) -> None:
    assert ask("sip:voip.example;transport=tcp", UDP) == []
    assert ask.asked("sip:voip.example;transport=tcp", UDP) == set()


# NAPTR.


def test_naptr_orders_the_transports(ask: Ask) -> None:
    assert ask("sip:big.example", ALL) == [
        "tcp:192.0.2.2:5070",
        "tls:192.0.2.1:5071",
        "udp:192.0.2.1:5061",
        "udp:192.0.2.2:5062",
    ]


def test_naptr_without_a_socket_is_skipped(ask: Ask) -> None:
    assert ask("sip:big.example", [(Transport.UDP, 4), (Transport.TLS, 4)]) == [
        "tls:192.0.2.1:5071",
    ]
    assert ask("sip:big.example", UDP) == ["udp:192.0.2.1:5061", "udp:192.0.2.2:5062"]


def test_naptr_that_prefers_tls_excludes_others(ask: Ask) -> None:
    """An attacker who blocks TLS must not cause a downgrade."""
    assert ask("sip:safe.example", ALL) == ["tls:192.0.2.1:5071"]
    assert ask("sip:safe.example", [(Transport.TCP, 4)]) == ["tcp:192.0.2.2:5070"]


def test_naptr_of_other_services_is_skipped(ask: Ask) -> None:
    assert ask("sip:odd.example", ALL) == ["udp:192.0.2.1:5060"]


# SRV.


def test_srv_of_each_transport_is_queried_without_naptr(ask: Ask) -> None:
    assert ask("sip:voip.example", ALL) == [
        "udp:192.0.2.1:5061",
        "udp:192.0.2.2:5062",
        "tcp:192.0.2.2:5070",
        "tls:192.0.2.1:5071",
    ]
    assert ask.asked("sip:voip.example", [(Transport.UDP, 4), (Transport.TCP, 4)]) == {
        ("NAPTR", "voip.example"),
        ("SRV", "_sip._udp.voip.example"),
        ("SRV", "_sip._tcp.voip.example"),
        ("A", "one.example"),
        ("A", "two.example"),
    }


def test_srv_with_lower_priority_is_first(ask: Ask) -> None:
    assert ask("sip:voip.example;transport=udp") == ["udp:192.0.2.1:5061", "udp:192.0.2.2:5062"]


def test_srv_with_target_dot_has_no_next_hop(ask: Ask) -> None:
    assert ask("sip:off.example;transport=udp") == []
    assert ask("sip:off.example", UDP) == []
    assert ask("sip:off.example", ALL) == ["tcp:192.0.2.2:5060"]


def test_srv_targets_are_unique_and_need_an_address(ask: Ask) -> None:
    assert ask("sip:same.example") == ["udp:192.0.2.1:5060"]


def test_name_without_naptr_and_srv_uses_addresses(ask: Ask) -> None:
    assert ask("sip:plain.example", ALL) == ["udp:192.0.2.10:5060"]
    assert ask("sip:alias.example", ALL) == ["udp:192.0.2.10:5060"]
    assert ask("sip:plain.example", [(Transport.TCP, 4)]) == ["tcp:192.0.2.10:5060"]


def test_name_that_does_not_exist_has_no_next_hop(ask: Ask) -> None:
    assert ask("sip:nobody.example", ALL) == []


def test_sips_uri_uses_tls_only(ask: Ask) -> None:
    assert ask("sips:big.example", ALL) == ["tls:192.0.2.1:5071"]
    assert ask("sips:voip.example", ALL) == ["tls:192.0.2.1:5071"]
    assert ask("sips:plain.example", ALL) == ["tls:192.0.2.10:5061"]
    assert ask("sips:plain.example", UDP) == []


# Weights (RFC 2782).


def servers(*weights: int) -> list[dns.rdata.Rdata]:
    return [dns.rdata.from_text("IN", "SRV", f"1 {w} 5060 w{w}.example.") for w in weights]


def test_by_priority_draws_the_first_by_weight() -> None:
    pick = random.Random(1).randint
    first = Counter(by_priority(servers(10, 30, 60), pick)[0].weight for _ in range(3000))
    assert {weight: round(n / 300) for weight, n in first.items()} == {10: 1, 30: 3, 60: 6}


def test_by_priority_draws_the_others_by_weight() -> None:
    pick = random.Random(1).randint
    orders = [[s.weight for s in by_priority(servers(10, 30, 60), pick)] for _ in range(3000)]
    assert all(sorted(order) == [10, 30, 60] for order in orders)
    second = Counter(order[1] for order in orders if order[0] == 60)
    assert 2 < second[30] / second[10] < 4


def test_by_priority_puts_weight_0_last_except_for_draw_0() -> None:
    smallest, next_one = (
        by_priority(servers(5, 0), min),
        by_priority(servers(5, 0), lambda _, most: min(1, most)),
    )
    assert [srv.weight for srv in smallest] == [0, 5]
    assert [srv.weight for srv in next_one[:1]] == [5]
    assert len(by_priority(servers(0, 0, 0), random.Random(1).randint)) == 3


def test_by_priority_sorts_by_priority_before_weight() -> None:
    listed = [
        dns.rdata.from_text("IN", "SRV", f"{priority} {weight} 5060 w.example.")
        for priority, weight in [(2, 65535), (1, 0), (2, 1), (1, 1)]
    ]
    for seed in range(20):
        order = by_priority(listed, random.Random(seed).randint)
        assert [srv.priority for srv in order] == [1, 1, 2, 2]


# IPv4 and IPv6.


def test_ipv6_is_before_ipv4_with_both_sockets(ask: Ask) -> None:
    both = [(Transport.UDP, 4), (Transport.UDP, 6)]
    assert ask("sip:mixed.example", both) == [
        "udp:[2001:db8::3]:5060",
        "udp:192.0.2.3:5060",
        "udp:[2001:db8::6]:5060",
        "udp:192.0.2.1:5060",
    ]


@pytest.mark.parametrize(
    ("version", "found"),
    [
        (4, ["udp:192.0.2.3:5060", "udp:192.0.2.1:5060"]),
        (6, ["udp:[2001:db8::3]:5060", "udp:[2001:db8::6]:5060"]),
    ],
)
def test_ip_version_without_a_socket_is_not_queried(
    ask: Ask, version: int, found: list[str]
) -> None:
    # The TCP socket of the other IP version does not count: the service is over UDP.
    sockets = [(Transport.UDP, version), (Transport.TCP, 10 - version)]
    assert ask("sip:mixed.example;transport=udp", sockets) == found
    unasked = {4: "AAAA", 6: "A"}[version]
    asked = ask.asked("sip:mixed.example;transport=udp", sockets)
    assert unasked not in {kind for kind, _ in asked}


# Unusable and huge answers.


def test_addresses_that_are_unusable_are_skipped(ask: Ask) -> None:
    assert ask("sip:nowhere.example", ALL) == []


def test_next_hops_of_many_addresses_are_sixteen(ask: Ask) -> None:
    assert len(ask("sip:many.example")) == NEXT_HOPS_LIMIT == 16


def test_srv_of_many_servers_looks_up_sixteen(ask: Ask) -> None:
    assert len(ask("sip:crowd.example", ALL)) == 16
    asked = ask.asked("sip:crowd.example", ALL)
    assert len({name for kind, name in asked if kind in ("A", "AAAA")}) == 16


def test_cname_loop_has_no_next_hop(ask: Ask) -> None:
    assert ask("sip:loop.example") == []


@pytest.mark.parametrize(
    "host", ["bad..example", "x" * 64 + ".example", ".example", "a." * 130, "192.0.2.256"]
)
def test_name_invalid_in_dns_has_no_next_hop(ask: Ask, host: str) -> None:
    assert ask(f"sip:{host}", ALL) == []


@pytest.mark.parametrize(
    "uri",
    [
        "tel:+4420",
        "sip:a b",
        "sip:\x1b[2J",
        "sip:\\000.example",
        "sip:ü",
        "sip:[fe80::1%eth0]",
        "sip:.",
    ],
)
def test_host_with_other_characters_is_not_queried(uri: str) -> None:
    """A 3xx may contain anything."""
    server = Uri.parse(uri)
    assert server is None or asyncio.run(SipResolver(NoQueries(), ALL).targets(server)) == ()


def test_transport_ws_has_no_next_hop(ask: Ask) -> None:
    assert ask("sip:voip.example;transport=ws", ALL) == []
    assert ask("sip:voip.example;transport=TCP", ALL) == ["tcp:192.0.2.2:5070"]


@pytest.mark.parametrize("host", ["voip.example", "192.0.2.1"])
def test_transport_unknown_is_logged_and_not_queried(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Uri.parse(f"sip:{host};transport=sctp%0a%1b[2J" + "x" * 100)
    assert server
    resolver = SipResolver(NoQueries(), ALL)
    assert asyncio.run(resolver.targets(server)) == ()
    assert asyncio.run(resolver.everywhere(server)) == ((), 0.0)
    (message,) = caplog.messages
    assert message.startswith(f"'{host}' is not looked up: ")
    assert "'sctp\\n\\x1b[2Jx" in message and "udp or tcp or tls" in message
    assert message.isprintable() and len(message) < 170


# All next hops, for siblings.


def test_everywhere_has_all_addresses_and_shortest_ttl(
    ask: Ask,
) -> None:
    async def asking(host: str) -> tuple[set[str], float]:
        server = Uri.parse(f"sip:{host}")
        assert server
        found, good_for_s = await SipResolver(DnsCache(ask._nameserver.address), UDP).everywhere(
            server
        )
        return {str(hop.ip) for hop in found}, good_for_s

    both, good_for_s = asyncio.run(asking("voip.example"))
    assert both == {"192.0.2.1", "192.0.2.2"}
    assert 290 < good_for_s <= 300
    _, good_for_s = asyncio.run(asking("brief.example"))
    assert 10 < good_for_s <= 20
    many, _ = asyncio.run(asking("many.example"))
    assert NEXT_HOPS_LIMIT < len(many) <= 64
    assert asyncio.run(asking("nobody.example"))[0] == set()
    assert asyncio.run(asking("loop.example"))[0] == set()


# Failures.


def test_naptr_failure_falls_back_to_srv(ask: Ask) -> None:
    async def asking() -> list[str]:
        class WithoutNaptr(DnsCache):
            async def find(self, name: str, kind: Kind):  # type: ignore[no-untyped-def]
                return None if kind == "NAPTR" else await super().find(name, kind)

        resolver = SipResolver(WithoutNaptr(ask._nameserver.address), UDP)
        server = Uri.parse("sip:voip.example")
        assert server
        return [str(hop) for hop in await resolver.targets(server)]

    assert asyncio.run(asking()) == ["udp:192.0.2.1:5061", "udp:192.0.2.2:5062"]


def test_srv_timeout_does_not_use_the_a_record() -> None:
    class WithoutSrv:
        def failure(self, host: str) -> str:
            return "does not answer"

        def error_code(self, name: str, kind: Kind) -> str:
            return ""

        async def find(self, name: str, kind: Kind) -> tuple[dns.rdata.Rdata, ...] | None:
            assert kind not in ("A", "AAAA"), name
            return () if kind == "NAPTR" else None

        def good_for_s(self, name: str, kind: Kind) -> float:
            return 0.0

    server = Uri.parse("sip:voip.example")
    assert server
    resolver = SipResolver(WithoutSrv(), UDP)
    assert asyncio.run(resolver.targets(server)) == ()
    assert resolver.why_none(server) == Why(Code.DNS_SILENT, "DNS does not answer for voip.example")


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
@pytest.mark.parametrize("uri", ["sip:voip.example", "sip:voip.example;transport=udp"])
def test_srv_error_code_uses_the_a_record(network: Network, uri: str, code: str) -> None:
    answers = {"NAPTR": code, "SRV": code, "A": "192.0.2.1"}
    assert look_up(network, uri, answers)[0] == ["udp:192.0.2.1:5060"]


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP"])
def test_why_none_names_the_error_code_of_dns(network: Network, code: str) -> None:
    found, why = look_up(network, "sip:voip.example", dict.fromkeys(("NAPTR", "SRV", "A"), code))
    assert found == []
    assert why == Why(Code.DNS_FAILED, f"DNS answers {code} for voip.example")


@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_records_with_ttl_0_are_used(network: Network, kind: str) -> None:
    answers = {"A": "192.0.2.1", "NAPTR": "NOERROR", "SRV": "NOERROR"}
    if kind == "SRV":
        answers["SRV"] = "10 10 5062 one.example."
    port = 5062 if kind == "SRV" else 5060
    found, _ = look_up(network, "sip:voip.example", answers, ttl_s=0)
    assert found == [f"udp:192.0.2.1:{port}"]


def look_up(
    network: Network, uri: str, answers: dict[str, str], ttl_s: int = 60
) -> tuple[list[str], Why]:
    """Return the next hops at a server with these answers, and why there are none."""
    server = Uri.parse(uri)
    assert server

    async def asking() -> tuple[list[str], Why]:
        async with fixed_answers(network.ip("fixed"), answers, ttl_s) as place:
            resolver = SipResolver(DnsCache(place), UDP)
            found = [str(hop) for hop in await resolver.targets(server)]
            return found, resolver.why_none(server)

    return asyncio.run(asking())


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.mark.parametrize(
    ("uri", "reason", "message"),
    [
        (
            "sip:192.0.2.1;transport=tls",
            Code.NO_SOCKET,
            "the edge has no tls socket for IPv4",
        ),
        ("sip:[2001:db8::1]", Code.NO_SOCKET, "the edge has no udp socket for IPv6"),
        (
            "sip:voip.example;transport=tcp",
            Code.NO_SOCKET,
            "the edge has no tcp socket",
        ),
        (
            "sip:192.0.2.1;transport=sctp",
            Code.NO_SOCKET,
            "transport 'sctp' is not known; write udp or tcp or tls",
        ),
        (
            "sip:nobody.example",
            Code.NO_ADDRESS,
            "DNS has no address of nobody.example that the edge has a socket for",
        ),
    ],
)
def test_why_none_has_reason_and_message(uri: str, reason: Code, message: str) -> None:
    server = Uri.parse(uri)
    assert server
    assert SipResolver(NoQueries(), UDP).why_none(server) == Why(reason, message)
