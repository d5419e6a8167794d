"""The sender of decision reports: it sends at once or drops, and counts what it dropped."""

import errno
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from whence.core.dialogs.arrival import Arrival
from whence.core.identification.decision import Unknown
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_sender import DecisionSender
from whence.ipc import decisions
from whence.ipc.decisions import DecisionReport
from whence.ipc.report_connection import RECEIPTS_EVERY

NOW = 1_000_000.0
BODY = decisions.report_body(
    Unknown(()),
    TransportAddress.parse("udp:192.0.2.1:5060"),
    "sip:x",
    None,
    None,
)


class Agent:
    """The agent's end of the socket. It confirms what it reads."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.setblocking(False)
        self._listening.bind(str(path))
        self._listening.listen()
        self._connections: list[socket.socket] = []
        self._confirmed = 0
        self.dropped = 0
        """The number of dropped reports in all messages."""
        self.messages = 0

    def reports(self) -> list[DecisionReport]:
        """Read all that waits."""
        while True:
            try:
                self._connections.append(self._listening.accept()[0])
            except BlockingIOError:
                break
        return [report for one in self._connections for report in self._read(one)]

    def _read(self, connection: socket.socket) -> Iterator[DecisionReport]:
        connection.setblocking(False)
        while True:
            try:
                data = connection.recv(65535)
            except BlockingIOError:
                connection.send(b"%d" % self._confirmed)
                return
            except ConnectionResetError:  # the sender has ended with a receipt unread
                continue
            if not data:
                return
            dropped, records = decisions.split(data)
            self.messages += 1
            self.dropped += dropped
            self._confirmed += dropped + len(records)
            yield from map(decisions.read, records)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        """End as a killed process does: what is unread is lost."""
        self._listening.close()
        for one in self._connections:
            one.close()


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
    sender.send(BODY, "INVITE", call_id, Arrival.of(NOW), from_cache=False)


def record(call_id: str) -> bytes:
    return decisions.record(BODY, "INVITE", call_id, Arrival.of(NOW), from_cache=True)


def ids(agent: Agent) -> list[str]:
    return [one.call_id for one in agent.reports()]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_send_delivers_reports_in_order(sender: DecisionSender, agent: Agent) -> None:
    send(sender, "a")
    send(sender, "b")
    assert ids(agent) == ["a", "b"]
    assert agent.dropped == 0


def test_socket_before_the_first_report_is_closed(path: Path, agent: Agent) -> None:
    before = open_files()
    sender = DecisionSender(path)
    assert open_files() == before, "a socket opened before the fork would be shared"
    send(sender, "a")
    assert open_files() == before + 1
    sender.close()
    assert ids(agent) == ["a"], "the agent reads what a process sent before it ended"


def test_send_without_a_listener_counts_the_dropped(sender: DecisionSender, path: Path) -> None:
    before = open_files()
    for _ in range(3):
        send(sender, "no socket")
    assert open_files() == before
    first = Agent(path)
    send(sender, "a")
    assert (ids(first), first.dropped) == (["a"], 3)
    first.close()
    send(sender, "a socket without a listener")
    second = Agent(path)
    send(sender, "b")
    send(sender, "c")
    assert (ids(second), second.dropped) == (["b", "c"], 1)
    second.close()


def test_reports_that_a_killed_agent_left_are_counted(sender: DecisionSender, path: Path) -> None:
    first = Agent(path)
    for number in range(100):
        send(sender, str(number))
    assert len(first.reports()) == 100
    for _ in range(7):
        send(sender, "left")
    first.close()
    second = Agent(path)
    for call_id in "abc":
        send(sender, call_id)
    assert (ids(second), second.dropped) == (["a", "b", "c"], 7)
    second.close()


def test_reports_before_the_agent_accepts_are_counted(sender: DecisionSender, path: Path) -> None:
    first = Agent(path)
    send(sender, "left")
    first.close()
    second = Agent(path)
    send(sender, "a")
    send(sender, "b")
    assert (ids(second), second.dropped) == (["a", "b"], 1)
    second.close()


def test_count_that_a_killed_agent_left_is_counted(sender: DecisionSender, path: Path) -> None:
    send(sender, "no socket")
    first = Agent(path)
    send(sender, "left, with the count of the one before")
    first.close()
    second = Agent(path)
    send(sender, "a")
    send(sender, "b")
    second.reports()
    assert second.dropped == 2
    second.close()


def test_many_receipts_leave_room_for_the_next(sender: DecisionSender, path: Path) -> None:
    first = Agent(path)
    for number in range(50 * RECEIPTS_EVERY):
        send(sender, str(number))
        assert len(first.reports()) == 1
    first.close()
    second = Agent(path)
    send(sender, "a")
    assert (ids(second), second.dropped) == (["a"], 0)
    second.close()


def test_send_to_a_full_socket_drops_without_waiting(sender: DecisionSender, agent: Agent) -> None:
    sent = 10_000  # more than the socket has room for
    for number in range(sent):
        send(sender, str(number))
    received = ids(agent)
    assert 200 < len(received) < sent
    send(sender, "last")
    assert ids(agent) == ["last"]
    assert agent.dropped == sent - len(received)
    assert agent.connections == 1


def test_send_all_writes_few_messages(sender: DecisionSender, agent: Agent) -> None:
    calls = [str(number) for number in range(1000)]
    sender.send_all(map(record, calls), dropped=5)
    assert ids(agent) == calls
    assert agent.dropped == 5
    size = len(record("100"))
    assert agent.messages <= 1000 * size / decisions.MESSAGE_LIMIT + 1


def test_send_all_without_a_record_keeps_the_count(sender: DecisionSender, agent: Agent) -> None:
    sender.send_all([], dropped=5)
    assert ids(agent) == []
    send(sender, "a")
    assert (ids(agent), agent.dropped) == (["a"], 5)


def test_send_all_without_a_listener_counts_each(sender: DecisionSender, path: Path) -> None:
    sender.send_all([record("a")] * 500, dropped=5)
    agent = Agent(path)
    send(sender, "b")
    assert (ids(agent), agent.dropped) == (["b"], 505)
    agent.close()


def test_send_all_of_the_longest_records_is_delivered(sender: DecisionSender, agent: Agent) -> None:
    long = "😀" * 10_000
    body = decisions.report_body(
        Unknown(()), TransportAddress.parse("udp:192.0.2.1:5060"), long, long, long, long
    )
    longest = decisions.record(body, "INVITE", long, Arrival.of(NOW), from_cache=False)
    sender.send_all([longest] * 10)
    assert len(agent.reports()) == 10


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMSGSIZE, errno.ENOBUFS])
def test_send_refused_by_the_system_counts_as_dropped(
    code: int, path: Path, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "refused")

    sender = DecisionSender(path)
    with monkeypatch.context() as patch:
        patch.setattr("whence.ipc.report_connection.socket.socket.send", refuse)
        send(sender, "a")
    send(sender, "b")
    assert (ids(agent), agent.dropped) == (["b"], 1)
    sender.close()


def test_send_without_files_counts_as_dropped(
    sender: DecisionSender, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("whence.ipc.report_connection.socket.socket", refuse)
        send(sender, "a")
    send(sender, "b")
    assert (ids(agent), agent.dropped) == (["b"], 1)


def test_send_with_a_full_backlog_drops_without_waiting(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(path))
        listening.listen(0)
        senders = [DecisionSender(path) for _ in range(4)]
        for one in senders:
            send(one, "a")  # a sender that waits would hang here
        for one in senders:
            one.close()


def test_send_to_a_regular_file_writes_nothing(sender: DecisionSender, path: Path) -> None:
    path.write_text("mine")
    send(sender, "a")
    assert path.read_text() == "mine"
    assert not stat.S_ISSOCK(path.stat().st_mode)


def test_send_to_a_socket_of_another_kind_drops(sender: DecisionSender, path: Path) -> None:
    """A former version's agent made a datagram socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as former:
        former.bind(str(path))
        send(sender, "a")
    agent = Agent(path)
    send(sender, "b")
    assert (ids(agent), agent.dropped) == (["b"], 1)
    agent.close()
