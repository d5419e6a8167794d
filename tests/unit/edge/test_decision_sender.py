"""The sender of decision reports: it sends at once or drops, and counts what it dropped."""

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
BODY = decisions.report_body(
    Unknown(()),
    TransportAddress.parse("udp:192.0.2.1:5060"),
    "sip:x",
    None,
    None,
)


class Agent:
    """The agent's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(str(path))

    def reports(self) -> list[DecisionReport]:
        received = []
        while True:
            try:
                received.append(read(self.socket.recv(65535)))
            except BlockingIOError:
                return received

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
def sender(path: Path) -> Iterator[DecisionSender]:
    sender = DecisionSender(path)
    yield sender
    sender.close()


def send(sender: DecisionSender, call_id: str) -> None:
    sender.send(BODY, "INVITE", call_id, NOW, from_cache=False)


def test_send_delivers_reports_in_order(sender: DecisionSender, agent: Agent) -> None:
    send(sender, "a")
    send(sender, "b")
    assert [(one.call_id, one.dropped) for one in agent.reports()] == [("a", 0), ("b", 0)]


def test_socket_before_the_first_report_is_closed(sender: DecisionSender) -> None:
    assert sender._socket is None, "a socket opened before the fork would be shared"


def test_send_without_a_listener_counts_the_dropped(sender: DecisionSender, path: Path) -> None:
    for _ in range(3):
        send(sender, "no socket")
    first = Agent(path)
    send(sender, "a")
    assert [(one.call_id, one.dropped) for one in first.reports()] == [("a", 3)]
    first.close()
    send(sender, "a socket without a listener")
    path.unlink()
    second = Agent(path)
    send(sender, "b")
    send(sender, "c")
    assert [(one.call_id, one.dropped) for one in second.reports()] == [("b", 1), ("c", 0)]
    second.close()


def test_send_to_a_full_socket_drops_without_waiting(sender: DecisionSender, agent: Agent) -> None:
    sent = 2000  # more than any kernel queues
    for number in range(sent):
        send(sender, str(number))
    received = agent.reports()
    assert 0 < len(received) < sent
    send(sender, "last")
    (last,) = agent.reports()
    assert last.dropped == sent - len(received)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMFILE, errno.ENOBUFS])
def test_send_refused_by_the_system_counts_as_dropped(code: int, path: Path) -> None:
    class Refusing:
        def sendto(self, data: bytes, to: str) -> None:
            raise OSError(code, "refused")

    sender = DecisionSender(path)
    sender._socket = Refusing()  # type: ignore[assignment]
    send(sender, "a")
    assert sender._dropped == 1


def test_send_to_a_regular_file_writes_nothing(sender: DecisionSender, path: Path) -> None:
    path.write_text("mine")
    send(sender, "a")
    assert path.read_text() == "mine"
    assert not stat.S_ISSOCK(path.stat().st_mode)
