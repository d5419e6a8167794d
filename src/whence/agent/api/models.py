"""The bodies of the API's requests and answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from whence.agent.api.instants import Instant
from whence.agent.api.lists import ListQuery, Page
from whence.agent.config.sip_headers import ALL_HEADERS_LIMIT
from whence.agent.registration.status import TrunkInfo
from whence.core.identification import conflicts, number_headers
from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.request import Request
from whence.core.registration.history import EventKind
from whence.core.registration.keepalive import KeepAlive
from whence.core.registration.learning import Ground
from whence.core.registration.model import Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import Uri


class KeepAliveView(BaseModel):
    """The result of the keep-alive OPTIONS to the server that granted."""

    missed: int = Field(description="how many in a row got no answer")
    answered_at: Instant | None
    last_status: int | None = Field(description="the last answer")
    next_at: Instant = Field(description="when the next one is due")


class TrunkView(BaseModel):
    """One trunk and its registration."""

    id: str
    state: State
    since: Instant = Field(
        description="when the trunk entered this state; a refresh does not leave it"
    )
    registrar: str | None = Field(description="the address that granted last: transport:ip:port")
    granted_s: int | None = Field(description="for how long it was granted last")
    expires_at: Instant | None = Field(description="when the grant ends")
    next_at: Instant | None = Field(description="when the next REGISTER is due")
    last_status: int | None = Field(description="the last answer; null: none arrived")
    last_answer: str | None = Field(description="the same in words: status and reason phrase")
    reason: RegistrationReason | None = Field(
        description="why it is in this state, as a code; null: no attempt has ended yet"
    )
    message: str = Field(description="why it is in this state, for people")
    failures: int = Field(description="failures of the same kind in a row")
    suspended: bool = Field(description="whether the operator unregistered it or paused it")
    keepalive: KeepAliveView | None = Field(description="null: no keep-alive, or not registered")
    aor: str
    target: str
    numbers: list[str]
    unmatched: Literal["accept", "refuse"] = Field(
        description="how the edge decides on a call that names no trunk"
    )
    fallback: bool = Field(description="whether it gets calls that could belong to several trunks")
    enabled: bool


class TrunkList(Page[TrunkView]):
    """A page of the trunks, by id."""


class TrunkQuery(ListQuery):
    """Which trunks are listed."""

    state: State | None = Field(default=None, description="only trunks in this state")
    enabled: bool | None = Field(default=None, description="only enabled, or only disabled trunks")
    suspended: bool | None = Field(default=None, description="only suspended trunks, or the others")

    def admits(self, trunk: TrunkInfo, registration: Registration) -> bool:
        """Return whether a trunk is listed."""
        return (
            self.state in (None, registration.state)
            and self.enabled in (None, trunk.enabled)
            and self.suspended in (None, registration.suspended)
        )


class EventView(BaseModel):
    """An event in the history of a trunk."""

    at: Instant
    what: EventKind = Field(description="a state that the trunk entered, or another event")
    status: int | None = Field(
        description="the status of the answer that caused it; null: no answer did"
    )
    reason: RegistrationReason | None = Field(
        description="why the registration is in its state, as a code; null: no state was entered"
    )
    message: str = Field(description="the event for people")


class TrunkHistory(TrunkView):
    """One trunk with its history."""

    events: list[EventView] = Field(description="the last 50, the oldest first")


class AddressView(BaseModel):
    """An address from which a trunk's calls may come."""

    trunk: str
    ip: str = Field(description="an ip, or a network: 198.51.100.0/24")
    port: int | None = Field(description="the port of the address; null: any")
    exact: bool = Field(description="whether no other port is admitted")
    transport: Transport = Field(description="the weakest transport that it admits")
    origin: Origin
    ground: Ground | None = Field(
        description="why it was learned from there; null where it was not learned"
    )
    note: str = Field(description="why it was pinned, in the operator's words")
    managed_by: ManagedBy | None = Field(
        description="what pinned it: file or allow; null where it is not pinned"
    )
    learned_at: Instant = Field(description="when it was stored")
    expires_at: Instant | None

    @classmethod
    def of(cls, trunk_id: str, address: Address) -> AddressView:
        """Return the public view of a trunk's address."""
        return cls(
            trunk=trunk_id,
            ip=str(address.ip),
            port=address.port,
            exact=address.exact,
            transport=address.transport,
            origin=address.origin,
            ground=Ground(address.ground) if address.ground else None,
            note=address.note,
            managed_by=ManagedBy(address.managed_by) if address.managed_by else None,
            learned_at=address.learned_at,
            expires_at=address.expires_at,
        )


