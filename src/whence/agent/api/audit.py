"""The API's path to the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from whence.agent.access.audit import AuditEntry, AuditLog
from whence.agent.api.instants import Instant
from whence.agent.api.lists import ListQuery, Page, descending, page


class AuditView(BaseModel):
    """One change by a caller of the API or of `whence token`."""

    at: Instant
    caller: str = Field(description="the name of the token; local: no token was needed")
    role: str
    source: str = Field(description="the address of the caller")
    action: str = Field(description="the operation")
    target: str = Field(description="what it changed: a trunk, a user, …")
    before: dict[str, Any] | None = Field(description="the values before, without secrets")
    after: dict[str, Any] | None = Field(description="the values after, without secrets")


class AuditList(Page[AuditView]):
    """A page of the audit log, the newest first."""


class AuditQuery(ListQuery):
    """Which changes are listed."""

    caller: str | None = Field(default=None, description="only those of this caller")
    action: str | None = Field(default=None, description="only those of this operation")
    target: str | None = Field(default=None, description="only those of this trunk, user, …")

    def admits(self, entry: AuditEntry) -> bool:
        """Return whether an entry is listed."""
        return (
            self.caller in (None, entry.caller)
            and self.action in (None, entry.action)
            and self.target in (None, entry.target)
        )


def add(api: FastAPI, audit: AuditLog) -> None:
    """Add the path to an API that `app.make` built."""

    @api.get("/v1/audit", tags=["agent"])
    async def list_audit(query: Annotated[AuditQuery, Query()]) -> AuditList:
        """List the last 1000 changes, the newest first."""
        return page(
            AuditList,
            (one for one in audit.entries if query.admits(one)),
            query,
            key=lambda one: descending(one.serial),
            view=_view,
        )


def _view(entry: AuditEntry) -> AuditView:
    return AuditView(
        at=entry.at,
        caller=entry.caller,
        role=entry.role,
        source=entry.source,
        action=entry.action,
        target=entry.target,
        before=dict(entry.before) if entry.before is not None else None,
        after=dict(entry.after) if entry.after is not None else None,
    )
