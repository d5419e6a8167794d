"""The API's path to the local users and their phones. It escapes what phones wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from whence.agent.api.instants import Instant
from whence.agent.api.lists import ListQuery, Page, page
from whence.core.text import escape_untrusted
from whence.store import location
from whence.store.directory import Directory


class ContactView(BaseModel):
    """One phone of a user."""

    contact: str
    received: str | None
    expires_at: Instant
    user_agent: str


class UserView(BaseModel):
    """A local user."""

    name: str
    domain: str
    contacts: list[ContactView]
    wrong_passwords: int = Field(
        default=0, description="REGISTERs with a wrong password, since the agent's start"
    )


class UserList(Page[UserView]):
    """A page of the local users, by name."""


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

    @api.get("/v1/users", tags=["users"])
    async def list_users(query: Annotated[ListQuery, Query()]) -> UserList:
        """List the local users with their registered phones, by name."""
        contacts = location.contacts(table, clock())

        def view(name: str) -> UserView:
            return UserView(
                name=name,
                domain=domain,
                wrong_passwords=wrong_passwords(name),
                contacts=[_contact(found) for found in contacts.get(name, [])],
            )

        return page(UserList, directory.users(), query, key=str, view=view)


def _contact(found: location.UserContact) -> ContactView:
    return ContactView(
        contact=escape_untrusted(found.contact),
        received=None if found.received is None else escape_untrusted(found.received),
        expires_at=found.expires_at,
        user_agent=escape_untrusted(found.user_agent),
    )
