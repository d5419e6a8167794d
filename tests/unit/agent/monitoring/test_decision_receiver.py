"""The agent's end of the socket on which the edge tells what it decided."""

import asyncio
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from tests.unit.agent.monitoring.reports import UNKNOWN
from whence.agent.monitoring.decision_receiver import NAP_S, DecisionReceiver, nap_s
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_sender import DecisionSender
from whence.ipc.decisions import SOCKET_FILE, DecisionReport, report_body

SAID = report_body(UNKNOWN, TransportAddress.parse("udp:192.0.2.1:5060"), "sip:x", None, None)


def test_only_who_has_room_to_queue_is_left_alone_for_a_while() -> None:
    assert nap_s(10) == 0, "Linux by itself: ten, and then they are dropped"
    assert nap_s(512) == NAP_S


@pytest.mark.parametrize("room", [10, 512])
def test_all_that_is_told_is_heard_in_its_order(tmp_path: Path, room: int) -> None:
    """In bursts, with the agent's sleep between them, and after it has listened again."""
    path = tmp_path / SOCKET_FILE
    heard = []

    class Listener:
        def receive(self, report: DecisionReport, _data: bytes) -> None:
            heard.append(report.call_id)

    hearing, tell = DecisionReceiver(path, [Listener()], room=room), DecisionSender(path)

    async def story() -> None:
        hearing.start()
        for burst in range(5):
            for number in range(8):
                tell.send(SAID, "INVITE", f"{burst}-{number}", 1_000_000.0, from_cache=False)
            while len(heard) < (burst + 1) * 8:
                await asyncio.sleep(0)
            await asyncio.sleep(NAP_S * burst)  # awake, asleep, and listening again
        hearing.stop()

    asyncio.run(asyncio.wait_for(story(), PATIENCE_S))
    hearing.close()
    tell.close()
    assert heard == [f"{burst}-{number}" for burst in range(5) for number in range(8)]
    assert hearing.dropped == hearing.invalid == 0
