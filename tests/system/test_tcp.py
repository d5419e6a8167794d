"""Trunks that register over TCP."""

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import place
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.pbx import Pbx, refused

ACCOUNTS = {"acct1": "secret of acct1"}


@pytest.fixture
def provider(rig: Rig) -> Provider:
    return rig.provider(accounts=ACCOUNTS, grants_s=8)


@pytest.fixture
def pbx(rig: Rig) -> Pbx:
    return Pbx(rig)


@pytest.fixture
def whence(rig: Rig, provider: Provider, pbx: Pbx) -> Whence:
    here = place((rig.ip("edge"), SIP_PORT))
    by_tcp = trunk("by-tcp", provider, "acct1", pbx.uri, registrar=provider.uri_over("tcp"))
    whence = rig.whence(trunks=[by_tcp], edge={"listen": [f"udp:{here}", f"tcp:{here}"]})
    whence.wait_registered()
    return whence


def test_trunk_registered_over_tcp_gets_calls_over_tcp(
    rig: Rig, provider: Provider, whence: Whence, pbx: Pbx
) -> None:
    first, second, *_ = provider.registers()
    assert first.source.startswith(f"tcp:{whence.address[0]}:")
    assert second.source == first.source, "both came over one connection"
    (address,) = whence.get("/v1/addresses")
    assert (address["ip"], address["transport"]) == (provider.ip, "tcp")
    (contact,) = provider.contacts("acct1")
    assert contact.uri.endswith(f"@{place(whence.address)};transport=tcp")
    received = pbx.called_by(rig.stream(provider.ip, "tcp"), whence.address)
    assert received["X-Whence-Trunk"] == "by-tcp"
    assert received["X-Whence-Source"].startswith(f"tcp:{provider.ip}:")


def test_call_over_the_connection_of_the_registration(
    rig: Rig, provider: Provider, whence: Whence, pbx: Pbx
) -> None:
    """The provider's proxy sends to our Contact over the open connection."""
    caller = rig.stream(rig.ip("caller"), "tcp")
    call = caller.request("INVITE", f"sip:acct1@{place(provider.address)}")
    caller.send(call, provider.address)
    received = pbx.receive()
    assert received["X-Whence-Trunk"] == "by-tcp"
    assert received["X-Whence-Source"] == f"tcp:{place(provider.address)}"


def test_address_learned_over_tcp_admits_no_udp(
    rig: Rig, provider: Provider, whence: Whence
) -> None:
    """The source of a UDP datagram is easy to forge."""
    assert refused(rig.endpoint("provider"), whence.address) == 403


def test_unknown_source_over_tcp_is_refused(rig: Rig, whence: Whence) -> None:
    assert refused(rig.stream(rig.ip("unknown_source"), "tcp"), whence.address) == 403


def test_restarted_registrar_gets_a_new_connection(
    rig: Rig, provider: Provider, whence: Whence, pbx: Pbx
) -> None:
    """A refresh comes every six seconds."""
    before = len(provider.registers())
    former = provider.registers()[0].source
    provider.restart()
    eventually(lambda: provider.contacts("acct1"), 30, "a registration after the restart")
    assert {seen.source for seen in provider.registers()[before:]} != {former}
    whence.wait_registered()
    pbx.called_by(rig.stream(provider.ip, "tcp"), whence.address)
