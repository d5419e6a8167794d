"""The API's path for users' calls: what the edge would do with one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from whence.agent.api.models import HeaderText
from whence.agent.api.problems import responses
from whence.agent.config.sip_headers import ALL_HEADERS_LIMIT
from whence.agent.monitoring.outbound import CallOutExplanation, CallOutQuestion, CallsOut

TEXT_LIMIT = 256
"""The longest name of a user, or number, that a question may have."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has control characters")
    return text


Text = Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT), AfterValidator(_printable)]


class ExplainCallOutRequest(BaseModel):
    """A call that a phone would make."""

    model_config = ConfigDict(extra="forbid")

    from_: Text = Field(alias="from", description="the name of a user", examples=["alice"])
    to: Text = Field(description="a number, a user, or a URI", examples=["+442071234567"])
    headers: list[HeaderText] = Field(
        default=[],
        max_length=ALL_HEADERS_LIMIT,
        description="headers by which the phone chooses its number or privacy",
        examples=[["Privacy: id"]],
    )

    def question(self) -> CallOutQuestion:
        """Return the call, with its headers as the edge reads them."""
        headers: dict[str, list[str]] = {}
        for line in self.headers:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        return CallOutQuestion(self.from_, self.to, headers)


def add(api: FastAPI, calls_out: CallsOut, clock: Callable[[], float] = time.time) -> None:
    """Add the path to an API that `app.make` built."""

    @api.post("/v1/explain/call-out", tags=["calls"], responses=responses(_404="no such user"))
    async def explain_call_out(body: ExplainCallOutRequest) -> CallOutExplanation:
        """Explain which trunks a user's call would get, without the limits on counts."""
        return calls_out.explain(body.question(), clock())
