"""The HTTP API: what the agent knows, in the glossary's names; bound to loopback.

No secret is in any of these models. A web page that the operator's browser shows must not reach it
by a name of its own either: requests with a foreign Host are refused. Nor may such a page make it
do something: a browser says with `Origin` whose page sends a POST, and only our own is obeyed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import AfterValidator, BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from whence.agent.config.models import ALL_HEADERS_LIMIT
from whence.agent.monitoring.conflicts import Clashes
from whence.agent.provisioning.reload import Reloaded
from whence.agent.registration.status import Standings, Trunk
from whence.core.identification import conflicts, number_headers
from whence.core.identification.address import Source
from whence.core.identification.against import against
from whence.core.identification.explain import Lack, Nearest, nearest
from whence.core.identification.identify import (
    Compared,
    Identified,
    Reason,
    Refused,
    Request,
    Rule,
    identify,
)
from whence.core.registration.history import EventKind
from whence.core.registration.keepalive import KeepAlive
from whence.core.registration.machine import Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.uri import Uri
from whence.errors import (
    ConfigError,
    DisabledTrunkError,
    LocationError,
    StoreError,
    UnknownTrunkError,
    WhenceError,
)
from whence.ipc.decisions import shown
from whence.store.directory import Directory

STATUSES: Mapping[type[WhenceError], int] = {
    UnknownTrunkError: 404,
    DisabledTrunkError: 409,
    StoreError: 503,
    LocationError: 503,
}
"""The exception of a path → the status of the answer; its message is the detail."""


class KeepAliveView(BaseModel):
    """What the OPTIONS to the server that granted come to."""

    missed: int = Field(description="how many in a row found no answer")
    answered_at: float | None
    last_status: int | None = Field(description="the last answer")
    next_at: float = Field(description="when the next one is due")


class TrunkView(BaseModel):
    """One trunk and its registration. Instants are seconds since the epoch."""

    id: str
    state: State
    since: float = Field(description="when this state was entered; no refresh leaves it")
    registrar: str | None = Field(description="the address that granted last: transport:ip:port")
    granted_s: int | None = Field(description="for how long it was granted last")
    expires_at: float | None = Field(description="when what is granted ends")
    next_at: float | None = Field(description="when the next REGISTER is due")
    last_status: int | None = Field(description="the last answer; null: none came")
    last_answer: str | None = Field(description="the same in words: status and reason phrase")
    reason: RegistrationReason | None = Field(
        description="why it is in this state, as a code; null: nothing has come of it yet"
    )
    message: str = Field(description="why it is in this state, for people")
    failures: int = Field(description="failures of the same kind in a row")
    held: bool = Field(description="whether the operator took it back or parked it")
    keepalive: KeepAliveView | None = Field(description="null: it has none, or is not registered")
    aor: str
    target: str
    numbers: list[str]
    unmatched: Literal["accept", "refuse"] = Field(
        description="what becomes of a call that names no trunk"
    )
    fallback: bool = Field(description="whether it takes what could be several trunks' call")
    enabled: bool


class EventView(BaseModel):
    """Something that happened to a trunk."""

    at: float
    what: EventKind = Field(description="a state that it entered, or something else")
    status: int | None = Field(description="the answer that it came of; null: of none")
    reason: RegistrationReason | None = Field(
        description="why the registration is in its state, as a code; null: it is not about that"
    )
    message: str = Field(description="the same for people")


class TrunkHistory(TrunkView):
    """One trunk, and what happened to it."""

    events: list[EventView] = Field(description="the last 50, the oldest first")


class AddressView(BaseModel):
    """An address from which a trunk's calls may come."""

    trunk: str
    ip: str = Field(description="an ip, or a network: 198.51.100.0/24")
    port: int | None = Field(description="the port that it is known by; null: any")
    exact: bool = Field(description="whether no other port is admitted")
    transport: str = Field(description="the weakest over which calls are admitted")
    origin: str = Field(description="learned, resolved or pinned")
    ground: str = Field(
        description="why it was learned from there: asked, dns, networks, rspauth or any"
    )
    note: str = Field(description="why it was pinned, in the operator's words")
    in_file: bool = Field(description="whether it is pinned in the file")
    learned_at: float = Field(description="since when it is there")
    expires_at: float | None


