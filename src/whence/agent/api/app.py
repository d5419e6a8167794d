"""The HTTP API. Its names are those of the glossary. It listens on loopback.

No model contains a secret. The API refuses a request with a foreign Host. So no web page can reach
it under a name of its own. A browser writes the site of the page into `Origin`. The API refuses a
POST with a foreign one, so that no page of another site can change anything.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass

from fastapi import FastAPI, HTTPException, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from whence.agent.api.models import (
    AddressView,
    ConflictView,
    EventView,
    ExplainRequest,
    Health,
    ReloadedView,
    TrunkHistory,
    TrunkView,
    trunk_view,
)
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.explain import Explanation, explanation
from whence.agent.provisioning.reload import Reloaded
from whence.agent.registration.status import RegistrationStatus
from whence.agent.runtime.settling import settle
from whence.core.registration.keepalive import KeepAlive
from whence.errors import (
    ConfigError,
    DisabledTrunkError,
    LocationError,
    StoreError,
    UnknownTrunkError,
    UnknownUserError,
    WhenceError,
)
from whence.store.directory import Directory

Api = FastAPI
"""The type of the API. The modules of this package add paths to it."""

STATUSES: Mapping[type[WhenceError], int] = {
    UnknownTrunkError: 404,
    UnknownUserError: 404,
    DisabledTrunkError: 409,
    StoreError: 503,
    LocationError: 503,
}
"""An exception → the status of the answer. The exception's message is the detail."""


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The parts of the agent that the API reads."""

    host: str
    """Our own address: beside the loopback names, the only Host that the API accepts."""
    directory: Directory
    registrations: RegistrationStatus
    keepalive: Callable[[str], KeepAlive | None]
    health: Callable[[], Awaitable[Health]]
    reload: Callable[[], Reloaded]
    """Raises: ConfigError or StoreError; then it changed nothing."""
    conflicts: ConflictMonitor
    metrics: CollectorRegistry
    drain: Callable[[], None]
    """Reads the reports of the edge that wait."""


class _Drained:
    """Drains the reports before each request is handled, and before each answer begins.

    So an answer shows all calls before it. After the answer that a trunk is removed, no report of
    an earlier call is counted.
    """

    def __init__(self, app: ASGIApp, drain: Callable[[], None]) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                self._drain()
            await send(message)

        self._drain()
        await self._app(scope, receive, answer)


class _Settled:
    """Answers an order when Kamailio decides the next call by it."""

    def __init__(self, app: ASGIApp, directory: Directory) -> None:
        self._app = app
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        is_settled = True

        async def answer(message: AsgiMessage) -> None:
            nonlocal is_settled
            if message["type"] == "http.response.start" and message["status"] < 400:
                try:
                    await settle(self._directory)
                except StoreError as error:
                    is_settled = False
                    await JSONResponse({"detail": str(error)}, 503)(scope, receive, send)
            if is_settled:
                await send(message)

        await self._app(scope, receive, answer)


def make(parts: ApiParts, clock: Callable[[], float] = time.time) -> Api:
    """Build the API over the agent's parts. It maps the exceptions of STATUSES to HTTP."""
    api = FastAPI(title="Whence", description="Whence does this call come?", version="1")
    own = f"[{parts.host}]" if ":" in parts.host else parts.host
    api.add_middleware(_Settled, directory=parts.directory)
    api.add_middleware(_Drained, drain=parts.drain)
    api.add_middleware(TrustedHostMiddleware, allowed_hosts=[own, "localhost", "127.0.0.1"])

    @api.middleware("http")
    async def same_site_only(request: HttpRequest, call_next: RequestResponseEndpoint) -> Response:
        if request.method not in ("GET", "HEAD") and not _same_site(request.headers):
            body = {"detail": "a web page of another site must not ask for this"}
            return JSONResponse(body, 403)
        return await call_next(request)

    async def refuse(_: HttpRequest, error: Exception) -> Response:
        status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
        return JSONResponse({"detail": str(error)}, status)

    for kind in STATUSES:
        api.add_exception_handler(kind, refuse)

    @api.get("/healthz", responses={503: {"model": Health}})
    async def healthz(response: Response) -> Health:
        """Answer 200 when Kamailio answers, the directory is written, and its disk has space.

        Answer 503 otherwise.
        """
        health = await parts.health()
        if not (health.kamailio and health.directory and health.disk):
            response.status_code = 503
        return health

    @api.get("/v1/trunks")
    async def trunks() -> list[TrunkView]:
        """List every trunk with its registration."""
        return [
            trunk_view(trunk, registration, parts.keepalive(trunk.id))
            for trunk, registration in parts.registrations
        ]

    @api.get("/v1/trunks/{trunk_id}", responses={404: {"description": "no such trunk"}})
    async def trunk(trunk_id: str) -> TrunkHistory:
        """Return one trunk with its registration and history."""
        view = trunk_view(*parts.registrations[trunk_id], parts.keepalive(trunk_id))
        events = [
            EventView(
                at=at,
                what=event.what,
                status=event.status,
                reason=event.reason,
                message=event.message,
            )
            for at, event in parts.directory.events(trunk_id)
        ]
        return TrunkHistory(**view.model_dump(), events=events)

    @api.get("/v1/addresses")
    async def addresses() -> list[AddressView]:
        """List every address that admits calls now."""
        now = clock()
        return [
            AddressView(
                trunk=trunk_id,
                ip=str(address.ip),
                port=address.port,
                exact=address.exact,
                transport=address.transport,
                origin=address.origin,
                ground=address.ground,
                note=address.note,
                managed_by=address.managed_by,
                learned_at=address.learned_at,
                expires_at=address.expires_at,
            )
            for trunk_id, address in parts.directory.addresses()
            if address.live(now)
        ]

    @api.get("/v1/conflicts")
    async def conflicts() -> list[ConflictView]:
        """List the trunks at one address that no rule can distinguish, and a remedy for each."""
        return [
            ConflictView(
                kind=found.kind,
                trunks=list(found.trunks),
                addresses=list(found.addresses),
                shared=list(found.shared),
                message=found.message,
                remedy=found.remedy,
            )
            for found in await parts.conflicts.search()
        ]

    @api.post("/v1/explain")
    async def explain(body: ExplainRequest) -> Explanation:
        """Explain how the edge would decide on a request."""
        return explanation(parts.directory, body.request(), clock())

    @api.post("/v1/reload")
    async def reload() -> ReloadedView:
        """Read the file again. A 422 lists all its faults; then nothing has changed."""
        try:
            change = parts.reload()
        except ConfigError as error:
            faults = [{"loc": ["file"], "msg": fault} for fault in error.faults]
            raise HTTPException(422, faults) from None
        return ReloadedView(**asdict(change))

    @api.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(parts.metrics), media_type=CONTENT_TYPE_LATEST)

    return api


def _same_site(headers: Mapping[str, str]) -> bool:
    """Return whether no browser sent the request, or a page of ours did. The Host is verified."""
    origin = headers.get("origin")
    from_page = headers.get("sec-fetch-site", "none")
    return origin in (None, f"http://{headers.get('host')}") and from_page in (
        "none",
        "same-origin",
    )
