"""The bodies of the API for calls, unknown sources and alarms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from whence.agent.api.instants import Instant
from whence.agent.api.lists import ListQuery, Page
from whence.agent.monitoring.explain import Explanation
from whence.core.identification.decision import Reason, Rule
from whence.core.identification.networks import checked_network
from whence.core.monitoring import alarms
from whence.core.monitoring.unknown_sources import LONGEST_S, Why
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.ipc import decisions


class CallView(BaseModel):
    """One decision on an initial request, as the edge made it."""

    at: Instant
    call_id: str
    method: str
    source: str
    ruri: str
    to: str | None
    p_called_party_id: str | None
    headers: list[str] = Field(description="those that a trunk has in number_headers")
    decision: decisions.DecisionKind
    trunk: str | None = Field(description="the trunk that got it")
    rule: Rule | None = Field(description="the rule that decided; null where it was not identified")
    reason: Rule | Reason = Field(description="the rule, or why no trunk got it")
    message: str = Field(description="the reason in words")
    named: list[str] = Field(description="the trunks of the last step of a refusal")
    from_cache: bool = Field(description="whether the decision is from the edge's cache")


class CallExplained(CallView):
    """One decision, its steps, and the decision on the same request now."""

    then: Explanation | None = Field(
        description="its steps, and the nearest trunk; null where the directory no longer has "
        "what the decision was based on"
    )
    now: Explanation | None = Field(description="null where its URIs were too long to keep")


class CallList(Page[CallView]):
    """A page of the last decisions, the newest first."""


class CallExplainedList(Page[CallExplained]):
    """A page of the decisions on requests with one Call-ID, the oldest first."""


class UnknownSourceView(BaseModel):
    """A source that no address admits."""

    source: str = Field(description="transport:ip:port of its last request")
    requests: int
    since: Instant
    last_at: Instant
    request_uris: list[str] = Field(description="those of its last requests, newest first")
    reasons: list[Why] = Field(description="why it is listed, newest first")
    message: str = Field(description="the reasons in words")


class UnknownSourceList(Page[UnknownSourceView]):
    """A page of the unknown sources, the one with most requests first."""


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
    transport: Transport
    expires_at: Instant


class AlarmView(BaseModel):
    """An alarm as it was raised. The webhook posts the same."""

    id: int = Field(description="it grows; use the last one as `since`. Its all-clear has another")
    at: Instant = Field(description="when it was raised or, where it is resolved, cleared")
    status: Literal["firing", "resolved"]
    lasting: bool = Field(
        description="whether it is of a condition that lasts, and has an all-clear; of an event not"
    )
    kind: alarms.AlarmKind
    trunk: str | None = Field(description="null: it concerns no single trunk")
    message: str
    left_out: int = Field(description="how many like it were suppressed before")
    raised_at: Instant
    cleared_at: Instant | None = Field(description="null: it is open, or of an event")
    cleared_message: str | None = Field(description="why it was cleared, for people")


class AlarmList(Page[AlarmView]):
    """A page of the alarms, by id."""


class AlarmQuery(ListQuery):
    """Which alarms are listed."""

    since: int = Field(default=0, ge=0, description="the id of the last one that you have")
    status: Literal["firing", "resolved"] | None = Field(
        default=None, description="only those with this status"
    )
    kind: alarms.AlarmKind | None = Field(default=None, description="only those of this kind")
    trunk: str | None = Field(default=None, description="only those of this trunk")


def source_or_ip(text: str) -> TransportAddress:
    """Parse a source, or an ip alone. An ip alone means UDP, which admits any transport.

    Raises: ValueError.
    """
    try:
        return TransportAddress(Transport.UDP, canonical_ip(text.strip()), 5060)
    except ValueError:
        return TransportAddress.parse(text)
