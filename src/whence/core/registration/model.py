"""The registration of one trunk, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from whence.core.registration.backoff import Failure
from whence.core.registration.nonces import NonceCounts
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.contact import Contact
from whence.core.sip.digest import (
    AuthenticationInfo,
    Challenge,
    Credentials,
)
from whence.core.sip.transport_address import IP, TransportAddress
from whence.core.sip.uri import Uri


class State(StrEnum):
    """What a registration does now. Whether it is granted is independent: see `expires_at`."""

    NEW = "new"
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"
    AUTH_FAILED = "auth_failed"
    PAUSED = "paused"
    UNREGISTERING = "unregistering"
    UNREGISTERED = "unregistered"

    @property
    def under_way(self) -> bool:
        """Return whether a request is in flight, or was when the last agent ended."""
        return self is State.REGISTERING or self is State.UNREGISTERING


class AccountKey(NamedTuple):
    """For whom and at which server a trunk is registered. Another key is another registration."""

    aor: str
    """`sip:user@domain`"""
    server: str = ""
    """The URI of the outbound proxy, else of the registrar; empty where only `uac` has it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account at the registrar, our Contact, and the requested time."""

    aor: str
    """`sip:user@domain`"""
    contact: Uri
    """Ours, with the trunk's token as its user, or as its parameter `line`."""
    credentials: Credentials
    expires_s: int
    name: str = ""
    """The host of the registrar or outbound proxy in the settings. A TLS certificate must be for
    this name, also after DNS or a 3xx led to another host."""
    rewritten: bool = False
    """Whether the settings say that the provider rewrites Contacts."""
    request_port: int | None = None
    """The port in the Request-URI: the one that the operator wrote, or None."""
    headers: tuple[tuple[str, str], ...] = ()
    """Header name → value, which the operator adds to each request. User-Agent may be one."""
    former_contact: Uri | None = field(default=None, compare=False)
    """Our Contact at another address, which the registrar may still have. A REGISTER removes it."""

    @property
    def token(self) -> str:
        """The part of the Contact that is unique to this trunk."""
        return self.contact.params.get("line", self.contact.user)

    @property
    def request_uri(self) -> str:
        """`sip:domain`, or `sip:domain:port`: a REGISTER names no user (RFC 3261 10.2).

        A registrar on another port than 5060 may refuse a Request-URI without its port.
        """
        port = "" if self.request_port is None else f":{self.request_port}"
        return f"sip:{self.aor.rpartition('@')[2]}{port}"


class StatusClass(StrEnum):
    """What a final status means for an attempt to register."""

    SUCCESS = "2xx"
    REDIRECTION = "3xx"
    CHALLENGE = "401/407"
    INTERVAL_TOO_BRIEF = "423"
    SERVER_FAILURE = "408/430/5xx/6xx"
    """This server cannot serve now; another one may."""
    REFUSAL = "other 4xx"


class Reply(NamedTuple):
    """The parts of a final answer to a REGISTER that the rules use."""

    status: int
    reason: str
    cseq: int
    contacts: tuple[Contact, ...] = ()
    expires_s: int | None = None
    min_expires_s: int | None = None
    retry_after_s: int | None = None
    challenges: tuple[Challenge, ...] = ()
    infos: tuple[AuthenticationInfo, ...] = ()

    @property
    def status_class(self) -> StatusClass:
        """What the status means for the attempt to register."""
        match self.status:
            case 401 | 407:
                return StatusClass.CHALLENGE
            case 423:
                return StatusClass.INTERVAL_TOO_BRIEF
            case 408 | 430:
                return StatusClass.SERVER_FAILURE
            case status if status < 300:
                return StatusClass.SUCCESS
            case status if status < 400:
                return StatusClass.REDIRECTION
            case status if status < 500:
                return StatusClass.REFUSAL
            case _:
                return StatusClass.SERVER_FAILURE


RedirectKey = tuple[str, str, int | None, str]
"""Scheme, host, port and transport of a Contact that is followed."""


