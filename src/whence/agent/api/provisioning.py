"""The API's paths that create, change and remove trunks, users and routes at run time.

The bodies have the keys of the settings file as JSON. The models of the file check them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from whence.agent.api.lists import ListQuery, Page, page
from whence.agent.api.problems import ApiError, FaultView, ProblemCode, responses
from whence.agent.api.security import record_change
from whence.agent.provisioning.provisioned import ROUTE, TRUNK, USER, Entry, Kind
from whence.agent.provisioning.runtime import (
    Change,
    FileChangedError,
    InUseError,
    InvalidEntryError,
    ManagedByFileError,
    Match,
    MatchFailedError,
    MatchRequiredError,
    RuntimeProvisioning,
    UnknownEntryError,
)
from whence.agent.provisioning.secret_keys import names
from whence.errors import WhenceError

Order = Callable[..., Any]

STATUSES: dict[type[WhenceError], tuple[int, ProblemCode]] = {
    ManagedByFileError: (409, ProblemCode.MANAGED_BY_FILE),
    FileChangedError: (409, ProblemCode.FILE_CHANGED),
    InUseError: (409, ProblemCode.IN_USE),
    UnknownEntryError: (404, ProblemCode.NOT_PROVISIONED),
    MatchRequiredError: (428, ProblemCode.MATCH_REQUIRED),
    MatchFailedError: (412, ProblemCode.MATCH_FAILED),
}


class SettingsView(BaseModel):
    """The settings of a trunk, user or route of the API, without its secrets."""

    id: str
    managed_by: Literal["api"] = "api"
    settings: dict[str, Any] = Field(description="the keys of the settings file")
    secrets: list[str] = Field(description="the names of the secret keys that are set")

    @classmethod
    def of(cls, entry: Entry) -> SettingsView:
        """Return the view of an entry."""
        return cls(id=entry.id, settings=dict(entry.public), secrets=names(entry.hidden))


class SettingsList(Page[SettingsView]):
    """A page of the API's trunks, users or routes, by id."""


Table = Annotated[
    dict[str, Any],
    Body(description="keys of the settings file, as docs/configure.md has them, as JSON"),
]
IfMatch = Annotated[
    str | None,
    Header(alias="if-match", description="the ETag of the revision to change, or *"),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="if-none-match", pattern=r"^\*$", description="*: only create it"),
]
Check = Annotated[bool, Query(description="only check the change, and change nothing")]
Id = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]

CHANGES = responses(
    _404="the API has none of this id",
    _409="the settings file has it, or others need it, or the file was not reloaded",
    _412="it is of another revision",
    _428="it exists, and there is no If-Match",
)


def add(api: FastAPI, runtime: RuntimeProvisioning) -> None:
    """Add the paths to an API that `app.make` built."""
    for kind, path in ((TRUNK, "trunks"), (USER, "users"), (ROUTE, "routes")):
        _add_kind(api, runtime, kind, path)


