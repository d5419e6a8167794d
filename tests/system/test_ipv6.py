"""IPv6: registrars, callers and pinned networks.

Loopback has one IPv6 address only, so ports distinguish the machines.
"""

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, place
from testkit.whence import trunk
from tests.system.pbx import Pbx, refused

ACCOUNTS = {"acct1": "secret of acct1"}


def test_trunk_at_an_ipv6_registrar_gets_its_calls(rig: Rig) -> None:
    edge, registrar = ("::1", rig.network.port()), ("::1", rig.network.port())
    provider = rig.provider(accounts=ACCOUNTS, at=registrar)
    pbx = Pbx(rig)
    whence = rig.whence(
        trunks=[trunk("by-ipv6", provider, "acct1", pbx.uri)],
        edge={"listen": [f"udp:{rig.ip('edge')}:{SIP_PORT}", f"udp:{place(edge)}"]},
    )
    whence.wait_registered()
    # Kamailio's $si has no brackets.
    assert {seen.source for seen in provider.registers()} == {f"udp:::1:{edge[1]}"}
    (address,) = whence.get("/v1/addresses")
    assert (address["ip"], address["port"], address["transport"]) == ("::1", registrar[1], "udp")
    assert whence.trunk("by-ipv6")["registrar"] == f"udp:{place(registrar)}"
    (contact,) = provider.contacts("acct1")
    assert contact.uri.endswith(f"@{place(edge)}")
    with Endpoint("::1") as caller:
        received = pbx.called_by(caller, edge)
        assert received["X-Whence-Trunk"] == "by-ipv6"
        assert received["X-Whence-Source"] == f"udp:{place(caller.address)}"
    assert refused(rig.unknown_source(), whence.address) == 403


def test_ipv6_inside_socket_and_tcp_work(rig: Rig) -> None:
    port, agent_port, registrar = rig.network.port(), rig.network.port(), rig.network.port()
    provider = rig.provider(accounts=ACCOUNTS, at=("::1", registrar))
    pbx = Pbx(rig)
    by_tcp = trunk("by-tcp", provider, "acct1", pbx.uri, registrar=provider.uri_over("tcp"))
    whence = rig.whence(
        trunks=[by_tcp],
        edge={
            "listen": [f"tcp:[::1]:{port}", f"udp:{rig.ip('edge')}:{SIP_PORT}"],
            "agent_socket": f"udp:[::1]:{agent_port}",
        },
    )
    whence.wait_registered()
    (address,) = whence.get("/v1/addresses")
    assert (address["ip"], address["transport"]) == ("::1", "tcp")
    received = pbx.called_by(rig.stream("::1", "tcp"), ("::1", port))
    assert received["X-Whence-Source"].startswith("tcp:[::1]:")


def test_ipv4_mapped_address_is_its_ipv4_address(rig: Rig) -> None:
    """In the settings file, in `whence explain` and in `whence allow` (RFC 4291 2.5.5.2)."""
    pbx = Pbx(rig)
    one, other, third = rig.endpoint("one"), rig.endpoint("other"), rig.endpoint("third")
    provider = rig.provider(accounts=ACCOUNTS, refuses=403)
    networks = [f"::ffff:{one.address[0]}", f"::ffff:{other.address[0]}/128"]
    whence = rig.whence(trunks=[trunk("acme", provider, "acct1", pbx.uri, networks=networks)])
    whence.wait_state("acme", "waiting")
    shown = {address["ip"] for address in whence.get("/v1/addresses")}
    assert shown == {one.address[0], other.address[0]}
    for caller in (one, other):
        assert pbx.called_by(caller, whence.address)["X-Whence-Trunk"] == "acme"
    assert refused(third, whence.address) == 403
    source = f"udp:[::ffff:{third.address[0]}]:{third.address[1]}"
    asked = (source, f"sip:acct1@{place(whence.address)}")
    assert whence.explain(*asked)["decision"] == "unknown"
    whence.cli("allow", source, "--trunk", "acme", "--for", "1h")
    assert whence.explain(*asked)["trunk"] == "acme"
    assert pbx.called_by(third, whence.address)["X-Whence-Trunk"] == "acme"


def test_ipv4_mapped_network_is_its_ipv4_network(rig: Rig) -> None:
    pbx = Pbx(rig)
    first, within, beyond = (str(rig.network.block[i]) for i in (224, 239, 240))
    provider = rig.provider(accounts=ACCOUNTS, refuses=403)
    networks = [f"::ffff:{first}/124"]
    whence = rig.whence(trunks=[trunk("acme", provider, "acct1", pbx.uri, networks=networks)])
    whence.wait_state("acme", "waiting")
    (shown,) = whence.get("/v1/addresses")
    assert shown["ip"] == f"{first}/28"
    with Endpoint(within) as caller, Endpoint(beyond) as unknown_source:
        assert pbx.called_by(caller, whence.address)["X-Whence-Trunk"] == "acme"
        assert refused(unknown_source, whence.address) == 403
