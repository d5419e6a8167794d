"""Calls that begin, are answered and end, as the edge reports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.agent.monitoring.reports import NOW, identified
from whence.agent.monitoring.call_log import CallsFile
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.open_calls import FILE, OpenCalls
from whence.core.dialogs.arrival import Arrival
from whence.core.identification.decision import Decision
from whence.core.monitoring.call_progress import CallEvent, EventKind
from whence.core.sip.transport_address import TransportAddress
from whence.ipc import call_events, decisions
from whence.ipc.call_events import CallOut
from whence.ipc.decisions import Sender

SOURCE = TransportAddress.parse("udp:192.0.2.1:5060")
PHONE = TransportAddress.parse("udp:192.0.2.7:5060")


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def agent(folder: Path, clock: Clock) -> Calls:
    """Return the calls of an agent that has just started."""
    calls = Calls(100, CallsFile(folder / "calls.json"), OpenCalls(folder / FILE, clock))
    calls.restore()
    return calls


def begin(
    calls: Calls,
    number: int = 0,
    decision: Decision | None = None,
    target: str = "sip:alice@edge.example",
    **parts: Any,
) -> Arrival:
    arrival = Arrival.of(NOW + number, 7)
    body = decisions.report_body(
        decision or identified(), SOURCE, "sip:+442071234567@edge.example", None, None, "", target
    )
    sender = parts.get("sender", Sender("sip:+33123456789@provider.example", "tag"))
    data = decisions.record(body, "INVITE", f"call-{number}", arrival, sender, from_cache=False)
    calls.receive(decisions.read(data), data)
    calls.turn_ended()
    return arrival


def happen(calls: Calls, kind: EventKind, arrival: Arrival, at: float, **parts: Any) -> None:
    event = CallEvent(kind, arrival, at, **parts)
    calls.receive_event(call_events.read(call_events.record(event)))
    calls.turn_ended()


def answer(calls: Calls, arrival: Arrival, at: float = NOW + 5) -> None:
    happen(calls, EventKind.ANSWERED, arrival, at, status=200, source=PHONE)


def hang_up(calls: Calls, arrival: Arrival, at: float = NOW + 65, tag: str = "tag") -> None:
    happen(calls, EventKind.ENDED, arrival, at, from_tag=tag)


def call_out(calls: Calls, **parts: Any) -> Arrival:
    arrival = Arrival.of(NOW, 9)
    values: dict[str, Any] = {
        "user": "alice",
        "source": PHONE,
        "caller": "sip:alice@edge.example",
        "called": "+442079460000",
        "ruri": "sip:02079460000@edge.example",
        "from_tag": "tag",
        "call_id": "out-1",
        "planned": ("acme", "bolt"),
    }
    data = call_events.call_out(CallOut(arrival, **{**values, **parts}))
    calls.receive_call_out(call_events.read_call_out(data), data)
    calls.turn_ended()
    return arrival
