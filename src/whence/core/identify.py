"""Whence does this request come? The identification rules; pure, the same for edge and dry run.

The candidates are the trunks with a live address that admits the source. Whatever the headers say
is used only to choose *within* the candidates: headers narrow, they never widen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import NamedTuple

from whence.core.address import Source
from whence.core.number import called, closeness
from whence.core.trunk import Trunk
from whence.core.uri import Uri


@dataclass(frozen=True, slots=True)
class Request:
    """What identification looks at in a request outside a dialog."""

    source: Source
    ruri: Uri
    to: Uri | None = None
    p_called_party_id: Uri | None = None
    tokens: tuple[str, ...] = field(init=False, compare=False)
    """What could be the token of a trunk: Request-URI user and `line` parameter."""
    numbers: tuple[tuple[str, str], ...] = field(init=False, compare=False)
    """(where it stands, bare number) of each number that the request calls, in rule order."""

    def __post_init__(self) -> None:
        """Find tokens and numbers once: evidence and rules both ask for them."""
        named = (self.ruri.user, self.ruri.params.get("line"))
        object.__setattr__(self, "tokens", tuple([text for text in named if text]))
        places = (
            ("Request-URI", self.ruri),
            ("P-Called-Party-ID", self.p_called_party_id),
            ("To", self.to),
        )
        numbers = [
            (place, number)
            for place, uri in places
            if uri is not None and (number := called(uri)) is not None
        ]
        object.__setattr__(self, "numbers", tuple(numbers))


class Evidence(NamedTuple):
    """What the directory holds about one request: no more than can matter to it."""

    trunks: tuple[Trunk, ...]
    """Enabled trunks with an address at the source's ip, whether or not it admits it: all that the
    request's own words name, and at least two each, if there are, of those that do admit it, that
    were learned from its port, and that are a fallback (there, and from its port)."""
    token_owners: dict[str, str]
    """Token in the request → id of the trunk whose token it is, wherever that is; a disabled one's
    too."""
    number_owners: dict[tuple[str, str], str]
    """(bare number of the request, id of a trunk that owns it) → the number, or closest
    range, by which it does."""

    def as_of(self, at: float) -> Evidence:
        """What of it stood at `at` already: without the addresses that came to be there later."""
        return self._replace(
            trunks=tuple(
                trunk._replace(addresses=tuple(a for a in trunk.addresses if a.learned_at <= at))
                for trunk in self.trunks
            )
        )

    def good_until(self, now: float) -> float:
        """Until when a decision on this stands, as far as time alone can change it."""
        ends = [a.expires_at for t in self.trunks for a in t.addresses if a.expires_at is not None]
        return min((at for at in ends if at > now), default=inf)


class Rule(StrEnum):
    """What settled, or narrowed, a decision."""

    ADDRESS = "address"
    TOKEN = "token"
    NUMBER = "number"
    AOR_USER = "aor user"
    PORT = "port"
    FALLBACK = "fallback"
    ONLY_CANDIDATE = "only candidate"

    __hash__ = str.__hash__  # that of an Enum is Python


NAMING = frozenset({Rule.TOKEN, Rule.NUMBER, Rule.AOR_USER})
"""Rules by which a request's own words name the trunk: who else is at its address is the same."""


class Step(NamedTuple):
    """One rule applied: what it compared, and the trunks that were left after it."""

    rule: Rule
    compared: str | Source
    left: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule}: {self.compared}: {', '.join(self.left) or 'no trunk'}"


@dataclass(frozen=True, slots=True)
class Identified:
    """The request is this trunk's."""

    trunk: Trunk
    rule: Rule
    steps: tuple[Step, ...]

    @property
    def reason(self) -> str:
        """The rule that settled it, in words."""
        return f"{self.rule} of trunk {self.trunk.id}"


@dataclass(frozen=True, slots=True)
class Refused:
    """The source is admitted, but no trunk may be given the request. Never told to the sender."""

    reason: str
    candidates: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """No trunk has an address that admits the source."""

    reason: str
    steps: tuple[Step, ...]


