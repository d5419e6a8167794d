"""The API's paths by which the operator orders something of our own registrar client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fastapi import FastAPI

from whence.agent.api.models import TrunkView, trunk_view
from whence.agent.registration.service import RegistrationService
from whence.core.registration.keepalive import KeepAlive


def add(
    api: FastAPI, registrations: RegistrationService, keepalive: Callable[[str], KeepAlive | None]
) -> None:
    """Add the paths to an API that `api.make` made."""

    @api.post(
        "/v1/trunks/{trunk_id}/{order}",
        responses={
            404: {"description": "no such trunk"},
            409: {"description": "it is disabled"},
            503: {"description": "it cannot be written down, and nothing has changed"},
        },
    )
    async def obey(
        trunk_id: str, order: Literal["register", "unregister", "pause", "resume"]
    ) -> TrunkView:
        """Register or resume: a REGISTER now. Unregister: end it. Pause: send no more.

        What is suspended stays so, restarts and new files or not, until register or resume.
        """
        if order == "pause":
            registrations.orders.pause(trunk_id)
        elif order == "unregister":
            registrations.orders.unregister(trunk_id)
        else:
            registrations.orders.want(trunk_id)
        return trunk_view(*registrations[trunk_id], keepalive(trunk_id))
