"""The agent's end of the socket for decision reports."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from testkit.wait import PATIENCE_S
from tests.unit.agent.monitoring.reports import record, send_messages
from whence.agent.monitoring.decision_receiver import MANY_MESSAGES, NAP_S, DecisionReceiver
from whence.agent.monitoring.report_socket import BYTES_AT_ONCE
from whence.cli.service.reporters import RestartReporter
from whence.core.dialogs.arrival import Arrival
from whence.core.identification.decision import Unknown
from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_sender import DecisionSender
from whence.edge.notice_sender import NoticeSender
from whence.ipc import decisions, restarts
from whence.ipc.decisions import SOCKET_FILE, DecisionReport
from whence.ipc.notices import Notice

SOURCE = TransportAddress.parse("udp:192.0.2.1:5060")
BODY = decisions.report_body(Unknown(()), SOURCE, "sip:x", None, None)
NOW = 1_000_000.0
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class Listener:
    """Keeps the Call-IDs of decisions, in order."""

    def __init__(self) -> None:
        self.received: list[str] = []

    def receive(self, report: DecisionReport, written: bytes) -> None:
        assert decisions.read(written) == report
        self.received.append(report.call_id)


@pytest.fixture
def path() -> Iterator[Path]:
    """A path that other users may reach; pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / SOCKET_FILE


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def receiver(path: Path, listener: Listener) -> Iterator[DecisionReceiver]:
    with closing(DecisionReceiver(path, [listener])) as receiver:
        yield receiver


@pytest.fixture
def sender(path: Path) -> Iterator[DecisionSender]:
    with closing(DecisionSender(path)) as sender:
        yield sender


def send(sender: DecisionSender, call_id: str, at: float = NOW) -> None:
    sender.send(BODY, "INVITE", call_id, Arrival.of(at), from_cache=False)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, PATIENCE_S))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_receiver_passes_reports_on_in_order(
    receiver: DecisionReceiver, sender: DecisionSender, listener: Listener
) -> None:
    """The reports arrive in bursts: before, during and after the sleep of the receiver."""

    async def story() -> None:
        receiver.start()
        for burst in range(5):
            for number in range(8):
                send(sender, f"{burst}-{number}")
            await until(lambda: listener.received[-1:] == [f"{burst}-7"])  # noqa: B023
            await asyncio.sleep(NAP_S * burst / 2)  # before, during and after its sleep
        receiver.stop()

    run(story())
    assert listener.received == [f"{burst}-{number}" for burst in range(5) for number in range(8)]
    assert receiver.dropped == receiver.invalid == receiver.refused == 0


def test_receiver_sorts_the_reports_of_several_workers(
    receiver: DecisionReceiver, listener: Listener, path: Path
) -> None:
    senders = [DecisionSender(path) for _ in range(3)]
    for number in range(30):
        send(senders[number % 3], str(number), NOW + number)
    receiver.drain()
    assert listener.received == [str(number) for number in range(30)]
    for one in senders:
        one.close()


def test_receiver_sleeps_between_two_reads(
    receiver: DecisionReceiver, sender: DecisionSender, listener: Listener
) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        receiver.start()
        for call_id in "abc":
            sent_at = loop.time()
            send(sender, call_id)
            await until(lambda: listener.received[-1:] == [call_id])  # noqa: B023 - awaited here
            slept = loop.time() - sent_at
            assert call_id == "a" or slept > NAP_S / 2, "each report woke the agent"
        receiver.stop()

    run(story())


