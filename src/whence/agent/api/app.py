"""The HTTP API. Its names are those of the glossary.

No model contains a secret. `requests.py` has what each request passes first, `problems.py` the form
of errors, and `lists.py` that of lists.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from whence.agent.api import audit
from whence.agent.api.lists import ListQuery, page
from whence.agent.api.models import (
    AddressList,
    AddressQuery,
    AddressView,
    ConflictList,
    ConflictView,
    EventView,
    ExplainRequest,
    Health,
    ReloadedView,
    TrunkHistory,
    TrunkList,
    TrunkQuery,
    VersionView,
    trunk_view,
)
from whence.agent.api.problems import COMMON, Problem, add_handlers, responses
from whence.agent.api.requests import (
    Drained,
    Head,
    OwnSiteOnly,
    Settled,
    Unframed,
    refuse_unknown_query,
)
from whence.agent.api.security import ApiAccess, Audited, Authorized, Bounded, permit
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.explain import Explanation, explanation
from whence.agent.provisioning.reload import Reloaded
from whence.agent.registration.status import RegistrationStatus
from whence.core.identification.address import Address
from whence.core.identification.conflicts import Conflict
from whence.core.registration.keepalive import KeepAlive
from whence.store.directory import Directory
from whence.version import version

Api = FastAPI
"""The type of the API. The modules of this package add paths to it."""

TAGS = {
    "trunks": "Trunks, their registrations, and orders for them",
    "addresses": "The addresses that admit calls, and conflicts of trunks at one address",
    "calls": "Decisions on calls, and their explanation",
    "unknown sources": "Sources that no address admits, and orders to allow one",
    "alarms": "What needs the operator's attention",
    "users": "Local users and their phones",
    "routes": "Rules for numbers that users call",
    "agent": "The agent itself: health, version, settings file",
}
"""Tag → its description, in the order of the documentation."""


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The parts of the agent that the API reads."""

    hosts: Collection[str]
    """Beside the loopback names, the only Hosts that the API accepts."""
    access: ApiAccess
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


def make(parts: ApiParts, clock: Callable[[], float] = time.time) -> Api:
    """Build the API over the agent's parts."""
    api = _Documented(
        title="Whence",
        description="Whence does this call come?",
        version="1",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "the agent that serves this description"}],
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        responses=COMMON,
        dependencies=[Depends(permit), Depends(refuse_unknown_query)],
        generate_unique_id_function=_operation_id,
    )
    access = parts.access
    api.add_middleware(Audited, access=access)
    api.add_middleware(Settled, directory=parts.directory)
    api.add_middleware(Drained, drain=parts.drain)
    api.add_middleware(Bounded)
    api.add_middleware(Authorized, access=access)
    hosts = {*parts.hosts, "localhost", "127.0.0.1", "[::1]"}
    api.add_middleware(OwnSiteOnly, hosts=hosts, behind_proxy=access.behind_proxy)
    api.add_middleware(Unframed)
    api.add_middleware(Head)
    add_handlers(api)
    _add_agent(api, parts)
    _add_trunks(api, parts)
    _add_addresses(api, parts, clock)
    audit.add(api, access.audit)

    @api.post("/v1/explain", tags=["calls"])
    async def explain(body: ExplainRequest) -> Explanation:
        """Explain how the edge would decide on a request."""
        return explanation(parts.directory, body.request(), clock())

    return api


class _Documented(FastAPI):
    """FastAPI whose description has the form of errors, which no path names as its model."""

    def openapi(self) -> dict[str, Any]:
        """Return the description of all paths; it is made once."""
        if self.openapi_schema is None:
            described = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                license_info=self.license_info,
                tags=self.openapi_tags,
                servers=self.servers,
                routes=self.routes,
            )
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            own = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= own.pop("$defs") | {"Problem": own}
            described["components"]["securitySchemes"] = {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a token of `whence token create`; needed beyond loopback",
                }
            }
            described["security"] = [{"token": []}, {}]
            self.openapi_schema = described
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


def _add_agent(api: Api, parts: ApiParts) -> None:
    @api.get("/healthz", tags=["agent"], responses={503: {"model": Health}})
    async def get_health(response: Response) -> Health:
        """Answer 200 when Kamailio answers, the directory is written, and its disk has space.

        Answer 503 otherwise.
        """
        health = await parts.health()
        if not (health.kamailio and health.directory and health.disk):
            response.status_code = 503
        return health

    @api.get("/v1/version", tags=["agent"])
    async def get_version() -> VersionView:
        """Return the version of Whence and of this API."""
        return VersionView(whence=version(), api="1")

    @api.post("/v1/reload", tags=["agent"])
    async def reload() -> ReloadedView:
        """Read the file again. A 422 lists all its faults; then nothing has changed."""
        return ReloadedView(**asdict(parts.reload()))

    @api.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(parts.metrics), media_type=CONTENT_TYPE_LATEST)


def _add_trunks(api: Api, parts: ApiParts) -> None:
    @api.get("/v1/trunks", tags=["trunks"])
    async def list_trunks(query: Annotated[TrunkQuery, Query()]) -> TrunkList:
        """List the trunks with their registrations, by id."""
        return page(
            TrunkList,
            (one for one in parts.registrations if query.admits(*one)),
            query,
            key=lambda one: one[0].id,
            view=lambda one: trunk_view(*one, parts.keepalive(one[0].id)),
        )

    @api.get("/v1/trunks/{id}", tags=["trunks"], responses=responses(_404="no such trunk"))
    async def get_trunk(trunk_id: Annotated[str, Path(alias="id")]) -> TrunkHistory:
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


def _add_addresses(api: Api, parts: ApiParts, clock: Callable[[], float]) -> None:
    @api.get("/v1/addresses", tags=["addresses"])
    async def list_addresses(query: Annotated[AddressQuery, Query()]) -> AddressList:
        """List the addresses that admit calls now, by trunk."""
        now = clock()
        return page(
            AddressList,
            (one for one in parts.directory.addresses() if one[1].live(now) and query.admits(*one)),
            query,
            key=_address_key,
            view=lambda one: AddressView.of(*one),
        )

    @api.get("/v1/conflicts", tags=["addresses"])
    async def list_conflicts(query: Annotated[ListQuery, Query()]) -> ConflictList:
        """List the trunks at one address that no rule can distinguish, and a remedy for each."""
        return page(
            ConflictList,
            await parts.conflicts.search(),
            query,
            key=_conflict_key,
            view=ConflictView.of,
        )


def _address_key(one: tuple[str, Address]) -> str:
    trunk_id, address = one
    place = (address.ip, address.port or 0, address.transport, address.origin, address.exact)
    return " ".join((trunk_id, *map(str, place)))


def _conflict_key(found: Conflict) -> str:
    return " ".join((*found.trunks, found.kind, *found.addresses, *found.shared))[:1000]