class PendingRegister(NamedTuple):
    """A REGISTER in flight."""

    next_hop: TransportAddress
    expires_s: int
    """0 unregisters."""
    others: tuple[TransportAddress, ...] = ()
    """The targets in DNS that this attempt has not tried."""
    redirects: tuple[TransportAddress, ...] = ()
    """The targets of a 3xx that this attempt has not tried. They come before `others`."""
    tried: frozenset[TransportAddress] = frozenset()
    """The servers that this attempt has tried, with `next_hop`. Each is tried once."""
    challenges: int = 0
    """How many challenging replies this attempt has answered."""
    answered: tuple[tuple[bool, str], ...] = ()
    """The realms whose challenges this server's REGISTERs have answered: (proxy, realm)."""
    retried: tuple[tuple[bool, str], ...] = ()
    """The realms that rejected an answer in this attempt, and got one more to a fresh nonce."""
    bare: bool = False
    """Whether no credentials are sent before a challenge, though a nonce is known."""
    redirected: bool = False
    """Whether `next_hop` is a target of a 3xx."""
    followed: tuple[RedirectKey, ...] = ()
    """The Contacts that this attempt has followed. It follows each once."""
    following: bool = False
    """Whether the answer was a 3xx, and its Contact is being looked up."""
    lengthened: bool = False
    """Whether this attempt has adopted a Min-Expires. It does not adopt a second one."""
    cnonce: str = ""
    """The cnonce of its credentials; empty without credentials."""
    led_to: frozenset[IP] = frozenset()
    """The ips that a 3xx of this attempt led to."""

    @property
    def is_preemptive(self) -> bool:
        """Whether it has credentials to a nonce from an earlier attempt, before any challenge."""
        return self.challenges == 0 and bool(self.cnonce)


class Nonce(NamedTuple):
    """An answered challenge; a refresh uses its nonce again, with the next count."""

    challenge: Challenge
    uses: int
    """The nonce count of the last REGISTER."""


class Registration(NamedTuple):
    """The registration of one trunk. Instants are seconds since the epoch."""

    trunk_id: str
    call_id: str
    cseq: int = 0
    state: State = State.NEW
    since: float = 0.0
    """When `state` was entered. A refresh does not leave REGISTERED: see `registered_at`."""
    wanted: bool = True
    """Whether the agent keeps it registered; False if the operator or the agent's stop ended it."""
    suspended: bool = False
    """Whether the operator unregistered or paused it. A restart does not change that."""
    granted_s: int | None = None
    expires_at: float | None = None
    """When the grant ends; None where nothing is granted."""
    registered_at: float | None = None
    """The start of the unbroken series of grants that includes the last grant."""
    next_at: float | None = 0.0
    """When the next REGISTER is due; None while one is in flight, or if none is wanted."""
    registrar: TransportAddress | None = None
    """The expected address that granted last."""
    learned_until: float | None = None
    """When the last grant with a learned address ends; None where nothing is learned."""
    unexpected: TransportAddress | None = None
    """The source of the last grant, if it was unexpected and so was not learned; else None."""
    failures: int = 0
    """Failures of the same kind in a row."""
    failure: Failure | None = None
    last_status: int | None = None
    last_phrase: str = ""
    """The last answer's status, None without an answer, and its reason phrase."""
    reason: RegistrationReason | None = None
    """Why it is in this state; None before the first result."""
    message: str = ""
    """The reason as a sentence for people; programs do not read it."""
    in_flight: PendingRegister | None = None
    again: bool = False
    """Whether RegisterNow arrived while a request was in flight. Then it registers again."""
    nonces: tuple[Nonce, ...] = ()
    """One for each realm that challenged."""
    nonce_counts: NonceCounts = NonceCounts()
    """The counts of the last nonces. They outlive failures and restarts."""
    auth_rejections: tuple[float, ...] = ()
    """When the registrar rejected credentials, the last times since a grant."""
    home: TransportAddress | None = None
    """The server that granted last; refreshes stay with it while it answers."""
    min_expires_s: int = 0

    def granted(self, now: float) -> bool:
        """Return whether the grant is valid at `now`."""
        return self.expires_at is not None and now < self.expires_at

    def learned(self, now: float) -> bool:
        """Return whether the last grant with a learned address is valid at `now`."""
        return self.learned_until is not None and now < self.learned_until

    def admits(self, now: float) -> bool:
        """Return whether its learned address admits calls: it is neither ended nor unregistered.

        The address of a paused trunk admits calls until the grant ends.
        """
        return self.learned(now) and (self.wanted or self.state is State.PAUSED)

    def unbroken_since(self, now: float) -> float:
        """Return the start of the unbroken series of grants, after a new grant at `now`."""
        if self.registered_at is None or not self.granted(now):
            return now
        return self.registered_at
