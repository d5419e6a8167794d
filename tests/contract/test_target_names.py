"""Targets that are names: Kamailio finds them in DNS."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit.nameserver import NameServer, address, naptr, srv
from testkit.network import Network
from testkit.sip import Message
from testkit.wait import PATIENCE_S
from tests.contract.scene import Scene
from tests.contract.world import World

NAME, PORT = "pbx.example", 5080


@dataclass(frozen=True)
class Site:
    """A world, and the ip of the PBX that its name server has."""

    world: World
    ip: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Kamailio whose name server has a PBX that prefers TCP to UDP."""
    folder: Path = tmp_path_factory.mktemp("target-names")
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        pbx, dns = network.ip("pbx"), network.ip("dns")
        records = [
            naptr(NAME, "SIP+D2T", f"_sip._tcp.{NAME}", order=10),
            naptr(NAME, "SIP+D2U", f"_sip._udp.{NAME}", order=20),
            srv(f"_sip._tcp.{NAME}", f"host.{NAME}", PORT),
            srv(f"_sip._udp.{NAME}", f"host.{NAME}", PORT),
            address(f"host.{NAME}", pbx),
        ]
        stack.enter_context(NameServer(dns, folder, records, port=53))
        yield Site(stack.enter_context(World(folder, tcp=True, resolver=dns)), pbx)


@pytest.fixture
def world(site: Site) -> World:
    return site.world


def test_target_naptr_order_selects_the_transport(scene: Scene, site: Site) -> None:
    with (
        socket.create_server((site.ip, PORT)) as pbx,
        scene.world.endpoint(site.ip, PORT),
    ):
        pbx.settimeout(PATIENCE_S)
        trunk = scene.trunk(f"sip:sales@{NAME}")
        trunk.at.send(scene.invite(trunk.at), scene.edge)
        connection, _ = pbx.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            assert Message.parse(connection.recv(65535)).method == "INVITE"
