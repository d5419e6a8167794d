"""Reads what Kamailio's routes put into the queue of reports, and writes records for the agent.

The routes are in kamailio/cfg/calls.cfg.j2 and known_answers.cfg.j2. Kamailio writes a serial
number and the kind of the report before its text. A tab ends each part of a text that a peer may
choose. No such part has a tab in it, because `ksr_look` refuses such a message; the last part may.
"""

from __future__ import annotations

from whence.core.dialogs import cookie
from whence.core.dialogs.arrival import MICROSECONDS, Arrival
from whence.core.monitoring.call_progress import CallEvent, EventKind, Hangup
from whence.core.sip.transport_address import TransportAddress
from whence.edge.dialog_table import dialog_of
from whence.edge.known_answers import KnownCall
from whence.ipc import call_events, decisions
from whence.ipc.decisions import Sender

SEPARATOR = "\x1e"
"""It ends the serial number and the kind."""

NOTHING = "-"
NULL = "<null>"
"""What Kamailio writes for a value that is not set, and Kamailio 6 also for a missing tag."""


def record(report: str) -> bytes:
    """Write the record of a report. Raises ValueError."""
    head, _, text = report.partition(SEPARATOR)
    _, kind, *more = head.split(" ")
    if kind == call_events.KNOWN:
        return _known(more[0], text)
    event = EventKind(kind)
    words, _, tag = text.partition("\t")
    at, status, source, dialog, by = words.split(" ")
    return call_events.record(
        CallEvent(
            event,
            cookie.arrival_of(dialog_of(dialog)),
            _instant(at) / MICROSECONDS,
            int(status),
            None if source == NOTHING else TransportAddress.parse(source),
            None if by in (NOTHING, NULL) else Hangup(by),
            tag,
        )
    )


def _known(arrived: str, text: str) -> bytes:
    entry, from_tag, from_uri, call_id = text.split("\t", 3)
    call = KnownCall.parse(entry)
    body = decisions.identified_body(
        call.trunk,
        call.rule,
        TransportAddress.parse(call.source),
        call.ruri,
        call.to,
        call.p_called_party_id,
        call.target,
    )
    at, _, process = arrived.rpartition("d")
    arrival = Arrival(_instant(at), int(process))
    sender = Sender(from_uri, "" if from_tag == NULL else from_tag)
    return decisions.record(body, "INVITE", call_id, arrival, sender, from_cache=True)


def _instant(text: str) -> int:
    """Return an instant in microseconds. `text`: the second, `d`, and the microsecond."""
    second, _, microsecond = text.partition("d")
    return int(second) * MICROSECONDS + int(microsecond)
