"""The API's paths to what happened: calls. Texts that came from outside are `shown`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, Field

from whence.agent.api import Explanation, explanation
from whence.agent.calls import Calls, as_json
from whence.agent.directory import Directory
from whence.core import told
from whence.core.identify import Request, identify
from whence.core.told import Told

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
    decision: str = Field(description="identified, refused or unknown")
    trunk: str | None = Field(description="to which it was given")
    rule: str | None = Field(description="what settled it; null where it was not identified")
    reason: str
    named: list[str] = Field(description="the trunks that the last step of a refusal was about")
    known: bool = Field(description="whether the edge had decided it before, and remembered")


class CallExplained(CallView):
    """One decision, and how the same request would be decided now."""

    now: Explanation | None = Field(description="null where its URIs were too long to be kept")


@dataclass(frozen=True, slots=True)
class Happened:
    """What these paths tell about."""

    directory: Directory
    calls: Calls


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
                f"no call with the Call-ID {told.shown(call_id)} is remembered; "
                "the last ones are (agent calls says how many), since the agent's start",
            )
        return [
            CallExplained(**_call(one).model_dump(), now=_again(happened.directory, one, clock()))
            for one in found
        ]


def _call(one: Told) -> CallView:
    return CallView.model_validate(as_json(one))


def _again(directory: Directory, one: Told, now: float) -> Explanation | None:
    """How the same request would be decided now; None where it is not known in full."""
    uris = told.uris(one)
    if uris is None:
        return None
    request = Request(one.source, *uris)
    return explanation(identify(request, directory.evidence(request, now), now))
