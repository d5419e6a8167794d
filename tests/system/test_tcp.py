"""A registrar that is reached over TCP."""

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


def test_a_trunk_registers_over_tcp_and_is_called_over_it(
    rig: Rig, provider: Provider, whence: Whence, pbx: Pbx
) -> None:
    first, second, *_ = provider.registers()
    assert first.source.startswith(f"tcp:{whence.address[0]}:")
    assert second.source == first.source, "both went over one connection"
    (address,) = whence.get("/v1/addresses")
    assert (address["ip"], address["transport"]) == (provider.ip, "tcp")
    (held,) = provider.contacts("acct1")
    assert held.uri.endswith(f"@{place(whence.address)};transport=tcp")
    came = pbx.called_by(rig.stream(provider.ip, "tcp"), whence.address)
    assert came["X-Whence-Trunk"] == "by-tcp"
    assert came["X-Whence-Source"].startswith(f"tcp:{provider.ip}:")


def test_the_provider_calls_over_the_connection_of_the_registration(
    rig: Rig, provider: Provider, whence: Whence, pbx: Pbx
) -> None:
    """Its proxy sends to our Contact, and TCP connections are used in both directions."""
    caller = rig.stream(rig.ip("somebody"), "tcp")
    call = caller.request("INVITE", f"sip:acct1@{place(provider.address)}")
    caller.send(call, provider.address)
    came = pbx.receive()
    assert came["X-Whence-Trunk"] == "by-tcp"
    assert came["X-Whence-Source"] == f"tcp:{place(provider.address)}"


def test_what_was_learned_over_tcp_admits_no_udp(
    rig: Rig, provider: Provider, whence: Whence
) -> None:
    """A UDP source is easily forged."""
    assert refused(rig.endpoint("provider"), whence.address) == 403


def test_another_address_is_not_admitted_over_tcp(rig: Rig, whence: Whence) -> None:
    assert refused(rig.stream(rig.ip("unknown_source"), "tcp"), whence.address) == 403


def test_after_the_registrar_was_gone_a_new_connection_is_opened(
    rig: Rig, provider: Provider, whence: Whence, pbx: Pbx
) -> None:
    """Its refreshes come every six seconds."""
    before = len(provider.registers())
    former = provider.registers()[0].source
    provider.restart()
    eventually(lambda: provider.contacts("acct1"), 30, "a registration after the restart")
    assert {seen.source for seen in provider.registers()[before:]} != {former}
    whence.wait_registered()
    pbx.called_by(rig.stream(provider.ip, "tcp"), whence.address)