class AddressList(Page[AddressView]):
    """A page of the addresses that admit calls, by trunk."""


class AddressQuery(ListQuery):
    """Which addresses are listed."""

    trunk: str | None = Field(default=None, description="only those of this trunk")
    origin: Origin | None = Field(default=None, description="only those with this origin")

    def admits(self, trunk_id: str, address: Address) -> bool:
        """Return whether an address is listed."""
        return self.trunk in (None, trunk_id) and self.origin in (None, address.origin)


class ConflictView(BaseModel):
    """Trunks at one address that no rule can distinguish."""

    kind: conflicts.ConflictKind
    trunks: list[str]
    addresses: list[str] = Field(description="the addresses that they share: an ip, or ip:port")
    shared: list[str] = Field(description="the numbers, or the AoR user, that they share")
    message: str = Field(description="what is wrong")
    remedy: str = Field(description="how to distinguish them")

    @classmethod
    def of(cls, found: conflicts.Conflict) -> ConflictView:
        """Return the public view of a conflict."""
        return cls(
            kind=found.kind,
            trunks=list(found.trunks),
            addresses=list(found.addresses),
            shared=list(found.shared),
            message=found.message,
            remedy=found.remedy,
        )


class ConflictList(Page[ConflictView]):
    """A page of the conflicts."""


def _is_source(text: str) -> str:
    TransportAddress.parse(text)
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


HeaderText = Annotated[str, AfterValidator(_is_header)]
UriText = Annotated[str, AfterValidator(_is_uri)]


class ExplainRequest(BaseModel):
    """A made-up request, which the edge's rules decide on."""

    source: Annotated[str, AfterValidator(_is_source)] = Field(examples=["udp:203.0.113.7:5060"])
    ruri: UriText = Field(examples=["sip:+442071234567@edge.example"])
    to: UriText | None = None
    p_called_party_id: UriText | None = None
    headers: list[HeaderText] = Field(
        default=[],
        max_length=ALL_HEADERS_LIMIT,
        description="further headers, as a trunk's number_headers names them",
        examples=[["Diversion: <sip:+442071234567@provider.example>"]],
    )

    def request(self) -> Request:
        """Return the request as the edge reads a real one."""
        uris = [
            Uri.of_header(text) if text is not None else None
            for text in (self.ruri, self.to, self.p_called_party_id)
        ]
        ruri = uris[0]
        if ruri is None:  # the validators exclude it
            raise ValueError(self.ruri)
        headers = [header.partition(":") for header in self.headers]
        text = number_headers.text_of((name.strip().lower(), value) for name, _, value in headers)
        return Request(
            TransportAddress.parse(self.source), ruri, uris[1], uris[2], number_headers.read(text)
        )


class ReloadedView(BaseModel):
    """The changes of a reload."""

    added: list[str] = Field(description="trunks that are registered now")
    removed: list[str] = Field(description="trunks that are unregistered")
    changed: list[str] = Field(description="trunks of which a key changed")
    users_changed: list[str] = Field(description="users that were added, removed or changed")
    routing_changed: bool = Field(
        description="whether [[route]] or [outbound] changed: they are in force now"
    )
    registration_changed: bool = Field(
        description="whether [registration] changed, response_timeout excepted: it is in force now"
    )
    needs_restart: bool = Field(
        description="whether edge, agent or registration response_timeout changed, or users may "
        "call numbers only now: that is in force at the next start; without whence run, write "
        "Kamailio's configuration again, too"
    )


class VersionView(BaseModel):
    """The versions of Whence and of this API."""

    whence: str = Field(description="the version of the installed Whence")
    api: str = Field(description="the major version of the API, as in its paths")


class Health(BaseModel):
    """Whether calls can be identified and registrations kept."""

    kamailio: bool = Field(description="whether Kamailio answers")
    directory: bool = Field(description="whether the last write to the directory succeeded")
    disk: bool = Field(description="whether the disk of the directory has space left")


def trunk_view(
    trunk: TrunkInfo, registration: Registration, keepalive: KeepAlive | None
) -> TrunkView:
    """Return the public view of a trunk."""
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
        suspended=r.suspended,
        keepalive=KeepAliveView(**asdict(keepalive)) if keepalive else None,
        aor=trunk.aor,
        target=trunk.target,
        numbers=list(trunk.numbers),
        unmatched=trunk.unmatched,
        fallback=trunk.fallback,
        enabled=trunk.enabled,
    )