class ClashView(BaseModel):
    """Trunks at one address that no rule could tell apart."""

    kind: conflicts.ClashKind
    trunks: list[str]
    addresses: list[str] = Field(description="where they are together: an ip, or ip:port")
    shared: list[str] = Field(description="the numbers, or the AoR user, that they share")
    message: str = Field(description="what is wrong")
    remedy: str = Field(description="what would tell them apart")


def _is_source(text: str) -> str:
    Source.parse(text)
    return text


def _is_uri(text: str) -> str:
    if Uri.of_header(text) is None:
        raise ValueError(f'"{text}" is not a SIP URI; write "sip:+442071234567@edge.example"')
    return text


def _is_header(text: str) -> str:
    name, colon, _ = text.partition(":")
    if not name.strip() or not colon or not text.isprintable():
        raise ValueError(f'"{text}" is not a header; write "Diversion: <sip:+442071234567@h>"')
    return text


UriText = Annotated[str, AfterValidator(_is_uri)]


class Question(BaseModel):
    """A made-up request: whence would it come?"""

    source: Annotated[str, AfterValidator(_is_source)] = Field(examples=["udp:203.0.113.7:5060"])
    ruri: UriText = Field(examples=["sip:+442071234567@edge.example"])
    to: UriText | None = None
    p_called_party_id: UriText | None = None
    headers: list[Annotated[str, AfterValidator(_is_header)]] = Field(
        default=[],
        max_length=ALL_HEADERS_LIMIT,
        description="further headers, as a trunk's number_headers names them",
        examples=[["Diversion: <sip:+442071234567@provider.example>"]],
    )

    def request(self) -> Request:
        """Make of it what the edge makes of a real one."""
        uris = [
            Uri.of_header(text) if text is not None else None
            for text in (self.ruri, self.to, self.p_called_party_id)
        ]
        ruri = uris[0]
        if ruri is None:  # the validators have seen to that
            raise ValueError(self.ruri)
        headers = [header.partition(":") for header in self.headers]
        text = number_headers.text_of((name.strip().lower(), value) for name, _, value in headers)
        return Request(Source.parse(self.source), ruri, uris[1], uris[2], number_headers.read(text))


class StepView(BaseModel):
    """One rule applied."""

    rule: Rule
    compared: Compared
    values: list[str] = Field(description="what the request has of it: a number, tokens, a port")
    place: str | None = Field(description="where: request-uri, or a header in small letters")
    message: str = Field(description="what was compared, in words")
    left: list[str] = Field(description="the trunks that fit")
    against: list[str] = Field(description="what of each of them it was compared with, in order")


class MissingView(BaseModel):
    """One thing that was missing for a request to be a trunk's."""

    code: Lack
    message: str


class NearestView(BaseModel):
    """Who came nearest, where a request is given to no trunk."""

    trunk: str | None
    missing: list[MissingView] = Field(description="what was missing for the request to be its own")


class Explanation(BaseModel):
    """The decision on a request, and each step to it."""

    decision: Literal["identified", "refused", "unknown"]
    trunk: str | None
    reason: Rule | Reason = Field(description="the rule, or why it is given to no trunk")
    message: str = Field(description="the reason in words")
    candidates: list[str]
    steps: list[StepView]
    nearest: NearestView | None = Field(
        description="of what is unknown or refused; null: no trunk has to do with it"
    )


class ReloadedView(BaseModel):
    """What a new file changed."""

    added: list[str] = Field(description="trunks that are registered now")
    removed: list[str] = Field(description="trunks that are taken back")
    changed: list[str] = Field(description="trunks of which a key changed")
    users_changed: list[str] = Field(description="users that are new, gone or other than before")
    registration_changed: bool = Field(
        description="whether registration changed, but for answer: it counts now"
    )
    needs_restart: bool = Field(
        description="whether edge, agent or registration answer changed: they count at the next "
        "start; whoever starts Kamailio himself writes its configuration anew"
    )


