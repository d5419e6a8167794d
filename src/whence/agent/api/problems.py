"""Errors of the API: each is a problem of RFC 9457, made by the handlers of this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from whence.core.text import escape_untrusted
from whence.errors import (
    ConfigError,
    DisabledTrunkError,
    LocationError,
    StoreError,
    UnknownTrunkError,
    UnknownUserError,
    WhenceError,
)

MEDIA_TYPE = "application/problem+json"


class ProblemCode(StrEnum):
    """Why a request failed, as a stable word."""

    BAD_REQUEST = "bad_request"
    FOREIGN_HOST = "foreign_host"
    FOREIGN_SITE = "foreign_site"
    TOKEN_REQUIRED = "token_required"
    WRONG_TOKEN = "wrong_token"
    TOO_MANY_WRONG_TOKENS = "too_many_wrong_tokens"
    ROLE_TOO_LOW = "role_too_low"
    BODY_TOO_LONG = "body_too_long"
    NOT_FOUND = "not_found"
    UNKNOWN_TRUNK = "unknown_trunk"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_CALL = "unknown_call"
    UNKNOWN_ATTEMPT = "unknown_attempt"
    NOT_ALLOWED = "not_allowed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    DISABLED_TRUNK = "disabled_trunk"
    MANAGED_BY_KAMAILIO = "managed_by_kamailio"
    INVALID_REQUEST = "invalid_request"
    INVALID_SETTINGS = "invalid_settings"
    MANAGED_BY_FILE = "managed_by_file"
    FILE_CHANGED = "file_changed"
    IN_USE = "in_use"
    NOT_PROVISIONED = "not_provisioned"
    MATCH_REQUIRED = "match_required"
    MATCH_FAILED = "match_failed"
    TOO_MANY_STREAMS = "too_many_streams"
    INTERNAL_ERROR = "internal_error"
    STORE_UNAVAILABLE = "store_unavailable"


class FaultView(BaseModel):
    """One fault of a request or of settings."""

    detail: str = Field(description="the fault and the right form, for people")
    pointer: str | None = Field(
        default=None, description="its place in the body (RFC 6901, as a fragment): #/source"
    )
    parameter: str | None = Field(
        default=None, description="the parameter of the query or path that is wrong"
    )


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(default="about:blank", description="always about:blank: `code` has the kind")
    title: str = Field(description="the phrase of the status")
    status: int
    detail: str = Field(description="what is wrong, and what to do, for people")
    code: ProblemCode
    errors: list[FaultView] = Field(default=[], description="each fault, where there are several")


class ApiError(WhenceError):
    """A request that the API refuses with this status, code and sentence."""

    def __init__(
        self,
        status: int,
        code: ProblemCode,
        detail: str,
        headers: Mapping[str, str] | None = None,
        faults: Sequence[FaultView] = (),
    ) -> None:
        self.status, self.code, self.detail = status, code, detail
        self.headers, self.faults = headers, faults
        super().__init__(detail)


STATUSES: Mapping[type[WhenceError], tuple[int, ProblemCode]] = {
    UnknownTrunkError: (404, ProblemCode.UNKNOWN_TRUNK),
    UnknownUserError: (404, ProblemCode.UNKNOWN_USER),
    DisabledTrunkError: (409, ProblemCode.DISABLED_TRUNK),
    StoreError: (503, ProblemCode.STORE_UNAVAILABLE),
    LocationError: (503, ProblemCode.STORE_UNAVAILABLE),
}
"""An exception → the status and code of the answer. The exception's message is the detail."""

_CODES = {
    400: ProblemCode.BAD_REQUEST,
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    409: ProblemCode.CONFLICT,
    422: ProblemCode.INVALID_REQUEST,
}
"""The code of an error of the web framework itself."""


