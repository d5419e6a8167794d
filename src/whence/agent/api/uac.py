"""The API's paths that Kamailio's own `uac` and location table are to be asked for instead."""

from __future__ import annotations

from typing import Literal, NoReturn

from fastapi import FastAPI, HTTPException

from whence.agent.registration.status import RegistrationStatus
from whence.core.text import escape_untrusted
from whence.errors import UnknownTrunkError

_COMMANDS = {
    "register": "kamcmd uac.reg_refresh s:{id}",
    "resume": "kamcmd uac.reg_enable l_uuid s:{id}",
    "unregister": "kamcmd uac.reg_unregister l_uuid s:{id}",
    "pause": "kamcmd uac.reg_disable l_uuid s:{id}",
}
"""What the operator orders → the command of uac that comes nearest."""


def add(api: FastAPI, standings: RegistrationStatus) -> None:
    """Add the paths to an API that `api.make` made."""

    @api.post(
        "/v1/trunks/{trunk_id}/{order}",
        response_model=None,
        responses={
            404: {"description": "no such trunk"},
            409: {"description": "it is uac that registers; the answer says how to order that"},
        },
    )
    async def obey(
        trunk_id: str, order: Literal["register", "unregister", "pause", "resume"]
    ) -> NoReturn:
        """Say how to order that of Kamailio."""
        if trunk_id not in standings:
            raise UnknownTrunkError(trunk_id)
        raise HTTPException(
            409,
            f"this Kamailio's uac registers trunk {escape_untrusted(trunk_id)}; order it there: "
            + _COMMANDS[order].format(id=escape_untrusted(trunk_id)),
        )

    @api.get(
        "/v1/users",
        response_model=None,
        responses={409: {"description": "they are Kamailio's own"}},
    )
    async def users() -> NoReturn:
        """Say how to ask Kamailio."""
        raise HTTPException(
            409, "this Kamailio keeps its users itself; ask it there: kamcmd ul.dump"
        )
