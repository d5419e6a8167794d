"""The API's paths to calls, unknown sources and alarms. They escape texts from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from fastapi import FastAPI, HTTPException, Query

from whence.agent.api.models import (
    LIST_LIMIT,
    AlarmView,
    AllowedView,
    AllowRequest,
    CallExplained,
    CallView,
    RevokedView,
    RevokeRequest,
    UnknownSourceView,
    source_or_ip,
)
from whence.agent.monitoring.alarms import Alarms, as_json
from whence.agent.monitoring.call_record import CallRecord
from whence.agent.monitoring.call_record import as_json as call_as_json
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.explain import Explanation, explanation
from whence.agent.monitoring.unknown_sources import UnknownSources
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

    @api.get("/v1/calls")
    async def calls(
        limit: int = Query(default=100, ge=1, le=LIST_LIMIT),
    ) -> list[CallView]:
        """List the last decisions of the edge, the newest first."""
        return [_call(one) for one in parts.calls.last(limit)]

    @api.get("/v1/calls/{call_id:path}", responses={404: {"description": "no such call in memory"}})
    async def call(call_id: str) -> list[CallExplained]:
        """Explain the decisions on requests with this Call-ID, the oldest first."""
        found = parts.calls.of(call_id)
        if not found:
            raise HTTPException(
                404,
                f"no call with the Call-ID {escape_untrusted(call_id)} is in memory; the agent "
                "keeps the last ones since its start (agent call_history_size says how many)",
            )
        return [
            CallExplained(
                **_call(one).model_dump(),
                then=_then(parts.directory, one),
                now=_again(parts.directory, one, clock()),
            )
            for one in found
        ]

    @api.get("/v1/unknown-sources")
    async def unknown_sources(
        limit: int = Query(default=100, ge=1, le=LIST_LIMIT),
    ) -> list[UnknownSourceView]:
        """List the unknown sources, the one with most requests first."""
        return [
            UnknownSourceView(
                source=str(one.source),
                requests=one.requests,
                since=one.since,
                last_at=one.last_at,
                request_uris=list(one.request_uris),
                reasons=list(one.reasons),
                message=one.message,
            )
            for one in islice(parts.unknown_sources.table, limit)
        ]

    @api.post(
        "/v1/unknown-sources/allow",
        responses={404: {"description": "no such trunk"}, 409: {"description": "it is disabled"}},
    )
    async def allow(body: AllowRequest) -> AllowedView:
        """Admit calls of an unknown source as a trunk's, from any port of its ip, for a time."""
        address = parts.unknown_sources.allow(
            source_or_ip(body.source), body.trunk, body.for_s, body.note
        )
        return AllowedView(
            trunk=body.trunk,
            ip=str(address.ip),
            transport=address.transport,
            expires_at=address.expires_at or 0.0,
        )

    @api.post(
        "/v1/unknown-sources/revoke",
        responses={404: {"description": "no such trunk, or not allowed"}},
    )
    async def revoke(body: RevokeRequest) -> RevokedView:
        """Remove the address that allowed a source: the edge refuses its calls from now on."""
        ip, trunk = source_or_ip(body.source).ip, escape_untrusted(body.trunk)
        removed = parts.unknown_sources.revoke(source_or_ip(body.source), body.trunk)
        if not removed:
            raise HTTPException(
                404,
                f"{ip} is not allowed as trunk {trunk}; "
                "remove an address that the file pins from the file",
            )
        return RevokedView(trunk=body.trunk, ip=str(ip))

    @api.get("/v1/alarms")
    async def alarms(
        since: int = Query(default=0, ge=0, description="the id of the last one you have"),
        limit: int = Query(default=LIST_LIMIT, ge=1, le=LIST_LIMIT),
    ) -> list[AlarmView]:
        """List the open alarms and the last 1000 others, by id."""
        return [
            AlarmView.model_validate(as_json(raised)) for raised in parts.alarms.since(since, limit)
        ]


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