def response(
    status: int,
    code: ProblemCode,
    detail: str,
    headers: Mapping[str, str] | None = None,
    faults: Sequence[FaultView] = (),
) -> JSONResponse:
    """Return the answer with a problem."""
    title = HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail, code=code, errors=list(faults))
    return JSONResponse(problem.model_dump(mode="json"), status, headers, media_type=MEDIA_TYPE)


def responses(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a path: `responses(_404="no such trunk")`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        int(name.removeprefix("_")): {
            "description": text,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for name, text in descriptions.items()
    }


COMMON = responses(
    _400="the request is no HTTP that the API can read, or has a foreign Host",
    _401="no token, or a wrong one",
    _403="the role of the token is too low, or a web page of another site asked",
    _413="the body is too long",
    _422="a parameter or the body is wrong; `errors` has each fault",
    _429="too many wrong tokens came from this address; `Retry-After` says how long to wait",
    _500="a fault of the agent; its log has the cause",
    _503="the directory or the location table cannot be read or written",
)
"""The errors that every path may answer with."""


def add_handlers(api: FastAPI) -> None:
    """Answer every exception with a problem."""
    handlers = {
        HTTPException: _of_framework,
        RequestValidationError: _of_validation,
        ConfigError: _of_settings,
        ApiError: _of_api,
        Exception: _of_bug,
        **dict.fromkeys(STATUSES, _of_whence),
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


async def _of_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for mypy
    if error.status_code == 405:
        return _of_method(request)
    code = _CODES.get(error.status_code, ProblemCode.BAD_REQUEST)
    return response(error.status_code, code, str(error.detail), error.headers)


def _of_method(request: Request) -> Response:
    """Answer 405 with the methods of all paths that fit: the framework names those of one."""
    allowed: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            allowed |= getattr(route, "methods", None) or set()
    allowed |= {"HEAD"} if "GET" in allowed else set()
    methods = ", ".join(sorted(allowed))
    detail = f"this path does not have the method {request.method}; it has {methods}"
    return response(405, ProblemCode.METHOD_NOT_ALLOWED, detail, {"allow": methods})


async def _of_api(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - for mypy
    return response(error.status, error.code, error.detail, error.headers, error.faults)


async def _of_whence(_: Request, error: Exception) -> Response:
    status, code = next(one for kind, one in STATUSES.items() if isinstance(error, kind))
    return response(status, code, str(error))


async def _of_settings(_: Request, error: Exception) -> Response:
    assert isinstance(error, ConfigError)  # noqa: S101 - for mypy
    faults = [FaultView(detail=fault) for fault in error.faults]
    return response(422, ProblemCode.INVALID_SETTINGS, "; ".join(error.faults), None, faults)


async def _of_bug(_: Request, __: Exception) -> Response:
    """Answer 500. The web framework raises the exception again, and so the log has it."""
    detail = "the agent has a fault; its log has the cause"
    return response(500, ProblemCode.INTERNAL_ERROR, detail)


async def _of_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for mypy
    faults = [_fault(one) for one in error.errors()]
    detail = "; ".join(f"{_place(one)}{one.detail}" for one in faults)
    return response(422, ProblemCode.INVALID_REQUEST, detail, None, faults)


def _fault(one: Mapping[str, Any]) -> FaultView:
    message = escape_untrusted(str(one["msg"]).removeprefix("Value error, "))
    where, *path = one["loc"]
    if where != "body":
        return FaultView(detail=message, parameter=str(path[0]) if path else None)
    parts = [] if one["type"] == "json_invalid" else path  # there it is a place in the text
    pointer = "".join("/" + _token(part) for part in parts)
    return FaultView(detail=message, pointer=f"#{pointer}")


def _token(part: object) -> str:
    return escape_untrusted(str(part)).replace("~", "~0").replace("/", "~1")


def _place(fault: FaultView) -> str:
    name = fault.parameter or (fault.pointer or "").rpartition("/")[2].removeprefix("#")
    return f"{name}: " if name else ""
