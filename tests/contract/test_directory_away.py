"""The directory is missing, spoilt or wrong: the edge says so to the caller, and recovers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.sip import request
from tests.contract.agent_requests import options
from tests.contract.books import Hide
from tests.contract.scene import Scene
from tests.contract.world import World


def missing(directory: Path) -> None:
    """Take the directory's file away."""
    directory.unlink()


def garbage(directory: Path) -> None:
    """Put something else in its place."""
    directory.unlink()
    directory.write_bytes(b"this is no database" * 1000)


def empty(directory: Path) -> None:
    """Put an empty file in its place."""
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


def test_without_the_directory_the_edge_says_503_and_serves_when_it_is_back(blind: World) -> None:
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


def test_a_bug_is_answered_500_and_the_next_request_is_fine(scene: Scene) -> None:
    spoilt, _ = scene.line(at="provider")
    trunk, phone = scene.line(at="another-provider")
    scene.world.books.spoil(spoilt.id)
    said = scene.world.process.log.count("whence: ")
    for _ in range(3):
        answer = spoilt.at.ask(scene.invite(spoilt.at), scene.edge)
        assert answer.start_line == "SIP/2.0 500 Server Internal Error"
        invite = scene.invite(trunk.at)
        trunk.at.send(invite, scene.edge)
        phone.expect(lambda m, call=invite.call_id: m.call_id == call)  # type: ignore[misc]
    assert scene.world.process.log.count("whence: ") == said + 3, "one line each"
    assert "whence: ksr_initial: ValueError: " in scene.world.process.log
