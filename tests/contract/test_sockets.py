"""Requests leave from the sockets of `listen` only, never from the agent's socket."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.nameserver import NameServer, address, naptr, srv
from testkit.network import Network
from testkit.sip import Message, reply, request
from testkit.stream import StreamEndpoint
from testkit.wait import PATIENCE_S
from tests.contract.reports import Agent
from tests.contract.scene import Scene
from tests.contract.world import World
from whence.core.sip.transport_address import Transport

NAME = "pbx.example.net"
REASON = "no_socket_for_target"


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Return (ip of a name server, ip of the host NAME)."""
    folder: Path = tmp_path_factory.mktemp("sockets-dns")
    with Network() as network:
        dns, pbx = network.ip("dns"), network.ip("pbx")
        with NameServer(dns, folder, [address(NAME, pbx)], port=53):
            yield dns, pbx


@pytest.fixture(scope="module", params=["tcp:{edge}", "tcp:{edge} udp:{edge6}"])
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    name_server: tuple[str, str],
) -> Iterator[World]:
    """A Kamailio without a UDP socket for IPv4, besides the agent's socket."""
    folder: Path = tmp_path_factory.mktemp("sockets")
    listen = request.param.split()
    with World(folder, listen=listen, resolver=name_server[0]) as world:
        yield world


def refusal(scene: Scene, target: str) -> Message:
    """Make a call over TCP to this target; return its final answer."""
    with StreamEndpoint(scene.ip("provider")) as caller:
        scene.trunk(target, at=caller, transport=Transport.TCP)
        invite = caller.request("INVITE", scene.uri("+4420"))
        caller.send(invite, scene.edge)
        return caller.expect(lambda m: m.call_id == invite.call_id and m.status >= 200)


def test_call_without_socket_for_its_target_is_refused(scene: Scene, agent: Agent) -> None:
    pbx = scene.endpoint("pbx")
    answer = refusal(scene, f"sip:sales@{pbx.address[0]}:{pbx.address[1]}")
    assert answer.status == 500
    assert pbx.waiting() == []
    assert agent.report().kind == "identified"
    assert agent.report().reason == REASON


def test_call_to_a_name_without_socket_is_refused(
    scene: Scene, agent: Agent, name_server: tuple[str, str]
) -> None:
    with scene.world.endpoint(name_server[1], 5075) as pbx:
        answer = refusal(scene, f"sip:sales@{NAME}:5075")
        assert answer.status == 500
        assert pbx.waiting() == []
        assert agent.report().kind == "identified"
        assert agent.report().reason == REASON


def test_bye_to_a_contact_without_socket_is_refused(scene: Scene, agent: Agent) -> None:
    """The target answers over TCP with a Contact that is reached over UDP."""
    pbx = scene.endpoint("pbx")
    with (
        socket.create_server(pbx.address) as server,
        StreamEndpoint(scene.ip("provider")) as caller,
    ):
        server.settimeout(PATIENCE_S)
        place = f"{pbx.address[0]}:{pbx.address[1]}"
        scene.trunk(f"sip:pbx@{place};transport=tcp", at=caller, transport=Transport.TCP)
        invite = caller.request("INVITE", scene.uri("+4420"))
        caller.send(invite, scene.edge)
        with StreamEndpoint("", bound=server.accept()[0]) as target:
            arrived = target.expect(lambda m: m.method == "INVITE")
            answer = reply(arrived, 200, headers=[("Contact", f"<sip:pbx@{place}>")])
            target.send(answer, scene.edge)
            answer = caller.expect(lambda m: m.status == 200)
            bye = request(
                "BYE",
                f"sip:pbx@{place}",
                caller.address,
                from_uri="sip:tester@invalid",
                to_uri=invite["To"].strip("<>"),
                from_tag=invite["From"].partition("tag=")[2],
                to_tag="rig",
                call_id=invite.call_id,
                cseq=2,
                transport="TCP",
                headers=[("Route", answer["Record-Route"])],
            )
            caller.send(bye, scene.edge)
            ended = caller.expect(lambda m: m.status >= 200 and "BYE" in m["CSeq"])
    assert ended.status == 500
    assert pbx.waiting() == []
    assert agent.report().kind == "identified"
    assert agent.report().reason == REASON


def test_name_of_both_ip_versions_is_reached_over_ipv6(tmp_path: Path) -> None:
    """The agent's socket must not make Kamailio take IPv4 for possible."""
    with Network() as network:
        dns, pbx = network.ip("dns"), network.ip("pbx")
        port = network.port()
        with (
            NameServer(dns, tmp_path, [address(NAME, pbx, "::1")], port=53),
            World(tmp_path, listen=["udp:{edge6}"], resolver=dns) as world,
            Scene(world) as scene,
            world.endpoint("::1") as caller,
            world.endpoint("::1", port) as target,
            world.endpoint(pbx, port) as not_reachable,
            closing(Agent(scene)) as agent,
        ):
            scene.trunk(f"sip:sales@{NAME}:{port}", at=caller, registrar="sip:[::1]")
            invite = request("INVITE", f"sip:x@[::1]:{world.edge6[1]}", caller.address)
            caller.send(invite, world.edge6)
            assert target.receive().call_id == invite.call_id
            assert not_reachable.waiting() == []
            assert agent.report().kind == "identified"
            answer = caller.ask(request("OPTIONS", invite.request_uri, caller.address), world.edge6)
            assert (answer.status, agent.report().method) == (200, "OPTIONS")


def test_name_is_reached_over_a_transport_of_listen(tmp_path: Path) -> None:
    with Network() as network:
        dns, pbx = network.ip("dns"), network.ip("pbx")
        records = [
            address(NAME, pbx),
            naptr("tcp.example.net", "SIP+D2U", "_sip._udp.tcp.example.net", order=10),
            naptr("tcp.example.net", "SIP+D2T", "_sip._tcp.tcp.example.net", order=20),
            srv("_sip._tcp.tcp.example.net", NAME, 5075),
            srv("_sip._udp.tcp.example.net", NAME, 5075),
        ]
        with (
            NameServer(dns, tmp_path, records, port=53),
            World(tmp_path, listen=["tcp:{edge}"], resolver=dns) as world,
            Scene(world) as scene,
            StreamEndpoint(scene.ip("provider")) as caller,
            socket.create_server((pbx, 5075)) as target,
            world.endpoint(pbx, 5075) as not_reachable,
        ):
            target.settimeout(PATIENCE_S)
            scene.trunk("sip:sales@tcp.example.net", at=caller, transport=Transport.TCP)
            caller.send(caller.request("INVITE", scene.uri("+4420")), scene.edge)
            with target.accept()[0] as connection:
                connection.settimeout(PATIENCE_S)
                assert Message.parse(connection.recv(65535)).method == "INVITE"
            assert not_reachable.waiting() == []
