"""Decision reports: one record for each decision, and many records in one message to the agent.

The fields of a record are text with a separator between them. `report_body` writes the fields that
all requests of one cache key share. So a cached decision costs one short string. The Call-ID is
last: a separator in it does no harm. A sender chooses all fields but the decision, so this file
limits their lengths. `escape_untrusted` makes them safe for a terminal or a log.

In a message each record follows its length. So no text in a record can begin another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from whence.core.dialogs.arrival import Arrival
from whence.core.identification import decision as decision_
from whence.core.identification import number_headers
from whence.core.identification.decision import Decision, Identified, Reason, Refused, Rule
from whence.core.identification.request import NO_HEADERS, Request
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import InvalidReportError

SOCKET_FILE = "decisions.sock"
"""The agent's socket beside the directory."""

URI_LIMIT = 300
HEADERS_LIMIT = 1_000
CALL_ID_LIMIT = 256
METHOD_LIMIT = 32
TAG_LIMIT = 128
NAMED_LIMIT = 8
"""Trunks that a refusal names at most."""

MESSAGE_LIMIT = 16_000
"""Bytes of the records in one message, unless a single record is longer."""

PREFIX = b"5\x1f"
"""The start of a message of decisions, which has the version."""

_LENGTH_DIGITS = 5
_SEPARATOR = "\x1f"
_CUT = "…"
_FIELDS = 18
_COUNT_LIMIT = 1 << 52


class DecisionKind(StrEnum):
    """The kinds of a decision."""

    IDENTIFIED = "identified"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Sender(NamedTuple):
    """The From of a request: its URI and its tag. The sender may write anything into both."""

    uri: str = ""
    tag: str = ""


NO_SENDER = Sender()


@dataclass(frozen=True, slots=True)
class DecisionReport:
    """One decision on an initial request, as the edge reported it.

    `arrival` names the call of an INVITE. `target`: the URI to which an identified request goes.
    `reason`: the rule that identified it, or why no trunk gets it. `named`: the trunk that gets it;
    of a refusal, the trunks of its last step. `from_cache`: whether the worker had the decision in
    its cache.
    """

    arrival: Arrival
    method: str
    sender: Sender
    kind: DecisionKind
    named: tuple[str, ...]
    reason: Rule | Reason
    source: TransportAddress
    ruri: str
    to: str | None
    p_called_party_id: str | None
    headers: str
    """Further headers that some trunk has in its `number_headers`, one line each."""
    target: str
    from_cache: bool
    call_id: str

    @property
    def at(self) -> float:
        """Return when the request arrived, in seconds since the epoch."""
        return self.arrival.at

    @property
    def trunk(self) -> str | None:
        """Return the trunk that gets the request; None where no trunk does."""
        return self.named[0] if self.kind is DecisionKind.IDENTIFIED and self.named else None

    @property
    def rule(self) -> Rule | None:
        """Return the rule that decided; None where no trunk gets the request."""
        return self.reason if isinstance(self.reason, Rule) else None

    @property
    def message(self) -> str:
        """Return the reason in words."""
        return decision_.message(self.reason, self.trunk)

    @property
    def is_cut(self) -> bool:
        """Return whether one of its URIs or headers was cut."""
        uris = (self.ruri, self.to or "", self.p_called_party_id or "")
        return any(len(uri) > URI_LIMIT for uri in uris) or len(self.headers) > HEADERS_LIMIT


def report_body(
    decision: Decision,
    source: TransportAddress,
    ruri: str,
    to: str | None,
    p_called_party_id: str | None,
    headers: str = "",
    target: str = "",
) -> str:
    """Write the part of a report that all requests with one cache key share."""
    kind = DecisionKind.UNKNOWN
    if isinstance(decision, Identified):
        kind = DecisionKind.IDENTIFIED
    elif isinstance(decision, Refused):
        kind = DecisionKind.REFUSED
    named = () if kind is DecisionKind.UNKNOWN else decision.steps[-1].left[:NAMED_LIMIT]
    texts = (ruri, to, p_called_party_id, headers, target)
    return _body(kind, named, decision.reason, source, texts)


def identified_body(
    trunk_id: str,
    rule: str,
    source: TransportAddress,
    ruri: str,
    to: str | None,
    p_called_party_id: str | None,
    target: str = "",
) -> str:
    """Write the same for a call that a rule gave to a trunk."""
    texts = (ruri, to, p_called_party_id, "", target)
    return _body(DecisionKind.IDENTIFIED, (trunk_id,), rule, source, texts)


def _body(
    kind: DecisionKind,
    named: Sequence[str],
    reason: str,
    source: TransportAddress,
    texts: tuple[str, str | None, str | None, str, str],
) -> str:
    ruri, to, p_called_party_id, headers, target = texts
    fields = (
        kind,
        " ".join(named),
        reason,
        source.transport,
        source.ip_text,
        str(source.port),
        _bounded(ruri, URI_LIMIT),
        _bounded(to or "", URI_LIMIT),
        _bounded(p_called_party_id or "", URI_LIMIT),
        _bounded(headers, HEADERS_LIMIT),
        _bounded(target, URI_LIMIT),
    )
    body = _SEPARATOR.join(fields)
    if body.count(_SEPARATOR) >= len(fields):  # a field has a separator in it
        body = _SEPARATOR.join([_plain(field) for field in fields])
    return body


