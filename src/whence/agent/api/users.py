"""The API's path to the local users and their phones. It escapes what phones wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, Field

from whence.core.text import escape_untrusted
from whence.store import location
from whence.store.directory import Directory


class ContactView(BaseModel):
    """One phone of a user."""

    contact: str
    received: str | None
    expires_at: float
    user_agent: str


class UserView(BaseModel):
    """A local user."""

    name: str
    domain: str
    contacts: list[ContactView]
    wrong_passwords: int = Field(
        default=0, description="REGISTERs with a wrong password, since the agent's start"
    )


def add(
    api: FastAPI,
    directory: Directory,
    table: Path,
    domain: str,
    clock: Callable[[], float] = time.time,
    wrong_passwords: Callable[[str], int] = lambda _name: 0,
) -> None:
    """Add the path to an API that `app.make` built. `table` is the location table.

    `wrong_passwords` returns how many wrong passwords were sent for a user name.
    """

    @api.get("/v1/users")
    async def users() -> list[UserView]:
        """List every local user with the registered phones."""
        contacts = location.contacts(table, clock())
        return [
            UserView(
                name=name,
                domain=domain,
                wrong_passwords=wrong_passwords(name),
                contacts=[
                    ContactView(
                        contact=escape_untrusted(found.contact),
                        received=None
                        if found.received is None
                        else escape_untrusted(found.received),
                        expires_at=found.expires_at,
                        user_agent=escape_untrusted(found.user_agent),
                    )
                    for found in contacts.get(name, [])
                ],
            )
            for name in directory.users()
        ]