def test_drain_reads_all_that_waits(
    receiver: DecisionReceiver, sender: DecisionSender, listener: Listener
) -> None:
    calls = [str(number) for number in range(4 * BYTES_AT_ONCE // 100)]
    for call_id in calls[:MANY_MESSAGES]:
        send(sender, call_id)
    written = [
        decisions.record(BODY, "INVITE", id_, Arrival.of(NOW), from_cache=False)
        for id_ in calls[MANY_MESSAGES:]
    ]
    sender.send_all(written)
    receiver.drain()
    assert listener.received == calls


def test_drain_while_it_sleeps_reads_all(
    receiver: DecisionReceiver, sender: DecisionSender, listener: Listener
) -> None:
    async def story() -> None:
        receiver.start()
        send(sender, "a")
        await until(lambda: listener.received == ["a"])
        send(sender, "b")
        receiver.drain()
        assert listener.received == ["a", "b"]
        send(sender, "c")
        await until(lambda: len(listener.received) == 3)
        receiver.stop()

    run(story())


def test_stop_reads_what_waits_and_takes_no_more(
    receiver: DecisionReceiver, sender: DecisionSender, listener: Listener, path: Path
) -> None:
    """A report after the stop is counted by the worker, and reaches the next agent as a number."""

    async def story() -> None:
        receiver.start()
        send(sender, "a")
        receiver.stop()

    run(story())
    send(sender, "after the stop")
    receiver.close()
    send(sender, "after the end")
    assert listener.received == ["a"]
    with closing(DecisionReceiver(path, [listener])) as second:
        send(sender, "b")
        second.drain()
        assert (listener.received, second.dropped) == (["a", "b"], 2)


def test_receiver_goes_on_after_a_failed_listener(
    path: Path, sender: DecisionSender, listener: Listener
) -> None:
    class Failing:
        def receive(self, report: DecisionReport, _written: bytes) -> None:
            if report.call_id == "bad":
                raise RuntimeError("a bug")

    async def story(receiver: DecisionReceiver) -> None:
        failures: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        receiver.start()
        send(sender, "bad")
        await until(lambda: bool(failures))
        send(sender, "good")
        await until(lambda: listener.received == ["good"])
        receiver.stop()

    with closing(DecisionReceiver(path, [Failing(), listener])) as receiver:
        run(story(receiver))


def test_receiver_survives_workers_that_end(
    receiver: DecisionReceiver, listener: Listener, path: Path
) -> None:
    """A worker ends with receipts unread, so the kernel reports a reset once."""
    for number in range(20):
        with closing(DecisionSender(path)) as sender:
            send(sender, f"{number}-a")
            receiver.drain()
            send(sender, f"{number}-b")
    receiver.drain()
    assert listener.received == [f"{number}-{one}" for number in range(20) for one in "ab"]
    before = len(list(Path("/proc/self/fd").iterdir()))
    with closing(DecisionSender(path)) as sender:
        send(sender, "last")
        receiver.drain()
    receiver.drain()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_empty_message_ends_only_its_connection(
    receiver: DecisionReceiver, sender: DecisionSender, listener: Listener, path: Path
) -> None:
    send(sender, "a")
    send_messages(path, b"")
    receiver.drain()
    send(sender, "b")
    receiver.drain()
    assert listener.received == ["a", "b"]


def test_killed_agents_unread_reports_reach_the_next(
    sender: DecisionSender, listener: Listener, path: Path
) -> None:
    """A whole agent is killed. The next one gets the number of what it had not read."""
    ready, told = os.pipe()
    agent = os.fork()
    if agent == 0:
        with closing(DecisionReceiver(path, [listener])) as receiver:
            os.write(told, b"1")
            while not listener.received:
                receiver.drain()
            os.write(told, b"2")
            signal.pause()
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"1"
        send(sender, "read")
        assert os.read(ready, 1) == b"2"
        for _ in range(9):
            send(sender, "left")
    finally:
        os.kill(agent, signal.SIGKILL)
        os.waitpid(agent, 0)
    send(sender, "no agent")
    with closing(DecisionReceiver(path, [listener])) as receiver:
        send(sender, "a")
        receiver.drain()
        assert (listener.received, receiver.dropped) == (["a"], 10)
    os.close(ready)
    os.close(told)


# Who may send.


def as_nobody(path: Path, message: bytes) -> bool:
    """Send a message as another user, from a process of its own. Return whether it could."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            send_messages(path, message)
        except OSError:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


@needs_root
def test_another_user_cannot_connect(receiver: DecisionReceiver, path: Path) -> None:
    assert not as_nobody(path, decisions.message([record()]))
    assert receiver.refused == 0


@needs_root
def test_another_user_is_refused_also_where_the_mode_admits(
    receiver: DecisionReceiver,
    listener: Listener,
    path: Path,
    sender: DecisionSender,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.chmod(0o666)
    for _ in range(2):
        as_nobody(path, decisions.message([record(call_id="forged")], 7))
    send(sender, "ours")
    receiver.drain()
    assert (listener.received, receiver.dropped, receiver.refused) == (["ours"], 0, 2)
    assert [one.getMessage().partition(" are refused")[1] for one in caplog.records] == [
        " are refused"
    ]


def test_socket_accepts_no_one_before_its_mode_is_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between bind and chmod the mode is that of the umask."""
    attempts = []

    original = Path.chmod

    def chmod(own: Path, mode: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as early:
            attempts.append(early.connect_ex(str(own)))
        original(own, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    DecisionReceiver(path).close()
    assert len(attempts) == 1
    assert attempts[0] != 0


# Other messages.


class Others:
    """A listener for restarts of Kamailio, and for notices."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.notices: list[Notice] = []

    def kamailio_restarted(self, reason: str) -> None:
        self.reasons.append(reason)

    def receive(self, notice: Notice) -> None:
        self.notices.append(notice)


def test_receiver_passes_on_and_counts_a_restart_of_kamailio(path: Path, tmp_path: Path) -> None:
    listener = Others()
    with closing(DecisionReceiver(path, restart_listeners=[listener])) as receiver:
        RestartReporter(str(path))("kamailio ended (signal 9)\x1b[31m")
        send_messages(path, restarts.PREFIX + b"\xff")
        receiver.drain()
        assert listener.reasons == [r"kamailio ended (signal 9)\x1b[31m"]
        assert (receiver.kamailio_restarts, receiver.invalid) == (1, 1)
    RestartReporter(str(path))("no agent listens")
    RestartReporter(str(tmp_path / "missing"))("no agent was started")


def test_receiver_passes_on_notices_with_their_count(path: Path) -> None:
    listener = Others()
    with closing(NoticeSender(path)) as sender:
        sender.send(NoticeReason.FLOOD, SOURCE, NOW)
        with closing(DecisionReceiver(path, notice_listeners=[listener])) as receiver:
            sender.send(NoticeReason.FLOOD, SOURCE, NOW)
            sender.send(NoticeReason.FLOOD, SOURCE, NOW)
            receiver.drain()
    assert [one.left_out for one in listener.notices] == [1, 0]
