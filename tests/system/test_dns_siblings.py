"""Siblings: the other addresses in DNS of the registrar's name admit calls too."""

import time
from typing import Any

import pytest

from testkit.nameserver import NameServer, address, srv
from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import place
from testkit.wait import eventually
from testkit.whence import Table, Whence, trunk
from tests.system.pbx import Pbx, refused
from tests.system.scene import ACCOUNTS

NAME = "provider.example"
BRIEF: Table = {"sibling_ttl": [1, 3600], "on_stop": "leave", "grace": 0}


@pytest.fixture
def pbx(rig: Rig) -> Pbx:
    return Pbx(rig)


def siblings(whence: Whence) -> set[str]:
    shown = whence.get("/v1/addresses")
    return {str(one["ip"]) for one in shown if one["origin"] == "resolved"}


def wait_siblings(whence: Whence, *ips: str) -> None:
    eventually(lambda: siblings(whence) == set(ips), what=f"siblings {ips}")


def start(rig: Rig, dns: NameServer, provider: Provider, pbx: Pbx, **more: object) -> Whence:
    keys: dict[str, Any] = {"registrar": f"sip:{NAME}", **more}
    return rig.whence(
        trunks=[trunk("acme", provider, "acct1", pbx.uri, **keys)],
        agent={"nameserver": dns.place, **BRIEF},
        registration={"response_timeout": 10},
    )


def two_servers(rig: Rig, provider: Provider, ttl_s: int = 300) -> list[str]:
    """Return records of two servers; the second has less priority and gets no REGISTER."""
    return [
        srv(f"_sip._udp.{NAME}", "one.example", priority=1),
        srv(f"_sip._udp.{NAME}", "two.example", 5070, priority=2),
        address("one.example", provider.ip, ttl_s=ttl_s),
        address("two.example", rig.ip("two"), ttl_s=ttl_s),
    ]


def test_sibling_is_admitted_while_the_trunk_is_registered(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS, refuses=403)
    dns = rig.nameserver(*two_servers(rig, provider))
    whence = start(rig, dns, provider, pbx)
    two = rig.endpoint("two")
    whence.wait_state("acme", "waiting")
    assert refused(two, whence.address) == 403
    assert dns.asked("two.example"), "it was resolved; it admits nothing without a registration"

    provider.accept()
    whence.cli("register", "acme")
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"))
    assert pbx.called_by(two, whence.address)["X-Whence-Trunk"] == "acme"
    assert refused(rig.unknown_source(), whence.address) == 403
    (shown,) = (one for one in whence.get("/v1/addresses") if one["origin"] == "resolved")
    assert (shown["port"], shown["transport"], shown["exact"]) == (None, "udp", False)
    assert shown["expires_at"] <= whence.trunk("acme")["expires_at"]
    assert "resolved" in whence.cli("addresses").stdout

    assert whence.cli("unregister", "acme").returncode == 0
    assert refused(two, whence.address) == 403
    assert whence.get("/v1/addresses") == []


def test_sibling_removed_from_dns_ends_with_its_ttl(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=30)
    dns = rig.nameserver(address(NAME, provider.ip, rig.ip("two"), ttl_s=1))
    whence = start(rig, dns, provider, pbx)
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"))
    dns.change(address(NAME, provider.ip, rig.ip("three"), ttl_s=1))
    eventually(lambda: rig.ip("three") in siblings(whence), what="the new sibling")
    assert pbx.called_by(rig.endpoint("three"), whence.address)["X-Whence-Trunk"] == "acme"
    wait_siblings(whence, rig.ip("three"))
    assert refused(rig.endpoint("two"), whence.address) == 403


