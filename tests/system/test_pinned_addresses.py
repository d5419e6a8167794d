"""Pinned addresses: `networks` of a trunk admit calls, registered or not, until they end."""

import time
from datetime import UTC, datetime

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, place
from testkit.wait import eventually
from testkit.whence import Table, Whence, trunk
from tests.system.pbx import Pbx, refused
from tests.system.scene import ACCOUNTS


def unregistered(rig: Rig, networks: list[object], **more: object) -> tuple[Whence, Pbx]:
    """Start a node with one trunk that has these networks. Its registrar refuses it."""
    provider, pbx = rig.provider(accounts=ACCOUNTS, refuses=403), Pbx(rig)
    whence = rig.whence(
        trunks=[trunk("acme", provider, "acct1", pbx.uri, networks=networks)],
        **more,  # type: ignore[arg-type]
    )
    whence.wait_state("acme", "waiting")
    return whence, pbx


def change(whence: Whence, **keys: object) -> None:
    whence.edit(trunks=[{**whence.trunks[0], **keys}])
    whence.post("/v1/reload", {})


def test_pinned_network_admits_until_the_file_drops_it(rig: Rig) -> None:
    one, other = rig.endpoint("one"), rig.endpoint("other")
    whence, pbx = unregistered(rig, [{"network": one.address[0], "note": "gateway"}])
    assert pbx.called_by(one, whence.address)["X-Whence-Trunk"] == "acme"
    assert refused(other, whence.address) == 403
    (shown,) = whence.get("/v1/addresses")
    assert (shown["ip"], shown["origin"], shown["managed_by"]) == (one.address[0], "pinned", "file")
    output = whence.cli("addresses").stdout
    assert "pinned (file)" in output and "gateway" in output and "no end" in output

    network = one.address[0].rpartition(".")[0] + ".0/24"
    change(whence, networks=[network])
    for caller in (one, other):
        assert pbx.called_by(caller, whence.address)["X-Whence-Trunk"] == "acme"
    assert network in whence.cli("addresses").stdout

    change(whence, networks=[other.address[0]])
    assert refused(one, whence.address) == 403
    assert pbx.called_by(other, whence.address)["X-Whence-Trunk"] == "acme"
    change(whence, enabled=False)
    assert refused(other, whence.address) == 403
    assert whence.get("/v1/addresses") == []


def test_pinned_port_and_end_are_enforced(rig: Rig) -> None:
    gateway, later = rig.endpoint("gateway", SIP_PORT), rig.endpoint("later")
    of_gateway = {"network": gateway.address[0], "port": SIP_PORT}
    whence, pbx = unregistered(rig, [of_gateway])
    ends_at = time.time() + 20  # long enough for two calls on a busy machine
    ends = datetime.fromtimestamp(ends_at, UTC).isoformat()
    change(whence, networks=[of_gateway, {"network": later.address[0], "expires_at": ends}])
    pbx.called_by(gateway, whence.address)
    assert refused(rig.endpoint("gateway"), whence.address) == 403, "another port"
    pbx.called_by(later, whence.address)
    eventually(lambda: time.time() > ends_at, what="the end of the address")
    assert refused(later, whence.address) == 403
    # An expired entry in the file is allowed.
    whence.post("/v1/reload", {})
    assert refused(later, whence.address) == 403
    assert "has expired" in whence.cli("check", "-c", str(whence.file)).stdout


def test_pinned_network_for_tcp_admits_no_udp(rig: Rig) -> None:
    edge = rig.ip("edge")
    network = {"network": rig.ip("gateway"), "transport": "tcp"}
    sockets = [f"udp:{edge}:{SIP_PORT}", f"tcp:{edge}:{SIP_PORT}"]
    whence, pbx = unregistered(rig, [network], edge={"listen": sockets})
    stream = rig.stream(rig.ip("gateway"), "tcp")
    assert pbx.called_by(stream, whence.address)["X-Whence-Trunk"] == "acme"
    assert refused(rig.endpoint("gateway"), whence.address) == 403


def test_pinned_network_of_ipv6_admits_calls(rig: Rig) -> None:
    edge = ("::1", rig.network.port())
    listen: Table = {"listen": [f"udp:{rig.ip('edge')}:{SIP_PORT}", f"udp:{place(edge)}"]}
    whence, pbx = unregistered(rig, ["::1/128"], edge=listen)
    with Endpoint("::1") as caller:
        assert pbx.called_by(caller, edge)["X-Whence-Trunk"] == "acme"
        change(whence, networks=["2001:db8::/64", "::2/127"])
        assert refused(caller, edge) == 403


def test_pinned_network_invalid_in_the_file_changes_nothing(rig: Rig) -> None:
    gateway = rig.endpoint("gateway")
    whence, pbx = unregistered(rig, [gateway.address[0]])
    whence.edit(trunks=[{**whence.trunks[0], "networks": ["0.0.0.0/0", "10.0.0/8"]}])
    answer = whence.cli("reload")
    output = answer.stdout + answer.stderr
    assert answer.returncode != 0
    assert 'networks[0]: "0.0.0.0/0" admits more than any provider has' in output
    assert 'networks[1]: "10.0.0/8" is not a network; write "10.0.0.0/8"' in output
    pbx.called_by(gateway, whence.address)
