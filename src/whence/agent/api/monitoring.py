"""The API's paths to what happened: calls, unknown sources, alarms.

Texts from outside are escaped.
"""

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
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.calls import as_json as call_as_json
from whence.agent.monitoring.explain import Explanation, explanation
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.core.text import escape_untrusted
from whence.ipc import decisions
from whence.ipc.decisions import DecisionReport
from whence.store.directory import Directory


@dataclass(frozen=True, slots=True)
class Happened:
    """What these paths tell about."""

    directory: Directory
    calls: Calls
    unknown_sources: UnknownSources
    alarms: Alarms


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
                f"no call with the Call-ID {escape_untrusted(call_id)} is remembered; "
                "the last ones are (agent call_history_size says how many), since the agent's "
                "start",
            )
        return [
            CallExplained(
                **_call(one).model_dump(),
                then=_then(happened.directory, one),
                now=_again(happened.directory, one, clock()),
            )
            for one in found
        ]

    @api.get("/v1/unknown-sources")
    async def unknown_sources(
        limit: int = Query(default=100, ge=1, le=LIST_LIMIT),
    ) -> list[UnknownSourceView]:
        """Who asked and is not known, who asked most often first."""
        return [
            UnknownSourceView(
                source=str(one.source),
                requests=one.requests,
                since=one.since,
                last_at=one.last_at,
                asked=list(one.asked),
                reasons=list(one.reasons),
                message=one.message,
            )
            for one in islice(happened.unknown_sources.kept, limit)
        ]

    @api.post(
        "/v1/unknown-sources/allow",
        responses={404: {"description": "no such trunk"}, 409: {"description": "it is disabled"}},
    )
    async def allow(order: AllowRequest) -> AllowedView:
        """Let an unknown source's calls in as a trunk's, from any port of its ip, for a while."""
        address = happened.unknown_sources.allow(
            source_or_ip(order.source), order.trunk, order.for_s, order.note
        )
        return AllowedView(
            trunk=order.trunk,
            ip=str(address.ip),
            transport=address.transport,
            expires_at=address.expires_at or 0.0,
        )

    @api.post(
        "/v1/unknown-sources/revoke",
        responses={404: {"description": "no such trunk, or not allowed"}},
    )
    async def revoke(order: RevokeRequest) -> RevokedView:
        """Revoke what allowed an unknown source: from now on its calls are refused."""
        ip, trunk = source_or_ip(order.source).ip, escape_untrusted(order.trunk)
        done = happened.unknown_sources.revoke(source_or_ip(order.source), order.trunk)
        if not done:
            raise HTTPException(
                404,
                f"{ip} is not allowed as trunk {trunk}; remove what the file pins from the file",
            )
        return RevokedView(trunk=order.trunk, ip=str(ip))

    @api.get("/v1/alarms")
    async def alarms(
        since: int = Query(default=0, ge=0, description="the id of the last one you have"),
        limit: int = Query(default=LIST_LIMIT, ge=1, le=LIST_LIMIT),
    ) -> list[AlarmView]:
        """The last 1000 alarms, the oldest first."""
        return [
            AlarmView.model_validate(as_json(raised))
            for raised in happened.alarms.since(since, limit)
        ]


def _call(one: DecisionReport) -> CallView:
    return CallView.model_validate(call_as_json(one))


def _then(directory: Directory, one: DecisionReport) -> Explanation | None:
    """How it came to a decision; None where what stands now leads to another, at that time too."""
    found = _again(directory, one, one.at)
    was = _call(one)
    same = found is not None and (found.decision, found.trunk, found.reason) == (
        was.decision,
        was.trunk,
        was.reason,
    )
    return found if same else None


def _again(directory: Directory, one: DecisionReport, at: float) -> Explanation | None:
    """How the same request would be decided at `at`; None where it is not known in full."""
    request = decisions.request(one)
    return None if request is None else explanation(directory, request, at)