def refusal_body(
    reason: Reason,
    source: TransportAddress,
    ruri: str,
    to: str,
    *,
    is_known: bool,
    trunk_id: str = "",
) -> str:
    """Write the same for a request that was refused without a decision. `to`: a URI, or nothing.

    `is_known`: whether the source is a trunk's or a phone's. `trunk_id`: the trunk that it names.
    """
    fields = (
        DecisionKind.REFUSED if is_known else DecisionKind.UNKNOWN,
        trunk_id,
        reason,
        source.transport,
        source.ip_text,
        str(source.port),
        _plain(_bounded(ruri, URI_LIMIT)),
        _plain(_bounded(to, URI_LIMIT)),
        "",
        "",
        "",
    )
    return _SEPARATOR.join(fields)


def record(
    body: str,
    method: str,
    call_id: str,
    arrival: Arrival,
    sender: Sender = NO_SENDER,
    *,
    from_cache: bool,
) -> bytes:
    """Write one record. `body`: from `report_body`."""
    # This runs for each call. Format codes would take half as long again.
    if len(call_id) > CALL_ID_LIMIT:
        call_id = _bounded(call_id, CALL_ID_LIMIT)
    seen = "1" if from_cache else "0"
    uri, tag = sender
    if len(uri) > URI_LIMIT or len(tag) > TAG_LIMIT or _SEPARATOR in uri or _SEPARATOR in tag:
        uri, tag = _plain(_bounded(uri, URI_LIMIT)), _plain(_bounded(tag, TAG_LIMIT))
    at_us, process = arrival
    head = f"{at_us}\x1f{process}\x1f{seen}\x1f{method}\x1f{uri}\x1f{tag}"
    return f"{head}\x1f{body}\x1f{call_id}".encode("utf-8", "replace")


def message(records: Sequence[bytes], dropped: int = 0) -> bytes:
    """Write one message of records. `dropped`: the reports of the sender that were lost before."""
    framed = b"".join([b"%05d%b" % (len(one), one) for one in records])
    return b"5\x1f%d\x1f%b" % (dropped, framed)


def split(data: bytes) -> tuple[int, list[bytes]]:
    """Return how many reports were lost before a message, and its records, which may be invalid.

    Raises InvalidReportError if this version did not write the message, or if it is cut.
    """
    dropped, _, framed = data.removeprefix(PREFIX).partition(b"\x1f")
    if not data.startswith(PREFIX):
        raise InvalidReportError("another version wrote it")
    records, at = [], 0
    while at < len(framed):
        begin = at + _LENGTH_DIGITS
        length = framed[at:begin]
        at = begin + _count(length.decode("ascii", "replace"))
        if len(length) < _LENGTH_DIGITS or at > len(framed):
            raise InvalidReportError("a message is cut")
        records.append(framed[begin:at])
    return _count(dropped.decode("ascii", "replace")), records


def bounded_method(method: str) -> str:
    """Return a method for a record: cut, without a separator."""
    return _plain(_bounded(method, METHOD_LIMIT))


def bounded_call_id(call_id: str) -> str:
    """Return a Call-ID for a record: a very long one is cut."""
    return _bounded(call_id, CALL_ID_LIMIT)


def call_id_of(data: bytes) -> str:
    """Return the Call-ID of a valid record, without reading the rest."""
    return data.decode("utf-8", "replace").split(_SEPARATOR, _FIELDS - 1)[-1]


def read(data: bytes) -> DecisionReport:
    """Read one record. Raises InvalidReportError if this version did not write it."""
    try:
        fields = data.decode().split(_SEPARATOR, _FIELDS - 1)
        at_us, process, from_cache, method, from_uri, from_tag, *of_decision = fields
        kind, named, reason, transport, ip, port, *rest = of_decision
        ruri, to, p_called_party_id, headers, target, call_id = rest
        if from_cache not in ("0", "1"):
            raise InvalidReportError("another version wrote it")
        return DecisionReport(
            arrival=Arrival(_count(at_us), _count(process)),
            method=method,
            sender=Sender(from_uri, from_tag),
            kind=DecisionKind(kind),
            named=tuple(named.split()),
            reason=Rule(reason) if kind == DecisionKind.IDENTIFIED else Reason(reason),
            source=TransportAddress.parse(f"{transport}:{f'[{ip}]' if ':' in ip else ip}:{port}"),
            ruri=ruri,
            to=to or None,
            p_called_party_id=p_called_party_id or None,
            headers=headers,
            target=target,
            from_cache=from_cache == "1",
            call_id=call_id,
        )
    except ValueError as error:  # also UnicodeDecodeError, and unpacking a wrong number of fields
        raise InvalidReportError(str(error)[:200]) from None


def request(report: DecisionReport) -> Request | None:
    """Return the request of a decision as the edge read it; None where its URIs were cut."""
    return (
        None
        if report.is_cut
        else read_request(
            report.source, report.ruri, report.to, report.p_called_party_id, report.headers
        )
    )


def read_request(
    source: TransportAddress, ruri: str, to: str | None, p_called_party_id: str | None, headers: str
) -> Request | None:
    """Return a request for identification; None where its R-URI is not a URI."""
    uri = Uri.parse(ruri)
    if uri is None:
        return None
    return Request(
        source,
        uri,
        None if to is None else Uri.parse(to),
        None if p_called_party_id is None else Uri.of_header(p_called_party_id),
        number_headers.read(headers) if headers else NO_HEADERS,
    )


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _CUT


def _plain(text: str) -> str:
    return text.replace(_SEPARATOR, "\ufffd") if _SEPARATOR in text else text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 16:
        raise InvalidReportError("a field is not a count")
    number = int(text)
    if number > _COUNT_LIMIT:
        raise InvalidReportError("a count is too large")
    return number
