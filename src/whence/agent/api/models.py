"""The bodies of the API's requests and answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from whence.agent.config.sip_headers import ALL_HEADERS_LIMIT
from whence.agent.monitoring.explain import Explanation
from whence.agent.registration.status import TrunkInfo
from whence.core.identification import conflicts, number_headers
from whence.core.identification.address import ManagedBy
from whence.core.identification.decision import Rule
from whence.core.identification.networks import checked_network
from whence.core.identification.request import Request
from whence.core.monitoring import alarms
from whence.core.monitoring.call_progress import CallState, Direction, Hangup, Outcome
from whence.core.monitoring.unknown_sources import LONGEST_S, Why
from whence.core.registration.history import EventKind
from whence.core.registration.keepalive import KeepAlive
from whence.core.registration.model import Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.core.sip.uri import Uri
from whence.ipc import decisions


class KeepAliveView(BaseModel):
    """The result of the keep-alive OPTIONS to the server that granted."""

    missed: int = Field(description="how many in a row got no answer")
    answered_at: float | None
    last_status: int | None = Field(description="the last answer")
    next_at: float = Field(description="when the next one is due")


class TrunkView(BaseModel):
    """One trunk and its registration. Instants are seconds since the epoch."""

    id: str
    state: State
    since: float = Field(
        description="when the trunk entered this state; a refresh does not leave it"
    )
    registrar: str | None = Field(description="the address that granted last: transport:ip:port")
    granted_s: int | None = Field(description="for how long it was granted last")
    expires_at: float | None = Field(description="when the grant ends")
    next_at: float | None = Field(description="when the next REGISTER is due")
    last_status: int | None = Field(description="the last answer; null: none arrived")
    last_answer: str | None = Field(description="the same in words: status and reason phrase")
    reason: RegistrationReason | None = Field(
        description="why it is in this state, as a code; null: no attempt has ended yet"
    )
    message: str = Field(description="why it is in this state, for people")
    failures: int = Field(description="failures of the same kind in a row")
    suspended: bool = Field(description="whether the operator unregistered it or paused it")
    keepalive: KeepAliveView | None = Field(description="null: no keep-alive, or not registered")
    aor: str
    target: str
    numbers: list[str]
    unmatched: Literal["accept", "refuse"] = Field(
        description="how the edge decides on a call that names no trunk"
    )
    fallback: bool = Field(description="whether it gets calls that could belong to several trunks")
    enabled: bool


class EventView(BaseModel):
    """An event in the history of a trunk."""

    at: float
    what: EventKind = Field(description="a state that the trunk entered, or another event")
    status: int | None = Field(
        description="the status of the answer that caused it; null: no answer did"
    )
    reason: RegistrationReason | None = Field(
        description="why the registration is in its state, as a code; null: no state was entered"
    )
    message: str = Field(description="the event for people")


class TrunkHistory(TrunkView):
    """One trunk with its history."""

    events: list[EventView] = Field(description="the last 50, the oldest first")


class AddressView(BaseModel):
    """An address from which a trunk's calls may come."""

    trunk: str
    ip: str = Field(description="an ip, or a network: 198.51.100.0/24")
    port: int | None = Field(description="the port of the address; null: any")
    exact: bool = Field(description="whether no other port is admitted")
    transport: str = Field(description="the weakest transport that it admits")
    origin: str = Field(description="learned, resolved or pinned")
    ground: str = Field(
        description="why it was learned from there: asked, dns, networks, rspauth or any"
    )
    note: str = Field(description="why it was pinned, in the operator's words")
    managed_by: ManagedBy | None = Field(
        description="what pinned it: file or allow; null where it is not pinned"
    )
    learned_at: float = Field(description="when it was stored")
    expires_at: float | None


class ConflictView(BaseModel):
    """Trunks at one address that no rule can distinguish."""

    kind: conflicts.ConflictKind
    trunks: list[str]
    addresses: list[str] = Field(description="the addresses that they share: an ip, or ip:port")
    shared: list[str] = Field(description="the numbers, or the AoR user, that they share")
    message: str = Field(description="what is wrong")
    remedy: str = Field(description="how to distinguish them")


def _is_source(text: str) -> str:
    TransportAddress.parse(text)
    return text