class Health(BaseModel):
    """Whether calls can be identified and registrations kept."""

    kamailio: bool
    directory: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API tells about."""

    host: str
    """Our own address, by which alone the API is asked."""
    directory: Directory
    standings: Standings
    keepalive: Callable[[str], KeepAlive | None]
    health: Callable[[], Awaitable[Health]]
    reload: Callable[[], Reloaded]
    """ConfigError or StoreError where it changed nothing."""
    clashes: Clashes
    metrics: CollectorRegistry


def make(parts: Parts, clock: Callable[[], float] = time.time) -> FastAPI:
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
                in_file=address.in_file,
                learned_at=address.learned_at,
                expires_at=address.expires_at,
            )
            for trunk_id, address in parts.directory.addresses()
            if address.live(now)
        ]

    @api.get("/v1/clashes")
    async def clashes() -> list[ClashView]:
        """Trunks at one address that no rule could tell apart, and what would."""
        return [
            ClashView(
                kind=found.kind,
                trunks=list(found.trunks),
                addresses=list(found.addresses),
                shared=list(found.shared),
                message=found.message,
                remedy=found.remedy,
            )
            for found in await parts.clashes.look()
        ]

    @api.post("/v1/explain")
    async def explain(question: Question) -> Explanation:
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


def trunk_view(trunk: Trunk, registration: Registration, keepalive: KeepAlive | None) -> TrunkView:
    """Tell of a trunk what all may know."""
    r = registration
    return TrunkView(
        id=trunk.id,
        state=r.state,
        since=r.since,
        registrar=str(r.registrar) if r.registrar else None,
        granted_s=r.granted_s,
        expires_at=r.expires_at,
        next_at=r.next_at,
        last_status=r.last_status,
        last_answer=f"{r.last_status} {r.last_phrase}".strip() if r.last_status else None,
        reason=r.reason,
        message=r.message,
        failures=r.failures,
        held=r.held,
        keepalive=KeepAliveView(**asdict(keepalive)) if keepalive else None,
        aor=trunk.aor,
        target=trunk.target,
        numbers=list(trunk.numbers),
        unmatched=trunk.unmatched,
        fallback=trunk.fallback,
        enabled=trunk.enabled,
    )


def explanation(directory: Directory, request: Request, at: float) -> Explanation:
    """Tell how a request would be decided and, where it is given to nobody, who came nearest.

    `at`: now, or an instant before: then by what stood in the directory at that time, as far as it
    still tells. What came from outside is `shown`.
    """
    evidence = directory.evidence(request, at).as_of(at)
    decision = identify(request, evidence, at)
    near: Nearest | None = None
    if not isinstance(decision, Identified):
        neighbours = [one.as_of(at) for one in directory.neighbours(request, evidence)]
        near = nearest(request, decision, neighbours, at)
    kinds: dict[type[Any], Literal["identified", "refused"]] = {
        Identified: "identified",
        Refused: "refused",
    }
    return Explanation(
        decision=kinds.get(type(decision), "unknown"),
        trunk=decision.trunk.id if isinstance(decision, Identified) else None,
        reason=decision.reason,
        message=decision.message,
        candidates=list(decision.candidates) if isinstance(decision, Refused) else [],
        steps=[
            StepView(
                rule=step.rule,
                compared=step.compared,
                values=[shown(str(value)) for value in step.values],
                place=step.place,
                message=shown(step.message),
                left=list(step.left),
                against=[shown(one) for one in against(step, request.source, evidence, at)],
            )
            for step in decision.steps
        ],
        nearest=_nearest_view(near) if near else None,
    )


def _nearest_view(near: Nearest) -> NearestView:
    missing = [MissingView(code=one.code, message=shown(one.message)) for one in near.missing]
    return NearestView(trunk=near.trunk_id, missing=missing)
