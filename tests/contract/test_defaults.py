"""Parameters of Kamailio that Whence sets because their defaults are wrong for it."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.sip import Message, reply
from testkit.wait import PATIENCE_S
from tests.contract.agent_requests import register
from tests.contract.scene import Scene
from tests.contract.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Kamailio that ends a transaction without INVITE after a second, by default."""
    folder = tmp_path_factory.mktemp("defaults")
    lifetime = 'modparam("tm", "max_noninv_lifetime", 1000)'
    with World(folder, parameters=lifetime) as world:
        yield world


def test_register_of_the_agent_lives_as_long_as_response_timeout(scene: Scene) -> None:
    agent = scene.agent()
    with socket.socket(type=socket.SOCK_DGRAM) as registrar:
        registrar.bind((scene.ip("registrar"), 0))
        registrar.settimeout(PATIENCE_S)
        ask = register(scene.world, agent, registrar.getsockname(), scene.name("call"))
        agent.send(ask, scene.agent_socket)
        for _ in range(3):  # the edge sends it at once, after 0.5 and after 1.5 s
            third = Message.parse(registrar.recv(65535))
        registrar.sendto(str(reply(third, 200)).encode(), scene.edge)
        assert agent.receive().status == 200


def test_kamailio_writes_no_core_file(world: World) -> None:
    limits = Path(f"/proc/{world.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
