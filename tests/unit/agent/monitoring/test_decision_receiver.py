"""The agent's end of the socket for decision reports."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from tests.unit.agent.monitoring.reports import UNKNOWN
from whence.agent.monitoring.decision_receiver import NAP_S, DecisionReceiver, nap_s
from whence.cli.service.reporters import RestartReporter
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_sender import DecisionSender
from whence.ipc import restarts
from whence.ipc.decisions import SOCKET_FILE, DecisionReport, report_body

BODY = report_body(UNKNOWN, TransportAddress.parse("udp:192.0.2.1:5060"), "sip:x", None, None)


def test_nap_needs_a_long_queue() -> None:
    assert nap_s(10) == 0, "the default of Linux: the edge drops the eleventh report"
    assert nap_s(512) == NAP_S


@pytest.mark.parametrize("room", [10, 512])
def test_receiver_passes_reports_on_in_order(tmp_path: Path, room: int) -> None:
    """The reports arrive in bursts: before, during and after the sleep of the receiver."""
    path = tmp_path / SOCKET_FILE
    received = []

    class Listener:
        def receive(self, report: DecisionReport, _data: bytes) -> None:
            received.append(report.call_id)

    receiver, sender = DecisionReceiver(path, [Listener()], room=room), DecisionSender(path)

    async def story() -> None:
        receiver.start()
        for burst in range(5):
            for number in range(8):
                sender.send(BODY, "INVITE", f"{burst}-{number}", 1_000_000.0, from_cache=False)
            while len(received) < (burst + 1) * 8:
                await asyncio.sleep(0)
            await asyncio.sleep(NAP_S * burst)  # before, during and after its sleep
        receiver.stop()

    asyncio.run(asyncio.wait_for(story(), PATIENCE_S))
    receiver.close()
    sender.close()
    assert received == [f"{burst}-{number}" for burst in range(5) for number in range(8)]
    assert receiver.dropped == receiver.invalid == 0


class Restarts:
    """A listener for restarts of Kamailio."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def kamailio_restarted(self, reason: str) -> None:
        self.reasons.append(reason)


def test_receiver_passes_on_and_counts_a_restart_of_kamailio(tmp_path: Path) -> None:
    path, listener = tmp_path / SOCKET_FILE, Restarts()
    with closing(DecisionReceiver(path, restart_listeners=[listener])) as receiver:
        RestartReporter(str(path))("kamailio ended (signal 9)\x1b[31m")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.sendto(restarts.PREFIX + b"\xff", str(path))
        receiver.read()
        assert listener.reasons == [r"kamailio ended (signal 9)\x1b[31m"]
        assert (receiver.kamailio_restarts, receiver.invalid) == (1, 1)
    RestartReporter(str(path))("no agent listens")
    RestartReporter(str(tmp_path / "missing"))("no agent was started")