Decision = Identified | Refused | Unknown


def identify(request: Request, evidence: Evidence, now: float) -> Decision:
    """Say which trunk a request comes from. `now` is in seconds since the epoch."""
    source = request.source
    candidates = tuple([t for t in evidence.trunks if t.admits(source, now)])
    steps = [Step(Rule.ADDRESS, source, _ids(candidates))]
    if not candidates:
        return Unknown("no address admits the source", tuple(steps))

    ids = {trunk.id for trunk in candidates}
    named = evidence.token_owners
    owners = tuple([named[token] for token in request.tokens if token in named])
    if not ids.issuperset(owners):
        steps.append(Step(Rule.TOKEN, "token of a trunk that has no address there", owners))
        return Refused("token from a wrong source", _ids(candidates), tuple(steps))

    for rule, compared, fitting in _rules(request, evidence, now):
        if len(candidates) == 1 and rule in (Rule.PORT, Rule.FALLBACK):
            break  # these name nobody: they only tell apart
        chosen = fitting(candidates)
        steps.append(Step(rule, compared, _ids(chosen)))
        if len(chosen) == 1:
            return Identified(chosen[0], rule, tuple(steps))
        candidates = chosen or candidates

    steps.append(Step(Rule.ONLY_CANDIDATE, "trunks left", _ids(candidates)))
    if len(candidates) > 1:
        return Refused("ambiguous", _ids(candidates), tuple(steps))
    if candidates[0].unmatched == "refuse":
        return Refused("unmatched", _ids(candidates), tuple(steps))
    return Identified(candidates[0], Rule.ONLY_CANDIDATE, tuple(steps))


def dialled(request: Request, trunk: Trunk, evidence: Evidence) -> str:
    """Say which number of the trunk to whom a request was given is called, or else which name.

    A number that it owns goes before others. What the provider calls the account by, our token or
    the account itself, is no number though it may be all digits, where another one is named.
    """
    numbers = [number for _, number in request.numbers if number != trunk.token]
    owned = [number for number in numbers if (number, trunk.id) in evidence.number_owners]
    others = [number for number in numbers if number != trunk.aor_user]
    user = trunk.aor_user if request.ruri.user == trunk.token else request.ruri.user
    return next(iter(owned + others + numbers), user)


Fitting = Callable[[tuple[Trunk, ...]], tuple[Trunk, ...]]
"""Says which of the candidates fit what was compared."""


def _rules(request: Request, evidence: Evidence, now: float) -> Iterator[tuple[Rule, str, Fitting]]:
    """Name the tests that tell candidates apart, in their order: the first that fits one wins."""
    tokens, user, source = request.tokens, request.ruri.user, request.source
    yield Rule.TOKEN, " or ".join(tokens) or "no token", _all(lambda t: t.token in tokens)
    for place, number in request.numbers:
        yield Rule.NUMBER, f"{number} in {place}", _closest(number, evidence.number_owners)
    yield Rule.AOR_USER, user, _all(lambda t: bool(user) and t.aor_user == user)
    yield Rule.PORT, str(source.port), _all(lambda t: t.learned_from(source, now))
    yield Rule.FALLBACK, "what nothing tells apart", _all(lambda t: t.fallback)


def _all(fits: Callable[[Trunk], bool]) -> Fitting:
    return lambda candidates: tuple([trunk for trunk in candidates if fits(trunk)])


def _closest(number: str, owners: dict[tuple[str, str], str]) -> Fitting:
    """Of those who own the number: who owns it itself, or else the longest range that holds it."""

    def fitting(candidates: tuple[Trunk, ...]) -> tuple[Trunk, ...]:
        owning = tuple([t for t in candidates if (number, t.id) in owners])
        if len(owning) < 2:
            return owning
        best = max([closeness(owners[number, t.id]) for t in owning])
        return tuple([t for t in owning if closeness(owners[number, t.id]) == best])

    return fitting


def _ids(trunks: tuple[Trunk, ...]) -> tuple[str, ...]:
    return tuple([trunk.id for trunk in trunks])
