"""The API's paths that control the registrations of our own registrar client."""

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
    """Add the paths to an API that `app.make` built."""

    @api.post(
        "/v1/trunks/{trunk_id}/{order}",
        responses={
            404: {"description": "no such trunk"},
            409: {"description": "it is disabled"},
            503: {"description": "the directory cannot be written, and nothing has changed"},
        },
    )
    async def control(
        trunk_id: str, order: Literal["register", "unregister", "pause", "resume"]
    ) -> TrunkView:
        """Send a REGISTER now (register, resume), unregister the trunk, or pause it.

        A suspended trunk stays suspended until register or resume, also after a restart or reload.
        """
        if order == "pause":
            registrations.orders.pause(trunk_id)
        elif order == "unregister":
            registrations.orders.unregister(trunk_id)
        else:
            registrations.orders.want(trunk_id)
        return trunk_view(*registrations[trunk_id], keepalive(trunk_id))
