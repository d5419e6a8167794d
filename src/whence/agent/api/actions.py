"""The API's paths that control the registrations of our own registrar client."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import FastAPI, Path, Query, Response
from pydantic import BaseModel, Field

from whence.agent.api.instants import Instant
from whence.agent.api.order_path import ORDER_PATH
from whence.agent.api.problems import ApiError, ProblemCode, responses
from whence.agent.registration.attempts import Order, OrderAttempt, OrderAttempts
from whence.agent.registration.service import RegistrationService
from whence.core.registration.model import State
from whence.core.registration.reason import RegistrationReason
from whence.core.text import escape_untrusted

LONGEST_WAIT_S = 60.0


class AttemptResult(BaseModel):
    """How an order ended."""

    state: State
    reason: RegistrationReason | None
    message: str = Field(description="why the trunk is in this state, for people")
    last_status: int | None = Field(description="the last answer of the registrar")


class AttemptView(BaseModel):
    """An order for a trunk, and its end."""

    id: str
    trunk: str
    order: Order
    suspended: bool = Field(description="whether the trunk is suspended by it")
    started_at: Instant
    ended_at: Instant | None = Field(description="null: it goes on")
    result: AttemptResult | None = Field(
        description="null: it goes on, or the trunk was removed meanwhile"
    )


def add(api: FastAPI, registrations: RegistrationService, attempts: OrderAttempts) -> None:
    """Add the paths to an API that `app.make` built."""

    @api.post(
        ORDER_PATH,
        tags=["trunks"],
        status_code=202,
        responses={
            200: {"model": AttemptView, "description": "it ended within `wait`"},
            **responses(_404="no such trunk", _409="it is disabled"),
        },
    )
    async def order_trunk(
        trunk_id: Annotated[str, Path(alias="id")],
        order: Order,
        response: Response,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT_S, description="seconds to wait for the end")
        ] = 0.0,
    ) -> AttemptView:
        """Send a REGISTER now (register, resume), unregister the trunk, or pause it.

        A suspended trunk stays suspended until register or resume, also after a restart or reload.
        The answer 202 has an attempt to follow, whose path is in `Location`.
        """
        if order == "pause":
            registrations.orders.pause(trunk_id)
        elif order == "unregister":
            registrations.orders.unregister(trunk_id)
        else:
            registrations.orders.want(trunk_id)
        attempt = attempts.start(trunk_id, order, registrations[trunk_id][1])
        if wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await attempt.over.wait()
        if attempt.ended_at is not None:
            response.status_code = 200
        response.headers["location"] = f"/v1/attempts/{attempt.id}"
        return _view(attempt)

    @api.get("/v1/attempts/{id}", tags=["trunks"], responses=responses(_404="not kept"))
    async def get_attempt(attempt_id: Annotated[str, Path(alias="id")]) -> AttemptView:
        """Return an order and, where it has ended, its result. The agent keeps the last 1000."""
        attempt = attempts.get(attempt_id)
        if attempt is None:
            raise ApiError(
                404,
                ProblemCode.UNKNOWN_ATTEMPT,
                f"no attempt {escape_untrusted(attempt_id)} is in memory; look at the trunk itself",
            )
        return _view(attempt)


def _view(attempt: OrderAttempt) -> AttemptView:
    end = attempt.registration
    return AttemptView(
        id=attempt.id,
        trunk=attempt.trunk,
        order=attempt.order,
        suspended=attempt.order in ("unregister", "pause"),
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        result=None
        if end is None
        else AttemptResult(
            state=end.state, reason=end.reason, message=end.message, last_status=end.last_status
        ),
    )
