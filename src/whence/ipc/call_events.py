"""Records of what becomes of a call: it is answered, it fails, it ends, a trunk was tried.

They travel in the same messages as decision reports. Each begins with the letter of its kind, and
names its call by the arrival of its INVITE. Of the fields of an event, only the From tag is from a
peer. It is last.

The decision on a call out is such a record, too. It names the user and the planned trunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from whence.core.dialogs.arrival import Arrival
from whence.core.monitoring.call_progress import CallEvent, Direction, EventKind, Hangup
from whence.core.sip.transport_address import TransportAddress
from whence.errors import InvalidReportError
from whence.ipc.decisions import bounded_call_id

TAG_LIMIT = 128
"""The longest From tag of a record."""

_SEPARATOR = "\x1f"
_LIMIT = 1 << 52
_TRUNK_LIMIT = 64
_REASON_LIMIT = 64
_TEXT_LIMIT = 300
_PLANNED_LIMIT = 8


KNOWN = "K"
"""The kind by which Kamailio reports the decision of a known answer, besides these."""

CALL_OUT = "O"
"""The first letter of the decision on a call out."""

KINDS = frozenset(str(kind).encode() for kind in EventKind)


class _Fields(NamedTuple):
    kind: str
    at_us: str
    arrived_us: str
    process: str
    status: str
    source: str
    by: str
    trunk: str
    reason: str
    from_tag: str


def record(event: CallEvent) -> bytes:
    """Write one record."""
    fields = _Fields(
        event.kind,
        str(Arrival.of(event.at).at_us),
        str(event.arrival.at_us),
        str(event.arrival.process),
        str(event.status),
        str(event.source or ""),
        event.by or "",
        event.trunk[:_TRUNK_LIMIT],
        event.reason[:_REASON_LIMIT],
        event.from_tag[:TAG_LIMIT],
    )
    return _SEPARATOR.join(fields).encode("utf-8", "replace")


def tried(arrival: Arrival, trunk_id: str, reason: str, status: int, at: float) -> bytes:
    """Write the record of a trunk that was tried for a call out.

    `reason`: why the next trunk is tried; empty where this one answered the caller. `status`: its
    final answer; 0: none.
    """
    event = CallEvent(EventKind.TRIED, arrival, at, status, trunk=trunk_id, reason=reason)
    return record(event)


def is_event(data: bytes) -> bool:
    """Return whether a record is an event, and no decision."""
    return data[:1] in KINDS


def read(data: bytes) -> CallEvent:
    """Read one record. Raises InvalidReportError if this version did not write it."""
    try:
        texts = data.decode().split(_SEPARATOR, len(_Fields._fields) - 1)
        found = _Fields(*texts)
        return CallEvent(
            EventKind(found.kind),
            Arrival(_count(found.arrived_us), _count(found.process)),
            Arrival(_count(found.at_us)).at,
            _count(found.status),
            TransportAddress.parse(found.source) if found.source else None,
            Hangup(found.by) if found.by else None,
            found.from_tag,
            found.trunk,
            found.reason,
        )
    except (ValueError, TypeError) as error:
        raise InvalidReportError(str(error)[:200]) from None


@dataclass(frozen=True, slots=True)
class CallOut:
    """The decision on a user's call. `called`: a canonical number, or `user@domain`.

    `planned`: the trunks to try, in their order; empty for a call to a user. `refusal`: the code of
    why the call was refused, with the `status` of that answer; empty: it was not.
    """

    arrival: Arrival
    user: str
    source: TransportAddress
    caller: str
    called: str
    ruri: str
    from_tag: str
    call_id: str
    planned: tuple[str, ...] = ()
    refusal: str = ""
    status: int = 0
    emergency: bool = False

    @property
    def at(self) -> float:
        """Return when the request arrived, in seconds since the epoch."""
        return self.arrival.at

    @property
    def direction(self) -> Direction:
        """Return the direction of the call."""
        is_local = not self.planned and not self.refusal
        return Direction.LOCAL if is_local else Direction.OUT


_OUT_FIELDS = 14


def call_out(call: CallOut) -> bytes:
    """Write the record of a decision on a user's call. Long texts are cut."""
    source = call.source
    fields = [
        CALL_OUT,
        str(call.arrival.at_us),
        str(call.arrival.process),
        str(call.status),
        "1" if call.emergency else "0",
        str(source),
        " ".join(call.planned[:_PLANNED_LIMIT]),
        call.refusal,
        call.user,
        call.called,
        call.caller,
        call.ruri,
        call.from_tag[:TAG_LIMIT],
    ]
    plain = [field[:_TEXT_LIMIT].replace(_SEPARATOR, "\ufffd") for field in fields]
    call_id = bounded_call_id(call.call_id)
    return _SEPARATOR.join([*plain, call_id]).encode("utf-8", "replace")


def is_call_out(data: bytes) -> bool:
    """Return whether a record is the decision on a user's call."""
    return data.startswith(CALL_OUT.encode())


def read_call_out(data: bytes) -> CallOut:
    """Read the record of a call out. Raises InvalidReportError if it is not one."""
    try:
        fields = data.decode().split(_SEPARATOR, _OUT_FIELDS - 1)
        kind, at_us, process, status, emergency, source, planned, refusal, *texts = fields
        user, called, caller, ruri, from_tag, call_id = texts
        if kind != CALL_OUT or emergency not in ("0", "1"):
            raise InvalidReportError("another version wrote it")
        return CallOut(
            Arrival(_count(at_us), _count(process)),
            user,
            TransportAddress.parse(source),
            caller,
            called,
            ruri,
            from_tag,
            call_id,
            tuple(planned.split()),
            refusal,
            _count(status),
            emergency == "1",
        )
    except ValueError as error:
        raise InvalidReportError(str(error)[:200]) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 16 or int(text) > _LIMIT:
        raise InvalidReportError("a field is not a count")
    return int(text)
