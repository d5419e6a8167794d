"""What the operator configures for users' calls: users, trunks, routes, emergency numbers."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from whence.core.outbound.numbers import DialPlan, NumberFormat
from whence.core.sip.uri import host_text

TRY_S = 4.0
"""How long a trunk may send no answer before the next one is tried, unless a route has its own
time."""


class FromUser(StrEnum):
    """What the From of a call has as its user at a trunk."""

    ACCOUNT = "account"
    """The user of the trunk's address-of-record."""
    NUMBER = "number"
    """The caller's number at this trunk; without one, the account."""


class NumberHeader(StrEnum):
    """The header that has the caller's number at a trunk, besides From."""

    NONE = "none"
    ASSERTED = "P-Asserted-Identity"
    PREFERRED = "P-Preferred-Identity"
    REMOTE_PARTY = "Remote-Party-ID"


class ContactForm(StrEnum):
    """The Contact that a trunk gets."""

    OWN = "own"
    """The phone's Contact, with its address."""
    REGISTERED = "registered"
    """The trunk's registered Contact. The phone's Contact is in it, encrypted."""


class Limits(NamedTuple):
    """Limits of a user or a trunk; 0, or none: no limit."""

    concurrent: int = 0
    """Calls at once."""
    per_minute: int = 0
    """Calls that begin within a minute."""
    duration_s: int = 0
    """How long a call lasts at most."""
    prefixes: tuple[str, ...] = ()
    """How canonical numbers begin that may be called; empty: all numbers."""


NO_LIMITS = Limits()


class OutboundUser(NamedTuple):
    """A local user as a caller."""

    name: str
    trunks: tuple[str, ...] = ()
    """The ids of the trunks that it may use, in their order. Empty: it may call users only."""
    caller_number: str = ""
    """Its canonical number, which trunks show. Empty: the account of the trunk."""
    caller_numbers: tuple[str, ...] = ()
    """Further numbers that its phone may choose: canonical numbers, and prefixes with a star."""
    anonymous: bool = False
    """Whether its calls show no number to the called party."""
    limits: Limits = NO_LIMITS


class OutboundTrunk(NamedTuple):
    """A trunk as the way of a call."""

    id: str
    account: str
    """The user of its address-of-record, without escapes."""
    domain: str
    """The host of its address-of-record, without brackets."""
    port: int | None = None
    """The port in its Request-URIs. None: the operator wrote none."""
    numbers: tuple[str, ...] = ()
    """Its canonical numbers, and prefixes with a star."""
    plan: DialPlan = DialPlan()
    """How numbers are dialled in the country of its provider."""
    number_format: NumberFormat = NumberFormat.E164
    from_user: FromUser = FromUser.ACCOUNT
    number_header: NumberHeader = NumberHeader.NONE
    diversion: bool = False
    """Whether it gets the Diversion of a forwarded call."""
    contact: ContactForm = ContactForm.REGISTERED
    limits: Limits = NO_LIMITS

    @property
    def host(self) -> str:
        """Return the host of its URIs: an IPv6 address is in brackets."""
        return host_text(self.domain)

    @property
    def server(self) -> str:
        """Return the host of its Request-URIs, with the port that the operator wrote."""
        return f"{self.host}:{self.port}" if self.port else self.host


class Route(NamedTuple):
    """A rule for numbers: which trunks get them, in which order."""

    trunks: tuple[str, ...]
    """Ids of trunks, in their order. Empty: these numbers may not be called."""
    prefix: str = ""
    """How the canonical number begins; empty: any number."""
    pattern: re.Pattern[str] | None = None
    """An expression that matches the whole canonical number. None: any number."""
    users: frozenset[str] = frozenset()
    """The users for whom it holds; empty: all."""
    try_s: float = TRY_S

    def fits(self, number: str, user: str) -> bool:
        """Return whether it holds for a user and a canonical number."""
        return (
            number.startswith(self.prefix)
            and (not self.users or user in self.users)
            and (self.pattern is None or self.pattern.fullmatch(number) is not None)
        )


class Emergency(NamedTuple):
    """Emergency numbers, and the trunks that get their calls. No limit counts for them."""

    numbers: frozenset[str] = frozenset()
    """As they are dialled: `112`."""
    trunks: tuple[str, ...] = ()
    """Ids of trunks, in their order, whether the user has them or not."""


class Routing(NamedTuple):
    """All rules for users' calls."""

    routes: tuple[Route, ...] = ()
    """The first one that holds decides."""
    emergency: Emergency = Emergency()
    plan: DialPlan = DialPlan()
    """How users dial."""


NO_ROUTING = Routing()


class OutboundSettings(NamedTuple):
    """All settings for users' calls."""

    routing: Routing = Routing()
    users: tuple[OutboundUser, ...] = ()
    trunks: tuple[OutboundTrunk, ...] = ()
    is_used: bool = False
    """Whether Kamailio takes users' calls to numbers."""