def test_follow_dns_off_admits_no_sibling(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    dns = rig.nameserver(*two_servers(rig, provider))
    whence = start(rig, dns, provider, pbx)
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"))
    whence.edit(trunks=[{**whence.trunks[0], "follow_dns": False}])
    whence.post("/v1/reload", {})
    assert siblings(whence) == set()
    assert refused(rig.endpoint("two"), whence.address) == 403
    assert pbx.called_by(rig.endpoint("provider"), whence.address)
    whence.edit(trunks=[{**whence.trunks[0], "follow_dns": True}])
    whence.post("/v1/reload", {})
    assert whence.trunk("acme")["state"] == "registered"


def test_siblings_of_proxy_and_registrar_are_admitted(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    dns = rig.nameserver(
        address("proxy.example", provider.ip, rig.ip("two")), address(NAME, rig.ip("three"))
    )
    whence = start(rig, dns, provider, pbx, proxy="sip:proxy.example")
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"), rig.ip("three"))
    for name in ("two", "three"):
        assert pbx.called_by(rig.endpoint(name), whence.address)["X-Whence-Trunk"] == "acme"


def test_registrar_removed_from_dns_raises_an_alarm(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    dns = rig.nameserver(address(NAME, provider.ip, rig.ip("two"), ttl_s=1))
    whence = start(rig, dns, provider, pbx)
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"))
    assert whence.get("/v1/alarms") == []
    dns.change(address(NAME, rig.ip("three"), ttl_s=1))
    (event,) = eventually(lambda: whence.get("/v1/alarms"), what="the alarm")
    assert (event["kind"], event["trunk"]) == ("registrar_not_in_dns", "acme")
    assert event["message"] == (
        f"udp:{provider.ip}:{SIP_PORT} granted, and DNS does not name it for {NAME}"
    )


def test_sibling_with_match_port_has_the_port_of_srv(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    dns = rig.nameserver(*two_servers(rig, provider))
    whence = start(rig, dns, provider, pbx, match_port=True)
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"))
    assert refused(rig.endpoint("two"), whence.address) == 403
    assert pbx.called_by(rig.endpoint("two", 5070), whence.address)["X-Whence-Trunk"] == "acme"


def test_sibling_of_a_tls_trunk_is_admitted_over_tls_only(rig: Rig, pbx: Pbx) -> None:
    authority = rig.authority()
    provider = rig.provider(accounts=ACCOUNTS, tls=authority.certificate(f"DNS:{NAME}"))
    dns = rig.nameserver(address(NAME, provider.ip, rig.ip("two")))
    edge, ours = rig.ip("edge"), authority.certificate("DNS:edge.example")
    sockets = [f"{transport}:{edge}:{SIP_PORT}" for transport in ("udp", "tcp")]
    whence = rig.whence(
        trunks=[
            trunk("acme", provider, "acct1", pbx.uri, registrar=provider.uri_over("tls", NAME))
        ],
        edge={
            "listen": [*sockets, f"tls:{edge}:{SIP_PORT + 1}"],
            "tls": {
                "certificate": str(ours.certificate),
                "key": str(ours.key),
                "ca": str(authority.file),
            },
        },
        agent={"nameserver": dns.place, **BRIEF},
    )
    whence.wait_registered()
    wait_siblings(whence, rig.ip("two"))
    for who in ("provider", "two"):
        assert refused(rig.endpoint(who), whence.address) == 403, "over UDP"
        assert refused(rig.stream(rig.ip(who), "tcp"), whence.address) == 403, "over TCP"
        received = pbx.called_by(rig.stream(rig.ip(who), "tls"), (edge, SIP_PORT + 1))
        assert received["X-Whence-Trunk"] == "acme"


def test_dns_answers_cannot_admit_foreign_addresses(rig: Rig, pbx: Pbx) -> None:
    """DNS names many addresses, our own, private ones and multicast; then DNS stops answering."""
    provider = rig.provider(accounts=ACCOUNTS, grants_s=20)
    crowd = [f"127.99.{i >> 8}.{i & 255}" for i in range(1, 60)]
    bad = ["10.0.0.1", "192.168.1.1", "8.8.8.8", "224.0.0.1", "0.0.0.0", "::1", "fe80::1"]
    dns = rig.nameserver(
        srv(f"_sip._udp.{NAME}", "one.example", priority=1),
        srv(f"_sip._udp.{NAME}", "crowd.example", priority=2),
        address("one.example", provider.ip, ttl_s=1),
        address("crowd.example", rig.ip("edge"), *bad, *crowd, ttl_s=1),
    )
    whence = start(rig, dns, provider, pbx)
    whence.wait_registered()
    eventually(lambda: len(siblings(whence)) == 16, what="a few siblings")
    assert not siblings(whence) & {*bad, rig.ip("edge"), provider.ip}
    for ip in bad[:3]:
        source = f"udp:{ip}:{SIP_PORT}"
        assert whence.explain(source, f"sip:x@{place(whence.address)}")["decision"] == "unknown"
    dns.kill()
    until = whence.trunk("acme")["expires_at"]
    eventually(lambda: time.time() > until, what="the end of the first grant")
    assert len(siblings(whence)) == 16, "the last answer of DNS stays valid"


def test_sibling_as_ipv4_mapped_ipv6_is_not_admitted(rig: Rig, pbx: Pbx) -> None:
    """Such a record is a mistake or an attack (RFC 4291 2.5.5.2): it admits nothing."""
    provider = rig.provider(accounts=ACCOUNTS)
    dns = rig.nameserver(
        srv(f"_sip._udp.{NAME}", "one.example", priority=1),
        srv(f"_sip._udp.{NAME}", "two.example", 5070, priority=2),
        srv(f"_sip._udp.{NAME}", "three.example", 5070, priority=3),
        address("one.example", provider.ip),
        address("two.example", f"::ffff:{rig.ip('two')}"),
        address("three.example", rig.ip("three")),
    )
    whence = start(rig, dns, provider, pbx)
    whence.wait_registered()
    wait_siblings(whence, rig.ip("three"))
    assert refused(rig.endpoint("two"), whence.address) == 403
