"""The registration of one trunk, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from whence.core.registration.backoff import Failure
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
    """What is going on. Whether something is granted is another question: see `expires_at`."""

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
        """Whether a request is in flight, or was when the last agent ended."""
        return self in (State.REGISTERING, State.UNREGISTERING)


@dataclass(frozen=True, slots=True)
class AccountKey:
    """For whom, and where, a trunk is registered: with another key it is another registration."""

    aor: str
    """`sip:user@domain`"""
    server: str = ""
    """The URI of the outbound proxy, else of the registrar; empty where `uac` alone knows it."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the registrar knows us by, and what we ask of it."""

    aor: str
    """`sip:user@domain`"""
    contact: Uri
    """Ours, with the trunk's token as its user, or as its parameter `line`."""
    credentials: Credentials
    expires_s: int
    name: str = ""
    """The host of the registrar, or outbound proxy, as the operator wrote it: over TLS its
    certificate must be for this name, whatever DNS or a redirection led to."""
    rewritten: bool = False
    """Whether the provider is known to rewrite Contacts, so that ours is listed as another."""

    @property
    def token(self) -> str:
        """What nobody else's Contact has in it."""
        return self.contact.params.get("line", self.contact.user)

    @property
    def request_uri(self) -> str:
        """`sip:domain`: a REGISTER names the domain, not the user (RFC 3261 10.2)."""
        return "sip:" + self.aor.rpartition("@")[2]


class StatusClass(StrEnum):
    """What a final status means for an attempt to register."""

    SUCCESS = "2xx"
    REDIRECTION = "3xx"
    CHALLENGE = "401/407"
    INTERVAL_TOO_BRIEF = "423"
    SERVER_FAILURE = "408/430/5xx/6xx"
    """This server cannot serve now; another one may."""
    REFUSAL = "other 4xx"


@dataclass(frozen=True, slots=True)
class Reply:
    """A final answer to a REGISTER, as far as it matters."""

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
        """What the status means for the attempt."""
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


@dataclass(frozen=True, slots=True)
class PendingRegister:
    """A REGISTER in flight."""

    next_hop: TransportAddress
    expires_s: int
    """0 takes the registration back."""
    others: tuple[TransportAddress, ...] = ()
    """The targets that have not been tried in this attempt."""
    challenges: int = 0
    """How many challenging replies this attempt has answered."""
    answered: tuple[tuple[bool, str], ...] = ()
    """Whose challenges this attempt has answered: (proxy, realm)."""
    redirected: bool = False
    """Whether a 3xx has been followed in this attempt. A second one is refused."""
    following: bool = False
    """Whether it was answered with a 3xx, and the new target is being looked up."""
    lengthened: bool = False
    """Whether a 423 has been obeyed in this attempt. A second one is refused: no loop."""
    cnonce: str = ""
    """Of the credentials that it was sent with."""
    led_to: frozenset[IP] = frozenset()
    """Where a 3xx of this attempt led to."""


@dataclass(frozen=True, slots=True)
class Nonce:
    """A challenge that was answered, kept so that a refresh need not be challenged anew."""

    challenge: Challenge
    uses: int


@dataclass(frozen=True, slots=True)
class Registration:
    """Our standing at the registrar for one trunk. Instants are seconds since the epoch."""

    trunk_id: str
    call_id: str
    cseq: int = 0
    state: State = State.NEW
    since: float = 0.0
    """When `state` was entered. A refresh does not leave REGISTERED: see `registered_at`."""
    wanted: bool = True
    """Whether we want it registered; the operator, or the end of the program, say otherwise."""
    suspended: bool = False
    """Whether the operator unregistered it, or paused it: a restart does not change that."""
    granted_s: int | None = None
    expires_at: float | None = None
    """When what the registrar granted ends; None where nothing is granted."""
    registered_at: float | None = None
    """Since when something has been granted without a gap, at the last grant."""
    next_at: float | None = 0.0
    """When the next REGISTER is due; None while one is in flight, or none is wanted."""
    registrar: TransportAddress | None = None
    """The address that granted last, of those that were asked."""
    learned_until: float | None = None
    """When the last grant ends that taught an address; None where nothing is learned."""
    unexpected: TransportAddress | None = None
    """The address that granted last, where it was not asked and nothing was learned from it."""
    failures: int = 0
    """Failures of the same kind in a row."""
    failure: Failure | None = None
    last_status: int | None = None
    last_phrase: str = ""
    """The last answer's status, None where none came, and its reason phrase."""
    reason: RegistrationReason | None = None
    """Why it is in this state; None while nothing has come of it yet."""
    message: str = ""
    """The same for people: no code reads it."""
    in_flight: PendingRegister | None = None
    again: bool = False
    """Whether what is wanted changed while a request was in flight: it is then done again."""
    nonces: tuple[Nonce, ...] = ()
    """One for each realm that asks."""
    home: TransportAddress | None = None
    """The server that granted last; refreshes stay with it while it answers."""
    min_expires_s: int = 0

    def granted(self, now: float) -> bool:
        """Whether the registrar's grant still stands."""
        return self.expires_at is not None and now < self.expires_at

    def learned(self, now: float) -> bool:
        """Return whether a grant that taught an address has not ended."""
        return self.learned_until is not None and now < self.learned_until

    def stands(self, now: float) -> bool:
        """Whether its addresses do: one is learned, and we are not unregistering it. A paused one
        stands until its time.
        """
        return self.learned(now) and (self.wanted or self.state is State.PAUSED)

    def unbroken_since(self, now: float) -> float:
        """Since when something is granted without a gap, where it is granted anew at `now`."""
        if self.registered_at is None or not self.granted(now):
            return now
        return self.registered_at
