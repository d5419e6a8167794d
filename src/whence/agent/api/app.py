"""The HTTP API: what the agent knows, in the glossary's names; bound to loopback.

No secret is in any of these models. A web page that the operator's browser shows must not reach it
by a name of its own either: requests with a foreign Host are refused. Nor may such a page make it
do something: a browser says with `Origin` whose page sends a POST, and only our own is obeyed.
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
from whence.core.registration.keepalive import KeepAlive
from whence.errors import (
    ConfigError,
    DisabledTrunkError,
    LocationError,
    StoreError,
    UnknownTrunkError,
    WhenceError,
)
from whence.store.directory import Directory

STATUSES: Mapping[type[WhenceError], int] = {
    UnknownTrunkError: 404,
    DisabledTrunkError: 409,
    StoreError: 503,
    LocationError: 503,
}
"""The exception of a path → the status of the answer; its message is the detail."""


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API tells about."""

    host: str
    """Our own address, by which alone the API is asked."""
    directory: Directory
    standings: RegistrationStatus
    keepalive: Callable[[str], KeepAlive | None]
    health: Callable[[], Awaitable[Health]]
    reload: Callable[[], Reloaded]
    """ConfigError or StoreError where it changed nothing."""
    conflicts: ConflictMonitor
    metrics: CollectorRegistry


def make(parts: ApiParts, clock: Callable[[], float] = time.time) -> FastAPI:
    """Build the API over the agent's parts. It answers the exceptions of STATUSES by these."""
    api = FastAPI(title="Whence", description="Whence does this call come?", version="1")
    own = f"[{parts.host}]" if ":" in parts.host else parts.host
    api.add_middleware(TrustedHostMiddleware, allowed_hosts=[own, "localhost", "127.0.0.1"])

    @api.middleware("http")
    async def only_our_own_pages(request: HttpRequest, go_on: RequestResponseEndpoint) -> Response:
        if request.method not in ("GET", "HEAD") and not _same_site(request.headers):
            said = {"detail": "a web page of another site must not ask for this"}
            return JSONResponse(said, 403)
        return await go_on(request)

    async def refuse(_: HttpRequest, error: Exception) -> Response:
        status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
        return JSONResponse({"detail": str(error)}, status)

    for kind in STATUSES:
        api.add_exception_handler(kind, refuse)

    @api.get("/healthz", responses={503: {"model": Health}})
    async def healthz(response: Response) -> Health:
        """200 when Kamailio lives and the directory can be written; 503 otherwise."""
        health = await parts.health()
        if not (health.kamailio and health.directory):
            response.status_code = 503
        return health

    @api.get("/v1/trunks")
    async def trunks() -> list[TrunkView]:
        """Every trunk, and how its registration stands."""
        return [
            trunk_view(trunk, standing, parts.keepalive(trunk.id))
            for trunk, standing in parts.standings
        ]

    @api.get("/v1/trunks/{trunk_id}", responses={404: {"description": "no such trunk"}})
    async def trunk(trunk_id: str) -> TrunkHistory:
        """Give one trunk, how its registration stands, and what happened to it."""
        view = trunk_view(*parts.standings[trunk_id], parts.keepalive(trunk_id))
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
        """Every address from which calls are admitted now."""
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
        """Trunks at one address that no rule could tell apart, and what would."""
        return [
            ConflictView(
                kind=found.kind,
                trunks=list(found.trunks),
                addresses=list(found.addresses),
                shared=list(found.shared),
                message=found.message,
                remedy=found.remedy,
            )
            for found in await parts.conflicts.look()
        ]

    @api.post("/v1/explain")
    async def explain(question: ExplainRequest) -> Explanation:
        """Say how the edge would decide on a request, and why."""
        return explanation(parts.directory, question.request(), clock())

    @api.post("/v1/reload")
    async def reload() -> ReloadedView:
        """Read the file again. 422 tells all its faults, and nothing has changed."""
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
    """Whether no browser sent it, or one on a page of ours. The Host is known to be ours."""
    origin = headers.get("origin")
    from_page = headers.get("sec-fetch-site", "none")
    return origin in (None, f"http://{headers.get('host')}") and from_page in (
        "none",
        "same-origin",
    )
