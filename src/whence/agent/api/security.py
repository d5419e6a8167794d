"""Who may do what with the API: the caller of each request, the role of each path, the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whence.agent.access.audit import AuditLog
from whence.agent.access.verifier import (
    TokenVerifier,
    TooManyWrongTokensError,
    WrongTokenError,
)
from whence.agent.api.problems import ApiError, ProblemCode, response
from whence.agent.api.requests import READING
from whence.core.access import LOCAL, Caller, Role
from whence.core.sip.transport_address import canonical_ip

OPEN_PATHS = frozenset({"/healthz"})
"""Paths that need no token: load balancers have none."""

ROLES: Mapping[str, Role] = {
    "explain": Role.VIEW,
    "explain_call_out": Role.VIEW,
    "order_trunk": Role.OPERATE,
    "allow_source": Role.OPERATE,
    "revoke_source": Role.OPERATE,
    "reload": Role.OPERATE,
}
"""Operation → the role that it needs. Any other needs `view` to read, and `admin` to change."""

UNAUDITED = frozenset({"explain", "explain_call_out"})
"""Operations with a body that change nothing."""

BODY_LIMIT = 1_048_576
"""The longest body of a request, in bytes."""

Identify = Callable[[Headers], Caller | None]


@dataclass
class ApiAccess:
    """How callers are identified, and where their changes are recorded."""

    verifier: TokenVerifier
    audit: AuditLog
    required: bool
    """Whether each request needs a token."""
    behind_proxy: bool = False
    """Whether a proxy in front names the caller's address, and has the TLS."""
    identify_by: list[Identify] = field(default_factory=list)
    """Other ways to identify a caller, as by a cookie of the console."""

    def source(self, scope: Scope) -> str:
        """Return the address of the sender: the proxy's last word, or that of the connection.

        Some proxies add a header of their own after that of the client. So the last one counts.
        """
        if self.behind_proxy:
            named = Headers(scope=scope).getlist("x-forwarded-for")
            with suppress(ValueError, IndexError):
                return str(canonical_ip(named[-1].rpartition(",")[2].strip()))
        client = scope.get("client")
        return client[0] if client and client[0] else "unix"


class Authorized:
    """Finds the caller of a request, and refuses a request without one where one is needed."""

    def __init__(self, app: ASGIApp, access: ApiAccess) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._caller(scope, Headers(scope=scope))
        except ApiError as error:
            answer = response(error.status, error.code, error.detail, error.headers)
            await answer(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = caller
        state["is_still_permitted"] = lambda: self._is_still(caller, scope)
        await self._app(scope, receive, send)

    async def _is_still(self, caller: Caller | None, scope: Scope) -> bool:
        """Return whether a long request may go on: its token may have been revoked."""
        try:
            return await self._caller(scope, Headers(scope=scope)) == caller
        except ApiError:
            return False

    async def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        access = self._access
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if token and scheme.lower() == "bearer":
            try:
                return await access.verifier.caller(token.strip(), access.source(scope))
            except WrongTokenError as error:
                raise _unauthorized(ProblemCode.WRONG_TOKEN, str(error), "invalid_token") from None
            except TooManyWrongTokensError as error:
                retry = {"retry-after": str(int(error.retry_s) + 1)}
                raise ApiError(429, ProblemCode.TOO_MANY_WRONG_TOKENS, str(error), retry) from None
        for identify in access.identify_by:
            caller = identify(headers)
            if caller is not None:
                return caller
        if not access.required:
            return LOCAL
        if scope["path"] in OPEN_PATHS or scope["path"].startswith(PUBLIC_PREFIXES):
            return None
        raise _unauthorized(
            ProblemCode.TOKEN_REQUIRED,
            "the API needs a token: send it as Authorization: Bearer, or name its file for whence "
            "as WHENCE_TOKEN_FILE",
        )


PUBLIC_PREFIXES: tuple[str, ...] = ("/static/", "/login")
"""Paths of the console that are shown before the login; they have no data."""


def _unauthorized(code: ProblemCode, detail: str, error: str = "") -> ApiError:
    challenge = 'Bearer realm="whence"' + (f', error="{error}"' if error else "")
    return ApiError(401, code, detail, {"www-authenticate": challenge})


async def permit(request: Request) -> None:
    """Refuse an operation for which the role of the caller is too low. Raises: ApiError."""
    caller: Caller | None = request.state.caller
    if caller is None:  # only paths that need no token get here
        return
    needed = role_of(request.scope["route"].name, request.method)
    if not caller.role.permits(needed):
        raise ApiError(
            403,
            ProblemCode.ROLE_TOO_LOW,
            f"this needs a token with the role {needed}, and that of {caller.name} has "
            f"{caller.role}; create one: whence token create",
        )


def role_of(operation: str, method: str) -> Role:
    """Return the role that an operation needs."""
    return ROLES.get(operation, Role.VIEW if method in READING else Role.ADMIN)


def record_change(
    request: Request,
    target: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Name what a request changes, for its line in the audit log. Both values have no secret."""
    request.state.change = (target, before, after)


class Audited:
    """Records each change that succeeded. It is inside `Settled`: a stored change is recorded."""

    def __init__(self, app: ASGIApp, access: ApiAccess) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._record(scope)
            await send(message)

        await self._app(scope, receive, answer)

    def _record(self, scope: Scope) -> None:
        route = scope.get("route")
        action = str(getattr(route, "name", scope["path"]))
        state = scope.get("state", {})
        if action in UNAUDITED or state.get("unchanged"):
            return
        named = scope.get("path_params", {}).values()
        target, before, after = state.get("change", (" ".join(map(str, named)), None, None))
        caller = state.get("caller") or LOCAL
        self._access.audit.record(
            caller=caller.name,
            role=str(caller.role),
            source=self._access.source(scope),
            action=action,
            target=target,
            before=before,
            after=after,
        )


class Bounded:
    """Refuses a request whose body is too long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > BODY_LIMIT:
            await _too_long()(scope, receive, send)
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > BODY_LIMIT:
                raise ApiError(413, ProblemCode.BODY_TOO_LONG, _TOO_LONG)
            return message

        await self._app(scope, bounded, send)


_TOO_LONG = f"the body is longer than {BODY_LIMIT} bytes; send less"


def _too_long() -> ASGIApp:
    return response(413, ProblemCode.BODY_TOO_LONG, _TOO_LONG)
