"""A node between a public network and a LAN: each side of a call sees its own socket alone."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.drop_in import DEBIANS
from testkit.namespace import Namespace
from testkit.process import Process, beside_python
from testkit.sip import Endpoint, Message, reply, request
from testkit.two_networks import LOCAL, PBX, PROVIDER, PROVIDER_2, PUBLIC, TwoNetworks
from testkit.wait import PATIENCE_S, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes veth pairs"),
]

SOCKETS = {
    order: [f"{transport}:{ip}:5060" for transport in ("udp", "tcp") for ip in ips]
    + [f"udp:{PUBLIC}:5090"]
    for order, ips in {"public first": (PUBLIC, LOCAL), "local first": (LOCAL, PUBLIC)}.items()
}

FILE = """
[edge]
listen = {listen}
{edge}
[agent]
state_dir = "{state}"
on_stop = "leave"
[[trunk]]
id = "acme"
registrar = "sip:{provider}"
user = "acct1"
password = "hunter2"
target = "sip:pbx@{pbx}:5070"
[[trunk]]
id = "named"
registrar = "sip:{provider}:5071"
user = "acct2"
password = "hunter2"
target = "sip:pbx@{pbx}:5070"
socket = "udp:{public}:5090"
[[trunk]]
id = "stream"
registrar = "sip:{provider}:5072"
user = "acct4"
password = "hunter2"
target = "sip:pbx@{pbx}:5075;transport=tcp"
[[trunk]]
id = "stock"
registrar = "sip:{provider}:5080"
user = "acct3"
password = "hunter2"
target = "sip:pbx@{pbx}:5070"
{more}
"""


class Node:
    """`whence run` in the namespace between the networks."""

    def __init__(
        self, folder: Path, networks: TwoNetworks, listen: list[str], edge: str = "", more: str = ""
    ) -> None:
        self._networks = networks
        file = folder / "whence.toml"
        file.write_text(
            FILE.format(
                listen=json.dumps(listen),
                edge=edge,
                state=folder / "state",
                provider=PROVIDER,
                public=PUBLIC,
                pbx=PBX,
                more=more,
            )
        )
        file.chmod(0o600)
        command = [str(beside_python("whence")), "run", "-c", str(file)]
        self.process = Process("edge", networks.edge.enter(command), folder / "edge.log")

    def states(self) -> dict[str, str]:
        """Return trunk id → its state."""
        command = [str(beside_python("whence")), "trunks", "--json"]
        done = subprocess.run(
            self._networks.edge.enter(command), capture_output=True, text=True, check=False
        )
        if done.returncode:
            return {}
        return {trunk["id"]: trunk["state"] for trunk in json.loads(done.stdout)}


def stock_registrar(folder: Path, wan: Namespace) -> Process:
    """Start Debian's own kamailio.cfg as a registrar on port 5080."""
    config = folder / "stock.cfg"
    text = DEBIANS.read_text().replace(
        "#!KAMAILIO\n",
        f"#!KAMAILIO\nlisten=udp:{PROVIDER}:5080\ndisable_tcp=yes\n",
        1,
    )
    text = re.sub(r"^children=\d+", "children=1", text, flags=re.M)
    text = text.replace(
        "####### Routing Logic ########\n",
        f'modparam("ctl", "binrpc", "unix:{folder}/stock.ctl")\n'
        'modparam("jsonrpcs", "transport", 4)\n'
        f'modparam("jsonrpcs", "dgram_socket", "{folder}/stock.rpc")\n'
        "####### Routing Logic ########\n",
        1,
    )
    config.write_text(text)
    command = ["kamailio", "-DD", "-E", "-m", "32", "-Y", str(folder), "-f", str(config)]
    return Process("stock", wan.enter(command), folder / "stock.log", stop_within_s=1)


class World:
    """The node, its providers and its PBX."""

    def __init__(self, networks: TwoNetworks, node: Node) -> None:
        self.node = node
        self.registrar = networks.endpoint(networks.wan, PROVIDER, 5060)
        self.other_registrar = networks.endpoint(networks.wan, PROVIDER, 5071)
        self.third_registrar = networks.endpoint(networks.wan, PROVIDER, 5072)
        self.pbx_stream = networks.listener(networks.lan, PBX, 5075)
        self.pbx = networks.endpoint(networks.lan, PBX, 5070)


def grant(register: Message, registrar: Endpoint) -> Message:
    """Grant a REGISTER, and return it."""
    assert register.source is not None
    registrar.send(
        reply(register, 200, headers=[("Contact", register["Contact"])]), register.source
    )
    return register


