"""What each request passes before a path handles it: HEAD, Host, Origin, reports, settling."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whence.agent.api.problems import ProblemCode, response
from whence.agent.runtime.settling import settle
from whence.errors import StoreError
from whence.store.directory import Directory

READING = ("GET", "HEAD", "OPTIONS")
"""The methods that change nothing."""


class Head:
    """Answers a HEAD like a GET, without the body (RFC 9110 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET"}, receive, send_head)


class OwnSiteOnly:
    """Refuses a request for a foreign Host, and a change that a page of another site asks for.

    Without it, a web page could reach the API under a name of its own, in the operator's browser.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], *, behind_proxy: bool = False) -> None:
        """`hosts`: the names under which the API answers, without port.

        `behind_proxy`: browsers use TLS, which ends at the proxy.
        """
        self._app = app
        self._hosts = frozenset(hosts)
        self._schemes = ("http", "https") if behind_proxy else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if _host(headers) not in self._hosts:
                detail = "the Host is not one of the API's names; write the address of api_listen"
                answer = response(400, ProblemCode.FOREIGN_HOST, detail)
                await answer(scope, receive, send)
                return
            is_reading = scope["method"] in READING
            if not (_is_link(headers) if is_reading else self._same_site(scope, headers)):
                detail = "a web page of another site must not ask for this"
                await response(403, ProblemCode.FOREIGN_SITE, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _same_site(self, scope: Scope, headers: Headers) -> bool:
        """Return whether no browser sent the request, or a page of ours did.

        The Host is verified.
        """
        schemes = self._schemes or (scope.get("scheme", "http"),)
        own = {None, *(f"{scheme}://{headers.get('host')}" for scheme in schemes)}
        from_page = headers.get("sec-fetch-site", "none")
        return headers.get("origin") in own and from_page in ("none", "same-origin")


class Unframed:
    """Forbids browsers to show an answer in a frame of another site, or to guess its type.

    Else such a page could lead the operator's clicks to the buttons of `/docs`.
    """

    HEADERS = (
        (b"x-frame-options", b"DENY"),
        (b"content-security-policy", b"frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.HEADERS]
            await send(message)

        await self._app(scope, receive, answer)


class Drained:
    """Drains the reports before each request is handled, and before each answer begins.

    So an answer shows all calls before it. After the answer that a trunk is removed, no report of
    an earlier call is counted.
    """

    def __init__(self, app: ASGIApp, drain: Callable[[], None]) -> None:
        """`drain`: reads the reports of the edge that wait."""
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._drain()
            await send(message)

        self._drain()
        await self._app(scope, receive, answer)


class Settled:
    """Answers an order when Kamailio decides the next call by it."""

    def __init__(self, app: ASGIApp, directory: Directory) -> None:
        self._app = app
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3.0)."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        is_settled = True

        async def answer(message: Message) -> None:
            nonlocal is_settled
            if message["type"] == "http.response.start" and message["status"] < 400:
                try:
                    await settle(self._directory)
                except StoreError as error:
                    is_settled = False
                    refused = response(503, ProblemCode.STORE_UNAVAILABLE, str(error))
                    await refused(scope, receive, send)
            if is_settled:
                await send(message)

        await self._app(scope, receive, answer)


async def refuse_unknown_query(request: Request) -> None:
    """Refuse a query with a key that the path does not have.

    Raises: RequestValidationError.
    """
    if not request.url.query:
        return
    known = _query_keys(request.scope["route"].dependant.query_params)
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        right = f"write one of {', '.join(sorted(known))}" if known else "this path has no query"
        raise RequestValidationError(
            [
                {"loc": ("query", key), "msg": f"unknown key; {right}", "type": "extra_forbidden"}
                for key in unknown
            ]
        )


def _query_keys(parameters: Collection[Any]) -> set[str]:
    keys: set[str] = set()
    for one in parameters:
        kind = one.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= kind.model_fields.keys()
        else:
            keys.add(one.alias)
    return keys


def _is_link(headers: Headers) -> bool:
    """Return whether no page of another site reads this. A link to it there is permitted.

    Such a page sees no answer, but it could hold all places of the stream.
    """
    own = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    is_page = headers.get("sec-fetch-dest", "document") == "document"
    return own or (headers.get("sec-fetch-mode") == "navigate" and is_page)


def _host(headers: Headers) -> str:
    """Return the Host without its port. An IPv6 address keeps its brackets."""
    host = headers.get("host", "")
    name, bracket, _ = host.partition("]")
    return f"{name}]" if bracket else host.partition(":")[0]
