"""A decision is told at once or dropped, and what was dropped is told."""

import errno
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from whence.core.identification.decision import Unknown
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_sender import DecisionSender
from whence.ipc import decisions
from whence.ipc.decisions import DecisionReport, read

NOW = 1_000_000.0
SAID = decisions.report_body(
    Unknown(()),
    TransportAddress.parse("udp:192.0.2.1:5060"),
    "sip:x",
    None,
    None,
)


class Agent:
    """The agent's end: it hears what has come."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(str(path))

    def hears(self) -> list[DecisionReport]:
        heard = []
        while True:
            try:
                heard.append(read(self.socket.recv(65535)))
            except BlockingIOError:
                return heard

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / decisions.SOCKET_FILE


@pytest.fixture
def agent(path: Path) -> Iterator[Agent]:
    agent = Agent(path)
    yield agent
    agent.close()


@pytest.fixture
def tell(path: Path) -> Iterator[DecisionSender]:
    tell = DecisionSender(path)
    yield tell
    tell.close()


def say(tell: DecisionSender, call_id: str) -> None:
    tell.send(SAID, "INVITE", call_id, NOW, from_cache=False)


def test_a_decision_is_told(tell: DecisionSender, agent: Agent) -> None:
    say(tell, "a")
    say(tell, "b")
    assert [(t.call_id, t.dropped) for t in agent.hears()] == [("a", 0), ("b", 0)]


def test_nothing_is_opened_before_the_first_decision(tell: DecisionSender) -> None:
    assert tell._socket is None, "what is opened before the fork is shared"


def test_what_nobody_hears_is_counted_and_told_with_the_next(
    tell: DecisionSender, path: Path
) -> None:
    for _ in range(3):
        say(tell, "nobody is there")
    first = Agent(path)
    say(tell, "a")
    assert [(t.call_id, t.dropped) for t in first.hears()] == [("a", 3)]
    first.close()
    say(tell, "its socket is left, and nobody listens")
    path.unlink()
    second = Agent(path)
    say(tell, "b")
    say(tell, "c")
    assert [(t.call_id, t.dropped) for t in second.hears()] == [("b", 1), ("c", 0)]
    second.close()


def test_a_full_socket_is_not_waited_for(tell: DecisionSender, agent: Agent) -> None:
    sent = 2000  # more than any kernel queues
    for number in range(sent):
        say(tell, str(number))
    heard = agent.hears()
    assert 0 < len(heard) < sent
    say(tell, "last")
    (last,) = agent.hears()
    assert last.dropped == sent - len(heard)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMFILE, errno.ENOBUFS])
def test_whatever_the_system_refuses_a_call_goes_on(code: int, path: Path) -> None:
    class Refusing:
        def sendto(self, data: bytes, to: str) -> None:
            raise OSError(code, "refused")

    tell = DecisionSender(path)
    tell._socket = Refusing()  # type: ignore[assignment]
    say(tell, "a")
    assert tell._dropped == 1


def test_a_file_in_its_place_is_not_written(tell: DecisionSender, path: Path) -> None:
    path.write_text("mine")
    say(tell, "a")
    assert path.read_text() == "mine"
    assert not stat.S_ISSOCK(path.stat().st_mode)
