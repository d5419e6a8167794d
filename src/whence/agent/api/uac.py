"""Paths of the API that a drop-in cannot serve: they name the command of Kamailio instead."""

from __future__ import annotations

from typing import Annotated, Literal, NoReturn

from fastapi import FastAPI, Path

from whence.agent.api.order_path import ORDER_PATH
from whence.agent.api.problems import ApiError, ProblemCode, responses
from whence.agent.registration.status import RegistrationStatus
from whence.core.text import escape_untrusted
from whence.errors import UnknownTrunkError

_COMMANDS = {
    "register": "kamcmd uac.reg_refresh s:{id}",
    "resume": "kamcmd uac.reg_enable l_uuid s:{id}",
    "unregister": "kamcmd uac.reg_unregister l_uuid s:{id}",
    "pause": "kamcmd uac.reg_disable l_uuid s:{id}",
}
"""Order of the operator → the command of uac that is most like it."""


def add(api: FastAPI, status: RegistrationStatus) -> None:
    """Add the paths for orders, each of which answers with the command of uac."""

    @api.post(
        ORDER_PATH,
        tags=["trunks"],
        response_model=None,
        responses=responses(
            _404="no such trunk",
            _409="uac registers this trunk; the answer names its command",
        ),
    )
    async def order_trunk(
        trunk_id: Annotated[str, Path(alias="id")],
        order: Literal["register", "unregister", "pause", "resume"],
    ) -> NoReturn:
        """Name the command of Kamailio that does this."""
        if trunk_id not in status:
            raise UnknownTrunkError(trunk_id)
        raise ApiError(
            409,
            ProblemCode.MANAGED_BY_KAMAILIO,
            f"this Kamailio's uac registers trunk {escape_untrusted(trunk_id)}; order it there: "
            + _COMMANDS[order].format(id=escape_untrusted(trunk_id)),
        )

    @api.get(
        "/v1/users",
        tags=["users"],
        response_model=None,
        responses=responses(_409="Kamailio keeps the users; the answer names its command"),
    )
    async def list_users() -> NoReturn:
        """Name the command of Kamailio that lists the users."""
        raise ApiError(
            409,
            ProblemCode.MANAGED_BY_KAMAILIO,
            "this Kamailio keeps its users itself; list them there: kamcmd ul.dump",
        )
