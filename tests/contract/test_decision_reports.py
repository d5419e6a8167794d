"""Each decision on an initial request is told to whoever listens beside the directory."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from testkit.sip import request
from tests.contract.scene import Scene
from whence.ipc import decisions
from whence.ipc.decisions import DecisionKind, DecisionReport


class Agent:
    """The agent's end: it hears what has come."""

    def __init__(self, scene: Scene) -> None:
        self._path = scene.world.books.directory.path.with_name(decisions.SOCKET_FILE)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._socket.bind(str(self._path))

    def hears(self) -> DecisionReport:
        return decisions.read(self._socket.recv(65535))

    def is_idle(self) -> bool:
        """Whether nothing has been told."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            return not self._socket.recv(65535)
        self._socket.settimeout(5)
        return True

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


@pytest.fixture
def agent(scene: Scene) -> Iterator[Agent]:
    agent = Agent(scene)
    yield agent
    agent.close()


def test_a_call_is_told_with_its_trunk_also_when_the_worker_knows_it(
    scene: Scene, agent: Agent
) -> None:
    trunk, phone = scene.line(numbers=("+44201234",))
    for known in (False, True):
        invite = scene.invite(trunk.at, "+44201234", to_uri="sip:+44201234@edge.example")
        trunk.at.send(invite, scene.edge)
        phone.expect(lambda m: m.method == "INVITE", what="the call")
        heard = agent.hears()
        assert (heard.call_id, heard.method) == (invite.call_id, "INVITE")
        assert (heard.kind, heard.trunk, heard.rule) == (
            DecisionKind.IDENTIFIED,
            trunk.id,
            "number",
        )
        assert heard.message == f"number of trunk {trunk.id}"
        ip, port = trunk.at.address
        assert str(heard.source) == f"udp:{ip}:{port}"
        assert (heard.ruri, heard.to) == (invite.request_uri, "sip:+44201234@edge.example")
        assert heard.from_cache is known


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "MADEUP"])
def test_an_unknown_sources_request_is_told(scene: Scene, agent: Agent, method: str) -> None:
    unknown_source = scene.endpoint()
    asked = request(method, scene.uri("+4420"), unknown_source.address)
    assert unknown_source.ask(asked, scene.edge).status == 403
    heard = agent.hears()
    assert (heard.kind, heard.method, heard.trunk) == (DecisionKind.UNKNOWN, method, None)
    assert (heard.call_id, heard.ruri) == (asked.call_id, scene.uri("+4420"))


def test_a_refusal_is_told_with_the_trunks_it_was_about(scene: Scene, agent: Agent) -> None:
    elsewhere = scene.trunk("nobody", at="elsewhere")
    trunk = scene.trunk("nobody")
    stolen = scene.invite(trunk.at, elsewhere.token)
    assert trunk.at.ask(stolen, scene.edge).status == 403
    heard = agent.hears()
    assert (heard.kind, heard.reason) == (DecisionKind.REFUSED, "token_from_wrong_source")
    assert heard.named == (elsewhere.id,)


@pytest.mark.parametrize("method", ["OPTIONS", "SUBSCRIBE"])
def test_what_a_trunk_asks_besides_calls_is_told(scene: Scene, agent: Agent, method: str) -> None:
    trunk = scene.trunk("nobody")
    trunk.at.ask(request(method, scene.uri(), trunk.at.address), scene.edge)
    heard = agent.hears()
    assert (heard.kind, heard.trunk, heard.method) == (DecisionKind.IDENTIFIED, trunk.id, method)


def test_a_call_to_a_phone_that_is_not_there_is_told(scene: Scene, agent: Agent) -> None:
    trunk = scene.trunk(scene.user())
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480
    assert agent.hears().trunk == trunk.id


SEPARATORS = "a\x1fb\x1fc"


def _call_id(scene: Scene) -> dict[str, object]:
    return {"call_id": scene.name(SEPARATORS)}


def _to(scene: Scene) -> dict[str, object]:
    return {"to_uri": f"sip:{SEPARATORS}@x"}


def _latin(scene: Scene) -> dict[str, object]:
    return {"headers": [("P-Called-Party-ID", "\udce9 <sip:\udcff@x>")]}


@pytest.mark.parametrize("hostile", [_call_id, _to, _latin])
def test_hostile_headers_change_nothing_of_the_decision(
    scene: Scene, agent: Agent, hostile: Callable[[Scene], dict[str, object]]
) -> None:
    unknown_source = scene.endpoint()
    parts = hostile(scene)
    answer = unknown_source.ask(scene.invite(unknown_source, **parts), scene.edge)  # type: ignore[arg-type]
    if answer.status == 400:  # Kamailio's own, before anything is decided
        assert agent.is_idle()
        return
    assert answer.status == 403
    heard = agent.hears()
    assert (heard.kind, heard.named) == (DecisionKind.UNKNOWN, ())
    if "call_id" in parts:
        assert heard.call_id == parts["call_id"]


def test_calls_go_on_when_nobody_listens_and_the_next_says_how_many_were_not_told(
    scene: Scene,
) -> None:
    unknown_source = scene.endpoint()

    def refused() -> None:
        assert unknown_source.ask(scene.invite(unknown_source), scene.edge).status == 403

    first = Agent(scene)
    refused()
    first.hears()
    first.close()
    for _ in range(3):
        refused()
    second = Agent(scene)
    refused()
    # The edge answers first and tells then: the last of the three may find the new one.
    heard = second.hears()
    told_of = 1 + heard.dropped
    while told_of < 4:
        told_of += 1 + second.hears().dropped
    assert heard.dropped >= 2
    refused()
    assert second.hears().dropped == 0
    second.close()
