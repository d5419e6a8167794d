"""Registrars that are named by host: a real DNS server resolves them, or fails."""

import time

import pytest

from testkit.nameserver import address, forwarded, naptr, srv
from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Table, Whence
from tests.system.scene import (
    ACCOUNTS,
    BOBS_NUMBER,
    alices_trunk,
    bobs_trunk,
    decided,
    place,
    uri,
)

QUICK: Table = {"response_timeout": 6}
"""Long enough for a registrar on a busy machine, and short to wait for at a dead server."""

LEAVE: Table = {"on_stop": "leave"}
NAME = "provider.example"


def learned(whence: Whence) -> set[str]:
    """Return the ips that accepted a REGISTER, without siblings from DNS."""
    shown = whence.get("/v1/addresses")
    return {str(one["ip"]) for one in shown if one["origin"] == "learned"}


def test_dead_server_is_skipped_within_one_attempt(rig: Rig) -> None:
    second = rig.provider("second", accounts=ACCOUNTS)
    dns = rig.nameserver(
        srv(f"_sip._udp.{NAME}", "first.example", priority=1),
        srv(f"_sip._udp.{NAME}", "second.example", priority=2),
        address("first.example", rig.ip("first")),
        address("second.example", second.ip),
    )
    whence = rig.whence(
        trunks=[alices_trunk(second, registrar=f"sip:{NAME}", follow_dns=False)],
        users=["alice"],
        agent={"nameserver": dns.place, **LEAVE},
        registration=QUICK,
    )
    whence.wait_registered()
    details = whence.trunk("alices-trunk")
    assert details["registrar"] == f"udp:{place(second.address)}"
    assert details["failures"] == 0
    # CSeq 1 went to the dead server.
    assert [seen.cseq for seen in second.registers()] == [2, 3]
    assert learned(whence) == {second.ip}
    rig.phone("alice", whence)
    rig.caller(whence, at=second).call(uri(whence), expect=200)
    rig.caller(whence, at="first").call(uri(whence), expect=403)


@pytest.mark.parametrize("status", [408, 500, 503, 603])
def test_failing_server_is_skipped_within_one_attempt(rig: Rig, status: int) -> None:
    """Its answer comes at once, so the agent does not wait; it granted nothing."""
    first = rig.provider("first", accounts=ACCOUNTS)
    second = rig.provider("second", accounts=ACCOUNTS)
    first.refuse(status)
    dns = rig.nameserver(
        srv(f"_sip._udp.{NAME}", "first.example", priority=1),
        srv(f"_sip._udp.{NAME}", "second.example", priority=2),
        address("first.example", first.ip),
        address("second.example", second.ip),
    )
    whence = rig.whence(
        trunks=[alices_trunk(second, registrar=f"sip:{NAME}")],
        users=["alice"],
        agent={"nameserver": dns.place, **LEAVE},
    )
    whence.wait_registered()
    assert first.registers_seen() == 1
    assert whence.trunk("alices-trunk")["registrar"] == f"udp:{place(second.address)}"
    assert whence.trunk("alices-trunk")["failures"] == 0
    assert learned(whence) == {second.ip}