def _is_uri(text: str) -> str:
    if Uri.of_header(text) is None:
        raise ValueError(f'"{text}" is not a SIP URI; write "sip:+442071234567@edge.example"')
    return text


def _is_header(text: str) -> str:
    name, colon, _ = text.partition(":")
    if not name.strip() or not colon or not text.isprintable():
        raise ValueError(f'"{text}" is not a header; write "Diversion: <sip:+442071234567@h>"')
    return text


UriText = Annotated[str, AfterValidator(_is_uri)]


class ExplainRequest(BaseModel):
    """A made-up request, which the edge's rules decide on."""

    source: Annotated[str, AfterValidator(_is_source)] = Field(examples=["udp:203.0.113.7:5060"])
    ruri: UriText = Field(examples=["sip:+442071234567@edge.example"])
    to: UriText | None = None
    p_called_party_id: UriText | None = None
    headers: list[Annotated[str, AfterValidator(_is_header)]] = Field(
        default=[],
        max_length=ALL_HEADERS_LIMIT,
        description="further headers, as a trunk's number_headers names them",
        examples=[["Diversion: <sip:+442071234567@provider.example>"]],
    )

    def request(self) -> Request:
        """Return the request as the edge reads a real one."""
        uris = [
            Uri.of_header(text) if text is not None else None
            for text in (self.ruri, self.to, self.p_called_party_id)
        ]
        ruri = uris[0]
        if ruri is None:  # the validators exclude it
            raise ValueError(self.ruri)
        headers = [header.partition(":") for header in self.headers]
        text = number_headers.text_of((name.strip().lower(), value) for name, _, value in headers)
        return Request(
            TransportAddress.parse(self.source), ruri, uris[1], uris[2], number_headers.read(text)
        )


class ReloadedView(BaseModel):
    """The changes of a reload."""

    added: list[str] = Field(description="trunks that are registered now")
    removed: list[str] = Field(description="trunks that are unregistered")
    changed: list[str] = Field(description="trunks of which a key changed")
    users_changed: list[str] = Field(description="users that were added, removed or changed")
    routing_changed: bool = Field(
        description="whether [[route]] or [outbound] changed: they are in force now"
    )
    registration_changed: bool = Field(
        description="whether [registration] changed, response_timeout excepted: it is in force now"
    )
    needs_restart: bool = Field(
        description="whether edge, agent or registration response_timeout changed, or users may "
        "call numbers only now: that is in force at the next start; without whence run, write "
        "Kamailio's configuration again, too"
    )


class Health(BaseModel):
    """Whether calls can be identified and registrations kept."""

    kamailio: bool = Field(description="whether Kamailio answers")
    directory: bool = Field(description="whether the last write to the directory succeeded")
    disk: bool = Field(description="whether the disk of the directory has space left")


def trunk_view(
    trunk: TrunkInfo, registration: Registration, keepalive: KeepAlive | None
) -> TrunkView:
    """Return the public view of a trunk."""
    r = registration
    return TrunkView(
        id=trunk.id,
        state=r.state,
        since=r.since,
        registrar=str(r.registrar) if r.registrar else None,
        granted_s=r.granted_s,
        expires_at=r.expires_at,
        next_at=r.next_at,
        last_status=r.last_status,
        last_answer=f"{r.last_status} {r.last_phrase}".strip() if r.last_status else None,
        reason=r.reason,
        message=r.message,
        failures=r.failures,
        suspended=r.suspended,
        keepalive=KeepAliveView(**asdict(keepalive)) if keepalive else None,
        aor=trunk.aor,
        target=trunk.target,
        numbers=list(trunk.numbers),
        unmatched=trunk.unmatched,
        fallback=trunk.fallback,
        enabled=trunk.enabled,
    )


LIST_LIMIT = 1000


class TriedView(BaseModel):
    """A trunk that was tried for a call out."""

    trunk: str
    status: int | None = Field(description="its final answer; null: none")
    reason: str | None = Field(description="why the next trunk was tried, as a code")


