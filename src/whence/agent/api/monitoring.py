"""The API's paths to calls, unknown sources and alarms. They escape texts from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import Annotated

from fastapi import FastAPI, Query, Request

from whence.agent.api.lists import ListQuery, ascending, descending, page
from whence.agent.api.monitoring_models import (
    AlarmList,
    AlarmQuery,
    AlarmView,
    AllowedView,
    AllowRequest,
    CallExplained,
    CallExplainedList,
    CallList,
    CallQuery,
    CallView,
    RevokedView,
    RevokeRequest,
    UnknownSourceList,
    UnknownSourceView,
    source_or_ip,
)
from whence.agent.api.problems import ApiError, ProblemCode, responses
from whence.agent.api.security import record_change
from whence.agent.monitoring.alarms import Alarms, RaisedAlarm
from whence.agent.monitoring.call_record import CallRecord
from whence.agent.monitoring.call_record import as_json as call_as_json
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.explain import Explanation, explanation
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.core.monitoring.unknown_sources import UnknownSource
from whence.core.text import escape_untrusted
from whence.ipc import decisions
from whence.ipc.decisions import DecisionReport
from whence.store.directory import Directory


@dataclass(frozen=True, slots=True)
class MonitoringParts:
    """The parts of the agent that these paths read."""

    directory: Directory
    calls: Calls
    unknown_sources: UnknownSources
    alarms: Alarms


def add(api: FastAPI, parts: MonitoringParts, clock: Callable[[], float] = time.time) -> None:
    """Add the paths to an API that `app.make` built."""

    @api.get("/v1/calls", tags=["calls"])
    async def list_calls(query: Annotated[CallQuery, Query()]) -> CallList:
        """List the last calls, the newest first."""
        cursor = query.cursor or ""
        after = dropwhile(lambda one: _key(one) <= cursor, parts.calls.find(query.wanted()))
        # The calls are in order, so the others of this page need not be read.
        return page(CallList, islice(after, query.limit + 1), query, key=_key, view=_call)

    @api.get(
        "/v1/calls/{call_id:path}",
        tags=["calls"],
        responses=responses(_404="no such call in memory"),
    )
    async def explain_call(call_id: str, query: Annotated[ListQuery, Query()]) -> CallExplainedList:
        """Explain the decisions on requests with this Call-ID, the oldest first."""
        found = parts.calls.of(call_id)
        if not found:
            raise ApiError(
                404,
                ProblemCode.UNKNOWN_CALL,
                f"no call with the Call-ID {escape_untrusted(call_id)} is in memory; the agent "
                "keeps the last ones since its start (agent call_history_size says how many)",
            )
        return page(
            CallExplainedList,
            enumerate(found),
            query,
            key=lambda one: ascending(one[0]),
            view=lambda one: _explained(one[1]),
        )

    def _explained(one: CallRecord) -> CallExplained:
        return CallExplained(
            **_call(one).model_dump(),
            then=_then(parts.directory, one),
            now=_again(parts.directory, one, clock()),
        )

    @api.get("/v1/unknown-sources", tags=["unknown sources"])
    async def list_unknown_sources(query: Annotated[ListQuery, Query()]) -> UnknownSourceList:
        """List the unknown sources, the one with most requests first."""
        return page(
            UnknownSourceList,
            parts.unknown_sources.table,
            query,
            key=lambda one: (
                f"{descending(one.requests)} {descending(one.last_at * 1e6)} {one.source}"
            ),
            view=_unknown_source,
        )

    @api.post(
        "/v1/unknown-sources/allow",
        tags=["unknown sources"],
        responses=responses(_404="no such trunk", _409="it is disabled"),
    )
    async def allow_source(body: AllowRequest, request: Request) -> AllowedView:
        """Admit calls of an unknown source as a trunk's, from any port of its ip, for a time."""
        address = parts.unknown_sources.allow(
            source_or_ip(body.source), body.trunk, body.for_s, body.note
        )
        record_change(request, body.trunk, None, body.model_dump(mode="json"))
        return AllowedView(
            trunk=body.trunk,
            ip=str(address.ip),
            transport=address.transport,
            expires_at=address.expires_at or 0.0,
        )

    @api.post(
        "/v1/unknown-sources/revoke",
        tags=["unknown sources"],
        responses=responses(_404="no such trunk, or not allowed"),
    )
    async def revoke_source(body: RevokeRequest, request: Request) -> RevokedView:
        """Remove the address that allowed a source: the edge refuses its calls from now on."""
        ip, trunk = source_or_ip(body.source).ip, escape_untrusted(body.trunk)
        removed = parts.unknown_sources.revoke(source_or_ip(body.source), body.trunk)
        if not removed:
            raise ApiError(
                404,
                ProblemCode.NOT_ALLOWED,
                f"{ip} is not allowed as trunk {trunk}; "
                "remove an address that the file pins from the file",
            )
        record_change(request, body.trunk, body.model_dump(mode="json"), None)
        return RevokedView(trunk=body.trunk, ip=str(ip))

    @api.get("/v1/alarms", tags=["alarms"])
    async def list_alarms(query: Annotated[AlarmQuery, Query()]) -> AlarmList:
        """List the open alarms and the last 1000 others, by id."""
        return page(
            AlarmList,
            (one for one in parts.alarms.since(query.since) if _asked(one, query)),
            query,
            key=lambda one: ascending(one.id),
            view=alarm_view,
        )


def _unknown_source(one: UnknownSource) -> UnknownSourceView:
    return UnknownSourceView(
        source=str(one.source),
        requests=one.requests,
        since=one.since,
        last_at=one.last_at,
        request_uris=list(one.request_uris),
        reasons=list(one.reasons),
        message=one.message,
    )


def _asked(raised: RaisedAlarm, query: AlarmQuery) -> bool:
    alarm = raised.alarm
    return (
        query.status in (None, raised.status)
        and query.kind in (None, alarm.kind)
        and query.trunk in (None, alarm.trunk)
    )


def alarm_view(raised: RaisedAlarm) -> AlarmView:
    """Return the public view of an alarm."""
    return AlarmView(
        id=raised.id,
        at=raised.at,
        status=raised.status,
        lasting=raised.lasting,
        kind=raised.alarm.kind,
        trunk=raised.alarm.trunk,
        message=raised.alarm.message,
        left_out=raised.alarm.left_out,
        raised_at=raised.raised_at,
        cleared_at=raised.cleared_at,
        cleared_message=raised.cleared_message or None,
    )


def _key(one: CallRecord) -> str:
    """Return the key of a call in the list: the newest has the smallest."""
    arrival = one.decision.arrival
    return f"{descending(arrival.at_us)} {arrival.process} {one.call_id}"


def _call(one: CallRecord) -> CallView:
    return CallView.model_validate(call_as_json(one))


def _then(directory: Directory, one: CallRecord) -> Explanation | None:
    """Explain a former decision; None where the directory no longer leads to it."""
    found = _again(directory, one, one.at)
    call = _call(one)
    same = found is not None and (found.decision, found.trunk, found.reason) == (
        call.decision,
        call.trunk,
        call.reason,
    )
    return found if same else None


def _again(directory: Directory, one: CallRecord, at: float) -> Explanation | None:
    """Explain how the edge would decide on the request at `at`; None where its URIs were cut."""
    call = one.decision
    request = decisions.request(call) if isinstance(call, DecisionReport) else None
    return None if request is None else explanation(directory, request, at)
