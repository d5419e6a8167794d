"""The bodies of the API for calls, unknown sources and alarms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from whence.agent.api.instants import Instant
from whence.agent.api.lists import ListQuery, Page
from whence.agent.monitoring.call_record import CallFilter, digits_of
from whence.agent.monitoring.explain import Explanation
from whence.core.identification.decision import Rule
from whence.core.identification.networks import checked_network
from whence.core.monitoring import alarms
from whence.core.monitoring.call_progress import CallState, Direction, Hangup, Outcome
from whence.core.monitoring.unknown_sources import LONGEST_S, Why
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.ipc import decisions

DIGITS_LEAST = 3
"""Digits that a filter by number has at least."""


def _has_digits(number: str | None) -> str | None:
    if number is not None and len(digits_of(number)) < DIGITS_LEAST:
        raise ValueError(f"has less than {DIGITS_LEAST} digits")
    return number


class TriedView(BaseModel):
    """A trunk that was tried for a call out."""

    trunk: str
    status: int | None = Field(description="its final answer; null: none")
    reason: str | None = Field(description="why the next trunk was tried, as a code")


class CallView(BaseModel):
    """One call, or another initial request: the decision of the edge, and how it ended."""

    at: Instant
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
    reason: str | None = Field(
        description="the rule, or why no trunk got it; null for a call out that was allowed"
    )
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
    answered_at: Instant | None
    answered_by: str | None = Field(description="transport:ip:port of the answer")
    ended_at: Instant | None
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


class CallList(Page[CallView]):
    """A page of the last calls, the newest first."""


class CallQuery(ListQuery):
    """Which calls are listed."""

    trunk: str | None = Field(default=None, description="only those of this trunk")
    user: str | None = Field(
        default=None, description="only those of this user, as caller or as called"
    )
    number: Annotated[str | None, AfterValidator(_has_digits)] = Field(
        default=None,
        max_length=64,
        description="only those whose caller or called has these digits, in any spelling",
    )
    failed: bool | None = Field(
        default=None, description="only those that are over without an answer, or only the others"
    )
    active: bool | None = Field(
        default=None, description="only those in progress, or only the others"
    )
    since: AwareDatetime | None = Field(
        default=None, description="only those that began then or later"
    )

    def wanted(self) -> CallFilter:
        """Return the filter."""
        return CallFilter(
            self.trunk,
            self.user,
            self.number,
            self.failed,
            self.active,
            self.since.timestamp() if self.since is not None else None,
        )


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
