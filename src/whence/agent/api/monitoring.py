"""The API's paths to what happened: calls, strangers, alarms. Texts from outside are `shown`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query
from pydantic import AfterValidator, BaseModel, Field

from whence.agent.api.app import Explanation, explanation
from whence.agent.config import networks
from whence.agent.monitoring.alarms import Events, as_json
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.calls import as_json as call_as_json
from whence.agent.monitoring.unknown_sources import Strangers
from whence.core.identification.address import Source, Transport, canonical_ip
from whence.core.identification.identify import Reason, Rule
from whence.core.monitoring import alarms
from whence.core.monitoring.unknown_sources import LONGEST_S, Why
from whence.ipc import decisions
from whence.ipc.decisions import Told
from whence.store.directory import Directory

LIST_LIMIT = 1000


class CallView(BaseModel):
    """One decision on an initial request, as it was."""

    at: float
    call_id: str
    method: str
    source: str
    ruri: str
    to: str | None
    p_called_party_id: str | None
    headers: list[str] = Field(description="those that some trunk has in number_headers")
    decision: decisions.DecisionKind
    trunk: str | None = Field(description="to which it was given")
    rule: Rule | None = Field(description="what settled it; null where it was not identified")
    reason: Rule | Reason = Field(description="the rule, or why it was given to no trunk")
    message: str = Field(description="the reason in words")
    named: list[str] = Field(description="the trunks that the last step of a refusal was about")
    known: bool = Field(description="whether the edge had decided it before, and remembered")


class CallExplained(CallView):
    """One decision, the steps to it, and how the same request would be decided now."""

    then: Explanation | None = Field(
        description="its steps, and who came nearest; null where the directory does not tell any "
        "more what it rested on"
    )
    now: Explanation | None = Field(description="null where its URIs were too long to be kept")


class StrangerView(BaseModel):
    """A source that no address admits. Instants are seconds since the epoch."""

    source: str = Field(description="transport:ip:port, as it came last")
    requests: int
    since: float
    last_at: float
    asked: list[str] = Field(description="the Request-URIs that it asked for last, newest first")
    reasons: list[Why] = Field(description="why it is listed, newest first")
    message: str = Field(description="the reasons in words")


def _is_source(text: str) -> str:
    networks.network(str(source_or_ip(text).ip))
    return text


class Admission(BaseModel):
    """Whom to admit, as whose, for how long."""

    source: Annotated[str, AfterValidator(_is_source)] = Field(examples=["udp:203.0.113.7:5060"])
    trunk: str = Field(examples=["acme"])
    for_s: int = Field(ge=1, le=LONGEST_S, examples=[3600])
    note: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")


class Expulsion(BaseModel):
    """Whom to let in no longer, and as whose he was."""

    source: Annotated[str, AfterValidator(_is_source)] = Field(examples=["udp:203.0.113.7:5060"])
    trunk: str = Field(examples=["acme"])


class ExpelledView(BaseModel):
    """An ip that the operator lets in no longer."""

    trunk: str
    ip: str


class AdmittedView(BaseModel):
    """An address that the operator let in for a while."""

    trunk: str
    ip: str
    transport: str
    expires_at: float


class AlarmView(BaseModel):
    """An alarm as it was told. The webhook gets the same."""

    id: int = Field(description="it grows; ask with the last one as since")
    at: float
    kind: alarms.AlarmKind
    trunk: str | None = Field(description="null: it is about no single trunk")
    message: str
    left_out: int = Field(description="how many like it came before, and were not told")


@dataclass(frozen=True, slots=True)
class Happened:
    """What these paths tell about."""

    directory: Directory
    calls: Calls
    strangers: Strangers
    events: Events


def source_or_ip(text: str) -> Source:
    """Read a source, or an ip alone (then over UDP, and so over any transport); ValueError."""
    try:
        return Source(Transport.UDP, canonical_ip(text.strip()), 5060)
    except ValueError:
        return Source.parse(text)


def add(api: FastAPI, happened: Happened, clock: Callable[[], float] = time.time) -> None:
    """Add the paths to an API that `api.make` made."""

    @api.get("/v1/calls")
    async def calls(
        limit: int = Query(default=100, ge=1, le=LIST_LIMIT),
    ) -> list[CallView]:
        """The last decisions of the edge, the newest first."""
        return [_call(one) for one in happened.calls.last(limit)]

    @api.get("/v1/calls/{call_id:path}", responses={404: {"description": "not remembered"}})
    async def call(call_id: str) -> list[CallExplained]:
        """What was decided on requests with this Call-ID, the oldest first, and why."""
        found = happened.calls.of(call_id)
        if not found:
            raise HTTPException(
                404,
                f"no call with the Call-ID {decisions.shown(call_id)} is remembered; "
                "the last ones are (agent calls says how many), since the agent's start",
            )
        return [
            CallExplained(
                **_call(one).model_dump(),
                then=_then(happened.directory, one),
                now=_again(happened.directory, one, clock()),
            )
            for one in found
        ]

    @api.get("/v1/strangers")
    async def strangers(
        limit: int = Query(default=100, ge=1, le=LIST_LIMIT),
    ) -> list[StrangerView]:
        """Who asked and is not known, who asked most often first."""
        return [
            StrangerView(
                source=str(one.source),
                requests=one.requests,
                since=one.since,
                last_at=one.last_at,
                asked=list(one.asked),
                reasons=list(one.reasons),
                message=one.message,
            )
            for one in islice(happened.strangers.kept, limit)
        ]

    @api.post(
        "/v1/strangers/admit",
        responses={404: {"description": "no such trunk"}, 409: {"description": "it is disabled"}},
    )
    async def admit(admission: Admission) -> AdmittedView:
        """Let a stranger's calls in as a trunk's, from any port of its ip, for a while."""
        address = happened.strangers.admit(
            source_or_ip(admission.source), admission.trunk, admission.for_s, admission.note
        )
        return AdmittedView(
            trunk=admission.trunk,
            ip=str(address.ip),
            transport=address.transport,
            expires_at=address.expires_at or 0.0,
        )

    @api.post(
        "/v1/strangers/expel", responses={404: {"description": "no such trunk, or not admitted"}}
    )
    async def expel(expulsion: Expulsion) -> ExpelledView:
        """Take back what let a stranger in: from now on his calls are refused."""
        ip, trunk = source_or_ip(expulsion.source).ip, decisions.shown(expulsion.trunk)
        done = happened.strangers.expel(source_or_ip(expulsion.source), expulsion.trunk)
        if not done:
            raise HTTPException(
                404,
                f"nobody let {ip} in as trunk {trunk}; what the file pins is taken out of the file",
            )
        return ExpelledView(trunk=expulsion.trunk, ip=str(ip))

    @api.get("/v1/events")
    async def events(
        since: int = Query(default=0, ge=0, description="the id of the last one you have"),
        limit: int = Query(default=LIST_LIMIT, ge=1, le=LIST_LIMIT),
    ) -> list[AlarmView]:
        """What somebody should have heard of, the oldest first: the last 1000 alarms."""
        return [
            AlarmView.model_validate(as_json(event))
            for event in happened.events.since(since, limit)
        ]


def _call(one: Told) -> CallView:
    return CallView.model_validate(call_as_json(one))


def _then(directory: Directory, one: Told) -> Explanation | None:
    """How it came to a decision; None where what stands now leads to another, at that time too."""
    found = _again(directory, one, one.at)
    was = _call(one)
    same = found is not None and (found.decision, found.trunk, found.reason) == (
        was.decision,
        was.trunk,
        was.reason,
    )
    return found if same else None


def _again(directory: Directory, one: Told, at: float) -> Explanation | None:
    """How the same request would be decided at `at`; None where it is not known in full."""
    request = decisions.request(one)
    return None if request is None else explanation(directory, request, at)