def test_transport_follows_naptr(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    edge = rig.ip("edge")
    dns = rig.nameserver(
        naptr(NAME, "SIP+D2T", f"_sip._tcp.{NAME}", order=1),
        naptr(NAME, "SIP+D2U", f"_sip._udp.{NAME}", order=2),
        srv(f"_sip._tcp.{NAME}", "sip.example"),
        srv(f"_sip._udp.{NAME}", "gone.example"),
        address("sip.example", provider.ip),
    )
    whence = rig.whence(
        trunks=[alices_trunk(provider, registrar=f"sip:{NAME}")],
        users=["alice"],
        edge={"listen": [f"udp:{edge}:{SIP_PORT}", f"tcp:{edge}:{SIP_PORT}"]},
        agent={"nameserver": dns.place, **LEAVE},
    )
    whence.wait_registered()
    assert whence.trunk("alices-trunk")["registrar"] == f"tcp:{place(provider.address)}"
    assert {seen.source.partition(":")[0] for seen in provider.registers()} == {"tcp"}


def test_registrar_moved_in_dns_is_found_at_its_new_address(rig: Rig) -> None:
    """The new address admits calls; the old one admits them until its grant ends."""
    before = rig.provider("before", accounts=ACCOUNTS, grants_s=10)
    dns = rig.nameserver(address(NAME, before.ip, ttl_s=1))
    whence = rig.whence(
        trunks=[alices_trunk(before, registrar=f"sip:{NAME}")],
        users=["alice"],
        agent={"nameserver": dns.place, "grace": 0, **LEAVE},
        registration=QUICK,
    )
    whence.wait_registered()
    assert learned(whence) == {before.ip}

    after = rig.provider("after", accounts=ACCOUNTS)
    dns.change(address(NAME, after.ip, ttl_s=1))
    before.stop()

    def moved() -> bool:
        return bool(whence.trunk("alices-trunk")["registrar"] == f"udp:{place(after.address)}")

    eventually(moved, what="registered at the new address")
    assert decided(whence, after) == "identified"
    eventually(lambda: learned(whence) == {after.ip}, what="the end of the old grant")
    assert decided(whence, before) == "unknown"


def test_registrar_is_found_while_dns_is_down(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=20)
    dns = rig.nameserver(address(NAME, provider.ip, ttl_s=1))
    whence = rig.whence(
        trunks=[alices_trunk(provider, registrar=f"sip:{NAME}")],
        users=["alice"],
        agent={"nameserver": dns.place, **LEAVE},
    )
    whence.wait_registered()
    dns.kill()
    until = whence.trunk("alices-trunk")["expires_at"]

    def refreshed() -> bool:
        return bool(whence.trunk("alices-trunk")["expires_at"] > until)

    eventually(refreshed, what="a refresh without DNS")
    assert provider.registers()[-1].at < until, "the registration did not expire"
    eventually(lambda: f"DNS does not answer for {NAME}" in whence.log, what="a line in the log")


def test_unanswered_name_delays_no_other_trunk(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    silent = rig.endpoint("silent", 5300)
    dns = rig.nameserver(address(NAME, provider.ip), forwarded("slow.example", silent.address))
    slow = [slow_trunk(number, provider) for number in range(20)]
    whence = rig.whence(
        trunks=[*slow, bobs_trunk(provider, registrar=f"sip:{NAME}")],
        users=["alice", "bob"],
        agent={"nameserver": dns.place, **LEAVE},
    )
    whence.wait_registered("bobs-trunk")
    (learned_at,) = (one["learned_at"] for one in whence.get("/v1/addresses"))
    for one in slow:
        assert learned_at < failed_at(whence, str(one["id"]))
    rig.phone("bob", whence)
    rig.caller(whence, at=provider).call(uri(whence, BOBS_NUMBER), expect=200)


def failed_at(whence: Whence, trunk_id: str) -> float:
    """Return when the trunk's first attempt had failed."""
    details = whence.wait_state(trunk_id, "waiting")
    assert details["reason"] == "dns_silent"
    return float(min(event["at"] for event in whence.get(f"/v1/trunks/{trunk_id}")["events"]))


def slow_trunk(number: int, provider: Provider) -> Table:
    table = alices_trunk(provider, registrar=f"sip:{number}.slow.example")
    return {**table, "id": f"slow-{number}", "numbers": []}


def test_name_that_does_not_exist_is_reported(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    dns = rig.nameserver()
    whence = rig.whence(
        trunks=[alices_trunk(provider, registrar="sip:missing.example")],
        users=["alice"],
        agent={"nameserver": dns.place, **LEAVE},
    )
    details = whence.wait_state("alices-trunk", "waiting")
    assert details["reason"] == "no_address"
    assert "missing.example" in details["message"]
    assert details["next_at"] > time.time()