class CallView(BaseModel):
    """One call, or another initial request: the decision of the edge, and how it ended."""

    at: float
    call_id: str
    direction: Direction
    method: str
    source: str
    caller: str | None = Field(description="the URI in From; the sender may write anything")
    called: str = Field(description="the URI that was called; of a call out the number or user")
    user: str | None = Field(description="the user that called; null for a call from a trunk")
    ruri: str
    target: str | None = Field(description="the URI to which a call from a trunk went")
    to: str | None
    p_called_party_id: str | None
    headers: list[str] = Field(description="those that a trunk has in number_headers")
    decision: decisions.DecisionKind
    trunk: str | None = Field(description="its trunk; of a call out the one tried last")
    rule: Rule | None = Field(description="the rule that decided; null where it was not identified")
    reason: str | None = Field(description="the rule, or why no trunk got it")
    message: str = Field(description="the reason in words")
    named: list[str] = Field(
        description="the trunks of the last step of a refusal; of a call out those to try"
    )
    emergency: bool = Field(description="whether it is an emergency call")
    from_cache: bool = Field(description="whether the decision is from the edge's cache")
    state: CallState | None = Field(description="null where the edge does not report ends")
    status: int | None = Field(description="the final status of the INVITE; null: none yet")
    outcome: Outcome | None = Field(description="null while the call is in progress")
    failure: str | None = Field(description="why the edge itself failed the call, as a code")
    answered_at: float | None
    answered_by: str | None = Field(description="transport:ip:port of the answer")
    ended_at: float | None
    duration_s: float | None = Field(description="from the answer to the end")
    hung_up_by: Hangup | None
    tried: list[TriedView] = Field(description="of a call out, in their order")


class CallExplained(CallView):
    """One decision, its steps, and the decision on the same request now."""

    then: Explanation | None = Field(
        description="its steps, and the nearest trunk; null where the directory no longer has "
        "what the decision was based on"
    )
    now: Explanation | None = Field(description="null where its URIs were too long to keep")


class UnknownSourceView(BaseModel):
    """A source that no address admits. Instants are seconds since the epoch."""

    source: str = Field(description="transport:ip:port of its last request")
    requests: int
    since: float
    last_at: float
    request_uris: list[str] = Field(description="those of its last requests, newest first")
    reasons: list[Why] = Field(description="why it is listed, newest first")
    message: str = Field(description="the reasons in words")


def _is_source_or_ip(text: str) -> str:
    checked_network(str(source_or_ip(text).ip))
    return text


SourceOrIp = Annotated[str, AfterValidator(_is_source_or_ip)]


class AllowRequest(BaseModel):
    """The source to allow, the trunk that gets its calls, and the time."""

    source: SourceOrIp = Field(examples=["udp:203.0.113.7:5060"])
    trunk: str = Field(examples=["acme"])
    for_s: int = Field(ge=1, le=LONGEST_S, examples=[3600])
    note: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")


class RevokeRequest(BaseModel):
    """The allowed source to revoke, and the trunk that gets its calls."""

    source: SourceOrIp = Field(examples=["udp:203.0.113.7:5060"])
    trunk: str = Field(examples=["acme"])


class RevokedView(BaseModel):
    """The ip that the operator revoked."""

    trunk: str
    ip: str


class AllowedView(BaseModel):
    """The address that the operator allowed for a time."""

    trunk: str
    ip: str
    transport: str
    expires_at: float


class AlarmView(BaseModel):
    """An alarm as it was raised. The webhook posts the same."""

    id: int = Field(description="it grows; use the last one as `since`. Its all-clear has another")
    at: float = Field(description="when it was raised or, where it is resolved, cleared")
    status: Literal["firing", "resolved"]
    lasting: bool = Field(
        description="whether it is of a condition that lasts, and has an all-clear; of an event not"
    )
    kind: alarms.AlarmKind
    trunk: str | None = Field(description="null: it concerns no single trunk")
    message: str
    left_out: int = Field(description="how many like it were suppressed before")
    raised_at: float
    cleared_at: float | None = Field(description="null: it is open, or of an event")
    cleared_message: str | None = Field(description="why it was cleared, for people")


def source_or_ip(text: str) -> TransportAddress:
    """Parse a source, or an ip alone. An ip alone means UDP, which admits any transport.

    Raises: ValueError.
    """
    try:
        return TransportAddress(Transport.UDP, canonical_ip(text.strip()), 5060)
    except ValueError:
        return TransportAddress.parse(text)
