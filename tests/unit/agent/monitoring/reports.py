"""Decisions, and their reports as the edge sends them."""

import socket
from pathlib import Path

from whence.core.dialogs.arrival import Arrival
from whence.core.identification.decision import (
    Compared,
    Decision,
    Identified,
    Reason,
    Refused,
    Rule,
    Step,
    Unknown,
)
from whence.core.identification.request import REQUEST_URI
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import TransportAddress
from whence.ipc import decisions

NOW = 1_000_000.0


def identified(trunk: str = "acme") -> Identified:
    step = Step(Rule.NUMBER, Compared.NUMBER, (trunk,), ("442071234567",), REQUEST_URI)
    return Identified(Trunk(trunk, "t", "acct1", "sip:a@b", ()), Rule.NUMBER, (step,))


def refused(*trunks: str, reason: Reason = Reason.AMBIGUOUS) -> Refused:
    step = Step(Rule.ONLY_CANDIDATE, Compared.CANDIDATES_LEFT, trunks)
    return Refused(reason, trunks, (step,))


UNKNOWN = Unknown(())


def record(
    decision: Decision = UNKNOWN,
    call_id: str = "call-1",
    source: str = "udp:192.0.2.1:5060",
    ruri: str = "sip:+442071234567@edge.example",
    to: str | None = None,
    called: str | None = None,
    method: str = "INVITE",
    at: float = NOW,
) -> bytes:
    body = decisions.report_body(decision, TransportAddress.parse(source), ruri, to, called)
    return decisions.record(body, method, call_id, Arrival.of(at), from_cache=False)


def send_messages(path: Path, *messages: bytes) -> None:
    """Send messages to the agent's socket, over a connection of their own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as edge:
        edge.connect(str(path))
        for data in messages:
            edge.send(data)