def _add_kind(api: FastAPI, runtime: RuntimeProvisioning, kind: Kind, path: str) -> None:
    own, name = f"/v1/{path}/{{id}}", kind.name
    tags: list[str | Enum] = [path]

    async def list_settings(query: Annotated[ListQuery, Query()]) -> SettingsList:
        """List what the API provisioned, by id. The tables of the file are not in it."""
        return page(
            SettingsList,
            (one for one in runtime.entries(kind) if not runtime.in_file(kind, one.id)),
            query,
            key=lambda one: one.id,
            view=SettingsView.of,
        )

    async def get_settings(id: Id, response: Response) -> SettingsView:
        """Return the settings of one that the API provisioned. `ETag` has its revision."""
        entry = runtime.get(kind, id)
        if entry is None:
            in_file = runtime.in_file(kind, id)
            error = ManagedByFileError if in_file else UnknownEntryError
            where = "is in the settings file" if in_file else "is not provisioned by the API"
            raise _problem(error(f"{name} {id} {where}"))
        response.headers["etag"] = _etag(entry)
        return SettingsView.of(entry)

    async def put(
        id: Id,
        body: Table,
        request: Request,
        response: Response,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
        check: Check = False,
    ) -> SettingsView:
        """Create it with these keys, or replace all its keys. The same again changes nothing."""
        match = _match(if_match, if_none_match)
        change = await _done(runtime.put(kind, id, body, match, is_trial=check))
        if change.is_new and not check:
            response.status_code = 201
        return _answer(request, response, change, is_trial=check)

    async def patch(
        id: Id,
        body: Table,
        request: Request,
        response: Response,
        if_match: IfMatch = None,
        check: Check = False,
    ) -> SettingsView:
        """Change some keys (RFC 7396): null removes one. Secrets that are not named stay."""
        change = await _done(runtime.patch(kind, id, body, _match(if_match), is_trial=check))
        return _answer(request, response, change, is_trial=check)

    async def delete(
        id: Id,
        request: Request,
        if_match: IfMatch = None,
        check: Check = False,
    ) -> Response:
        """Remove it."""
        change = await _done(runtime.delete(kind, id, _match(if_match), is_trial=check))
        _record(request, change, is_trial=check)
        return Response(status_code=204)

    created = {201: {"model": SettingsView, "description": "it was created"}, **CHANGES}
    not_here = responses(_404="the API has none of this id", _409="the settings file has it")
    if kind is ROUTE:
        api.get("/v1/routes", tags=tags, name="list_routes")(list_settings)
    settings = own if kind is ROUTE else f"{own}/settings"
    api.get(settings, tags=tags, name=f"get_{name}_settings", responses=not_here)(get_settings)
    api.put(own, tags=tags, name=f"put_{name}", responses=created)(put)
    api.patch(own, tags=tags, name=f"patch_{name}", responses=CHANGES)(patch)
    api.delete(own, tags=tags, name=f"delete_{name}", status_code=204, responses=CHANGES)(delete)


async def _done(order: Any) -> Change:
    try:
        change: Change = await order
    except InvalidEntryError as error:
        faults = [
            FaultView(detail=one.detail, pointer=None if one.pointer is None else f"#{one.pointer}")
            for one in error.faults
        ]
        raise ApiError(422, ProblemCode.INVALID_SETTINGS, str(error), None, faults) from None
    except tuple(STATUSES) as error:
        raise _problem(error) from None
    return change


def _problem(error: WhenceError) -> ApiError:
    status, code = STATUSES[type(error)]
    return ApiError(status, code, str(error))


def _answer(
    request: Request, response: Response, change: Change, *, is_trial: bool
) -> SettingsView:
    _record(request, change, is_trial=is_trial)
    if change.after is None:  # only a removal has none
        raise ApiError(404, ProblemCode.NOT_PROVISIONED, "it was removed")
    if not is_trial:
        response.headers["etag"] = _etag(change.after)
    return SettingsView.of(change.after)


def _record(request: Request, change: Change, *, is_trial: bool) -> None:
    entry = change.after or change.before
    request.state.unchanged = is_trial or change.before == change.after
    before, after = (_shown(one) for one in (change.before, change.after))
    record_change(request, entry.id if entry else "", before, after)


def _shown(entry: Entry | None) -> dict[str, Any] | None:
    """Return an entry for the audit log: the names of its secrets, and no secret."""
    if entry is None:
        return None
    return {"settings": dict(entry.public), "secrets": names(entry.hidden)}


def _etag(entry: Entry) -> str:
    return f'"{entry.revision}"'


def _match(if_match: str | None, if_none_match: str | None = None) -> Match:
    if if_match is None:
        return Match(must_be_new=if_none_match == "*")
    if if_match.strip() == "*":
        return Match(frozenset({"*"}))
    return Match(frozenset(re.findall(r'"([0-9]{1,19})"', if_match)))
