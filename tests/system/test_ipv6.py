"""A registrar at an IPv6 address. There is one on loopback, so that ports tell who is who."""

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, place
from testkit.whence import trunk
from tests.system.pbx import Pbx, refused

ACCOUNTS = {"acct1": "secret of acct1"}


def test_a_trunk_registers_at_an_ipv6_registrar_and_is_called_from_there(rig: Rig) -> None:
    edge, registrar = ("::1", rig.network.port()), ("::1", rig.network.port())
    provider = rig.provider(accounts=ACCOUNTS, at=registrar)
    pbx = Pbx(rig)
    whence = rig.whence(
        trunks=[trunk("by-ipv6", provider, "acct1", pbx.uri)],
        edge={"listen": [f"udp:{rig.ip('edge')}:{SIP_PORT}", f"udp:{place(edge)}"]},
    )
    whence.wait_registered()
    # (Kamailio's $si is without brackets.)
    assert {seen.source for seen in provider.registers()} == {f"udp:::1:{edge[1]}"}
    (address,) = whence.get("/v1/addresses")
    assert (address["ip"], address["port"], address["transport"]) == ("::1", registrar[1], "udp")
    assert whence.trunk("by-ipv6")["registrar"] == f"udp:{place(registrar)}"
    (held,) = provider.contacts("acct1")
    assert held.uri.endswith(f"@{place(edge)}")
    with Endpoint("::1") as caller:
        came = pbx.called_by(caller, edge)
        assert came["X-Whence-Trunk"] == "by-ipv6"
        assert came["X-Whence-Source"] == f"udp:{place(caller.address)}"
    assert refused(rig.unknown_source(), whence.address) == 403


def test_ipv6_alone(rig: Rig) -> None:
    """Also the agent socket, and TCP."""
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
    came = pbx.called_by(rig.stream("::1", "tcp"), ("::1", port))
    assert came["X-Whence-Source"].startswith("tcp:[::1]:")


def test_transport_address_of_mapped_ipv4_is_ipv4(rig: Rig) -> None:
    """In the file, and where somebody asks or admits (RFC 4291 2.5.5.2)."""
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


def test_a_network_of_ipv4_written_as_ipv6_is_that_network(rig: Rig) -> None:
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
