"""A decision: the trunk, or why there is none, with each step of the rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from whence.core.identification.request import PLACES
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import TransportAddress


class Rule(StrEnum):
    """The code of the rule that settled or narrowed a decision."""

    ADDRESS = "address"
    TOKEN = "token"
    NUMBER = "number"
    AOR_USER = "aor_user"
    PORT = "port"
    FALLBACK = "fallback"
    ONLY_CANDIDATE = "only_candidate"

    __hash__ = str.__hash__  # faster: the hash of an Enum is Python code

    @property
    def message(self) -> str:
        """Return the rule in words."""
        return _RULES.get(self, str(self))


class Reason(StrEnum):
    """The code of why a request belongs to no trunk."""

    AMBIGUOUS = "ambiguous"
    TOKEN_FROM_WRONG_SOURCE = "token_from_wrong_source"
    NUMBER_OF_ANOTHER_TRUNK = "number_of_another_trunk"
    UNMATCHED = "unmatched"
    UNKNOWN_ADDRESS = "unknown_address"

    # The edge refuses a request for these before or after the rules.
    MALFORMED = "malformed"
    UNSUPPORTED_SCHEME = "unsupported_scheme"
    UNSUPPORTED_EXTENSION = "unsupported_extension"
    TOO_MANY_HOPS = "too_many_hops"
    NO_DIALOG = "no_dialog"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    USER_NOT_REGISTERED = "user_not_registered"
    MEDIA_UNAVAILABLE = "media_unavailable"
    NO_SOCKET_FOR_TARGET = "no_socket_for_target"
    SCANNER = "scanner"
    DIRECTORY_UNAVAILABLE = "directory_unavailable"
    INTERNAL_ERROR = "internal_error"

    __hash__ = str.__hash__

    @property
    def message(self) -> str:
        """Return the reason in words."""
        return _REASONS[self]


class Compared(StrEnum):
    """The code of what a step compared."""

    SOURCE = "source"
    TOKENS = "tokens"
    TOKEN_ELSEWHERE = "token_elsewhere"
    """A token of a trunk that has no address at the source."""
    NUMBER = "number"
    AOR_USER = "aor_user"
    NAMED_ELSEWHERE = "named_elsewhere"
    """A number or account of a trunk that has no address at the source."""
    NUMBER_HEADERS = "number_headers"
    """Which of the named trunks list the header in their `number_headers`."""
    CONTRADICTION = "contradiction"
    PORT = "port"
    FALLBACK = "fallback"
    CANDIDATES_LEFT = "candidates_left"

    __hash__ = str.__hash__


_RULES = {Rule.AOR_USER: "aor user", Rule.ONLY_CANDIDATE: "only candidate"}
"""Rule → its words, where they are not its code."""


_REASONS = {
    Reason.AMBIGUOUS: "ambiguous",
    Reason.TOKEN_FROM_WRONG_SOURCE: "token from a wrong source",
    Reason.NUMBER_OF_ANOTHER_TRUNK: "number of another trunk",
    Reason.UNMATCHED: "unmatched",
    Reason.UNKNOWN_ADDRESS: "no address admits the source",
    Reason.MALFORMED: "malformed message",
    Reason.UNSUPPORTED_SCHEME: "unsupported scheme of the Request-URI",
    Reason.UNSUPPORTED_EXTENSION: "Proxy-Require names an extension that the edge lacks",
    Reason.TOO_MANY_HOPS: "Max-Forwards is 0",
    Reason.NO_DIALOG: "no such call or dialog",
    Reason.METHOD_NOT_ALLOWED: "a trunk may not begin with this method",
    Reason.USER_NOT_REGISTERED: "no phone of the user is registered",
    Reason.MEDIA_UNAVAILABLE: "rtpengine does not answer",
    Reason.NO_SOCKET_FOR_TARGET: "no socket in listen can send to the target",
    Reason.SCANNER: "User-Agent of a scanner",
    Reason.DIRECTORY_UNAVAILABLE: "the directory cannot be read",
    Reason.INTERNAL_ERROR: "internal error of the edge",
}


_COMPARED = {
    Compared.SOURCE: "{values}",
    Compared.TOKENS: "{values}",
    Compared.TOKEN_ELSEWHERE: "token of a trunk that has no address there",
    Compared.NUMBER: "{values} in {place}",
    Compared.AOR_USER: "{values} in {place}",
    Compared.NAMED_ELSEWHERE: "{values} in {place}, of a trunk that has no address there",
    Compared.NUMBER_HEADERS: "those whose number_headers have {place}",
    Compared.CONTRADICTION: "the same text names several trunks",
    Compared.PORT: "{values}",
    Compared.FALLBACK: "fallback = true",
    Compared.CANDIDATES_LEFT: "trunks left",
}


NAMING = frozenset({Rule.TOKEN, Rule.NUMBER, Rule.AOR_USER})
"""Rules by which the request itself names the trunk. Other trunks at the address do not matter."""


class Step(NamedTuple):
    """One applied rule: what it compared, and which trunks were left."""

    rule: Rule
    compared: Compared
    left: tuple[str, ...]
    values: tuple[str | TransportAddress, ...] = ()
    """The compared values of the request: its source, tokens, a number, an account or a port."""
    place: str | None = None
    """Where in the request the value was: REQUEST_URI, or a header name in lower case."""

    @property
    def message(self) -> str:
        """Return what was compared, in words."""
        values = " or ".join(map(str, self.values))
        if self.compared is Compared.TOKENS and not values:
            return "no token"
        place = PLACES.get(self.place or "", self.place)
        return _COMPARED[self.compared].format(values=values, place=place)

    def __str__(self) -> str:
        left = ", ".join(self.left) or "no trunk"
        return f"{self.rule.message}: {self.message}: {left}"


def message(reason: Rule | Reason, trunk_id: str | None) -> str:
    """Return in words why a request belongs to a trunk, or to none."""
    if isinstance(reason, Reason) or trunk_id is None:
        return reason.message
    return f"{reason.message} of trunk {trunk_id}"


@dataclass(frozen=True, slots=True)
class Identified:
    """The request belongs to this trunk."""

    trunk: Trunk
    rule: Rule
    steps: tuple[Step, ...]

    @property
    def reason(self) -> Rule:
        """Return the rule that settled it."""
        return self.rule

    @property
    def message(self) -> str:
        """Return the rule that settled it, in words."""
        return message(self.rule, self.trunk.id)


@dataclass(frozen=True, slots=True)
class Refused:
    """The source is admitted, but the request belongs to no single trunk. No reply says so."""

    reason: Reason
    candidates: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def message(self) -> str:
        """Say the reason in words."""
        return self.reason.message


@dataclass(frozen=True, slots=True)
class Unknown:
    """No trunk has an address that admits the source."""

    steps: tuple[Step, ...]

    @property
    def reason(self) -> Reason:
        """Return the code of why it is unknown."""
        return Reason.UNKNOWN_ADDRESS

    @property
    def message(self) -> str:
        """Say the reason in words."""
        return self.reason.message


Decision = Identified | Refused | Unknown
