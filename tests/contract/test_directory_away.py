"""The directory is missing, damaged or wrong: the edge answers 503, and recovers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.sip import request
from tests.contract.agent_requests import options
from tests.contract.books import Hide
from tests.contract.scene import Scene
from tests.contract.world import World


def missing(directory: Path) -> None:
    """Remove the directory's file."""
    directory.unlink()


def garbage(directory: Path) -> None:
    """Replace it by other bytes."""
    directory.unlink()
    directory.write_bytes(b"this is no database" * 1000)


def empty(directory: Path) -> None:
    """Replace it by an empty file."""
    directory.unlink()
    directory.touch()


@pytest.fixture(params=[missing, garbage, empty])
def hide(request: pytest.FixtureRequest) -> Hide:
    hide: Hide = request.param
    return hide


@pytest.fixture
def blind(tmp_path: Path, hide: Hide) -> Iterator[World]:
    """A world whose edge has never seen its directory."""
    with World(tmp_path, hide=hide) as world:
        yield world


def test_edge_without_the_directory_answers_503_until_it_is_back(blind: World) -> None:
    with Scene(blind) as scene:
        unknown_source, agent = scene.endpoint(), scene.agent()
        for method in ("INVITE", "OPTIONS", "MESSAGE"):
            ask = request(method, scene.uri("+4420"), unknown_source.address)
            assert (
                unknown_source.ask(ask, scene.edge).start_line == "SIP/2.0 503 Service Unavailable"
            )
        assert unknown_source.register(scene.edge, "alice", "x", "edge.example").status == 503
        ask = options(blind, agent, scene.name("call"))
        assert agent.ask(ask, scene.agent_socket).status == 503

        blind.books.bring_back()
        assert (
            agent.ask(options(blind, agent, scene.name("call")), scene.agent_socket).status == 200
        )
        trunk, phone = scene.line()
        trunk.at.send(scene.invite(trunk.at), scene.edge)
        assert phone.receive()["X-Whence-Trunk"] == trunk.id


def test_exception_in_a_handler_gets_500_and_the_next_passes(scene: Scene) -> None:
    spoilt, _ = scene.line(at="provider")
    trunk, phone = scene.line(at="another-provider")
    scene.world.books.spoil(spoilt.id)
    logged = scene.world.process.log.count("whence: ")
    for _ in range(3):
        answer = spoilt.at.ask(scene.invite(spoilt.at), scene.edge)
        assert answer.start_line == "SIP/2.0 500 Server Internal Error"
        invite = scene.invite(trunk.at)
        trunk.at.send(invite, scene.edge)
        phone.expect(lambda m, call=invite.call_id: m.call_id == call)  # type: ignore[misc]
    assert scene.world.process.log.count("whence: ") == logged + 3, "one line each"
    assert "whence: ksr_initial: ValueError: " in scene.world.process.log