def until_registered(registrar: Endpoint) -> Message:
    """Wait for a REGISTER, and grant it."""
    return grant(registrar.expect(lambda m: m.method == "REGISTER"), registrar)


@pytest.fixture(scope="module", params=SOCKETS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("two")
    with (
        TwoNetworks(folder) as networks,
        stock_registrar(folder, networks.wan) as stock,
    ):
        node = Node(folder, networks, SOCKETS[request.param])
        with node.process:
            try:
                yield World(networks, node)
            finally:
                print(node.process.log[-3000:], stock.log[-2000:])


@pytest.fixture(scope="module")
def registered(world: World) -> dict[str, Message]:
    """Return trunk id → the REGISTER that was granted, of the providers that are sockets."""
    granted = {
        "acme": until_registered(world.registrar),
        "named": until_registered(world.other_registrar),
        "stream": until_registered(world.third_registrar),
    }
    eventually(
        lambda: {world.node.states().get(id_) for id_ in granted} == {"registered"},
        what="the grants in the agent",
    )
    return granted


def call(world: World, register: Message, registrar: Endpoint) -> tuple[Message, Message]:
    """Call the trunk from its provider; return the INVITE as it was sent and as the PBX gets it."""
    contact = register["Contact"].split(">")[0].strip("<")
    assert register.source is not None
    invite = request("INVITE", contact, registrar.address, from_uri=f"sip:7@{PROVIDER}")
    registrar.send(invite, register.source)
    return invite, world.pbx.expect(lambda m: m.method == "INVITE")


def answered_call(world: World, register: Message) -> tuple[Message, Message, Message]:
    """Call as `call` does; return both INVITEs, and the PBX's 200 as the provider gets it."""
    invite, arrived = call(world, register, world.registrar)
    ok = reply(arrived, 200, headers=[("Contact", f"<sip:pbx@{PBX}:5070>")])
    world.pbx.send(ok, (LOCAL, 5060))
    answer = world.registrar.expect(lambda m: m.status == 200 and m.call_id == invite.call_id)
    return invite, arrived, answer


def is_bye(message: Message) -> bool:
    return message.method == "BYE" and not message.is_reply


# Registration.


def test_register_leaves_from_the_socket_on_the_kernels_route(
    registered: dict[str, Message],
) -> None:
    register = registered["acme"]
    assert register.source == (PUBLIC, 5060)
    assert f"@{PUBLIC}:5060>" in register["Contact"]
    (via,) = register.all("Via")
    assert f" {PUBLIC}" in via and ";rport" in via


def test_register_of_trunk_with_socket_leaves_from_it(registered: dict[str, Message]) -> None:
    register = registered["named"]
    assert register.source == (PUBLIC, 5090)
    assert f"@{PUBLIC}:5090>" in register["Contact"]
    assert f" {PUBLIC}:5090;" in register["Via"]


def test_register_has_no_address_of_the_lan(registered: dict[str, Message]) -> None:
    for register in registered.values():
        assert "127.0.0.1" not in str(register)
        assert LOCAL not in str(register)


def test_request_uri_has_the_port_of_the_registrar(registered: dict[str, Message]) -> None:
    assert registered["acme"].request_uri == f"sip:{PROVIDER}"
    assert registered["named"].request_uri == f"sip:{PROVIDER}:5071"


def test_stock_kamailio_on_another_port_grants(world: World) -> None:
    eventually(
        lambda: world.node.states().get("stock") == "registered",
        what="the grant of Debian's kamailio.cfg on port 5080",
    )


# Calls.


def test_call_shows_each_side_its_own_socket(world: World, registered: dict[str, Message]) -> None:
    invite, arrived = call(world, registered["acme"], world.registrar)
    assert arrived.source == (LOCAL, 5060)
    assert f" {LOCAL}" in arrived.all("Via")[0] and ";rport" in arrived.all("Via")[0]
    top, below = arrived.all("Record-Route")
    assert f"sip:{LOCAL}" in top and f"sip:{PUBLIC}" in below
    assert "127.0.0.1" not in str(arrived)
    ok = reply(arrived, 200, headers=[("Contact", f"<sip:pbx@{PBX}:5070>")])
    world.pbx.send(ok, (LOCAL, 5060))
    answer = world.registrar.expect(lambda m: m.status == 200 and m.call_id == invite.call_id)
    assert answer.source == (PUBLIC, 5060)
    assert len(answer.all("Via")) == 1


def test_bye_of_each_party_leaves_from_the_other_sides_socket(
    world: World, registered: dict[str, Message]
) -> None:
    for hangs_up in ("provider", "pbx"):
        invite, arrived, answer = answered_call(world, registered["acme"])
        routes = answer.all("Record-Route")
        if hangs_up == "pbx":
            bye = request(
                "BYE",
                invite["Contact"].strip("<>"),
                world.pbx.address,
                from_tag="rig",
                to_tag=invite["From"].partition("tag=")[2],
                call_id=invite.call_id,
                headers=[("Route", route) for route in arrived.all("Record-Route")],
            )
            world.pbx.send(bye, (LOCAL, 5060))
            came = world.registrar.expect(is_bye)
            assert came.source == (PUBLIC, 5060)
            assert f" {PUBLIC}" in came.all("Via")[0]
        else:
            bye = request(
                "BYE",
                f"sip:pbx@{PBX}:5070",
                world.registrar.address,
                from_tag=invite["From"].partition("tag=")[2],
                to_tag="rig",
                call_id=invite.call_id,
                cseq=2,
                headers=[("Route", route) for route in routes[::-1]],
            )
            world.registrar.send(bye, (PUBLIC, 5060))
            came = world.pbx.expect(is_bye)
            assert came.source == (LOCAL, 5060)
            assert f" {LOCAL}" in came.all("Via")[0]
        assert "127.0.0.1" not in str(came)


def test_call_over_tcp_shows_the_target_its_own_socket(
    world: World, registered: dict[str, Message]
) -> None:
    """Kamailio alone would take the first TCP socket of the file (mhomed is for UDP)."""
    contact = registered["stream"]["Contact"].split(">")[0].strip("<")
    invite = request("INVITE", contact, world.third_registrar.address)
    world.third_registrar.send(invite, (PUBLIC, 5060))
    world.pbx_stream.settimeout(PATIENCE_S)
    connection, source = world.pbx_stream.accept()
    with connection:
        connection.settimeout(PATIENCE_S)
        arrived = Message.parse(connection.recv(65_535))
    assert source[0] == LOCAL
    assert f"TCP {LOCAL};" in arrived.all("Via")[0]
    top, below = arrived.all("Record-Route")
    assert f"sip:{LOCAL};" in top and f"sip:{PUBLIC};" in below


def test_call_of_trunk_with_socket_is_answered_from_it(
    world: World, registered: dict[str, Message]
) -> None:
    invite, arrived = call(world, registered["named"], world.other_registrar)
    assert arrived.source == (LOCAL, 5060)
    assert f"sip:{PUBLIC}:5090" in arrived.all("Record-Route")[1]
    world.pbx.send(reply(arrived, 486), (LOCAL, 5060))
    final = world.other_registrar.expect(lambda m: m.status >= 200 and m.call_id == invite.call_id)
    assert (final.status, final.source) == (486, (PUBLIC, 5090))


# An address that only the registrar knows.


def test_contact_follows_the_address_that_the_registrar_sees(tmp_path: Path) -> None:
    advertise = f'advertise = {{ "udp:{PUBLIC}:5060" = "auto" }}'
    with TwoNetworks(tmp_path) as networks:
        node = Node(tmp_path, networks, SOCKETS["local first"], advertise)
        with node.process:
            world = World(networks, node)
            other = networks.endpoint(networks.wan, PROVIDER_2, 5060)

            first = world.registrar.expect(lambda m: m.method == "REGISTER")
            forged = seen_at(first, "192.0.2.66", 666, expires_s=3)  # it refreshes soon
            other.send(forged, (PUBLIC, 5060))
            again = world.registrar.expect(lambda m: m.method == "REGISTER")
            assert f"@{PUBLIC}:5060>" in again["Contact"]

            world.registrar.send(seen_at(again, "203.0.113.7", 1024), (PUBLIC, 5060))
            moved = world.registrar.expect(lambda m: m.method == "REGISTER")
            ours, former = moved.contacts
            assert "@203.0.113.7:1024>" in ours
            assert f"@{PUBLIC}:5060>" in former and former.endswith(";expires=0")
            assert f" {PUBLIC};" in moved["Via"]
            world.registrar.send(seen_at(moved, "203.0.113.7", 1024), (PUBLIC, 5060))
            eventually(lambda: node.states()["acme"] == "registered", what="the grant")


def seen_at(register: Message, ip: str, port: int, expires_s: int = 3600) -> Message:
    """Grant a REGISTER, as a registrar that sees it come from another address."""
    contact = register.contacts[0].partition(";expires=")[0] + f";expires={expires_s}"
    answer = reply(register, 200, headers=[("Contact", contact)])
    via = re.sub(r";rport(?=;|$)", f";rport={port};received={ip}", answer["Via"])
    headers = tuple((n, via if n == "Via" else v) for n, v in answer.headers)
    return Message(answer.start_line, headers, answer.body)
