"""Whence does this request come? The identification rules; pure, the same for edge and dry run.

The candidates are the trunks with a live address that admits the source. Whatever the headers say
is used only to choose *within* the candidates: headers narrow, they never widen. A request that
names a trunk which is no candidate is refused: no other trunk may be given its call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from whence.core.identification.address import Source
from whence.core.identification.trunk import P_CALLED_PARTY_ID, PAST, TO, Trunk
from whence.core.sip.phone_number import Style, called, closeness, written
from whence.core.sip.uri import Uri

REQUEST_URI = "request-uri"

PLACES = {REQUEST_URI: "Request-URI", P_CALLED_PARTY_ID: "P-Called-Party-ID", TO: "To"}
"""Where a request may name a trunk → how it is written for people."""


class Called(NamedTuple):
    """What one URI of a request may name a trunk by."""

    user: str
    number: str | None
    """The bare telephone number; None where it calls none."""
    accounts: tuple[str, ...]
    """What could be the account of a trunk: compared with case (RFC 3261 19.1.4)."""

    @classmethod
    def by(cls, uri: Uri) -> Called:
        """Read what a URI names."""
        user, number = uri.user, called(uri)
        if user == number or not user:
            return cls(user, number, (user,) if user else ())
        texts = [user] if number is None else [user, number]
        if ";" in user:
            texts.append(user.partition(";")[0])
        return cls(user, number, tuple([text for text in texts if text]))


_NONE: Mapping[Any, Any] = MappingProxyType({})

NO_HEADERS: Mapping[str, tuple[Uri, ...]] = _NONE


@dataclass(frozen=True, slots=True)
class Request:
    """What identification looks at in a request outside a dialog."""

    source: Source
    ruri: Uri
    to: Uri | None = None
    p_called_party_id: Uri | None = None
    others: Mapping[str, tuple[Uri, ...]] = field(default_factory=lambda: NO_HEADERS)
    """Further headers that some trunk has in its `number_headers`, by name in small letters →
    their values; the one that counts first comes first."""
    tokens: tuple[str, ...] = field(init=False, compare=False)
    """What could be the token of a trunk: Request-URI user and `line` parameter."""
    called: Mapping[str, tuple[Called, ...]] = field(init=False, compare=False)
    """Place → what is called there; only places that the request has."""
    numbers: tuple[str, ...] = field(init=False, compare=False)
    """The different bare numbers that it calls, in the order of places."""
    accounts: tuple[str, ...] = field(init=False, compare=False)
    """The different texts that could be the account of a trunk; its numbers come first."""

    def __post_init__(self) -> None:
        """Find tokens and numbers once: evidence and rules both ask for them."""
        places: dict[str, tuple[Called, ...]] = {REQUEST_URI: (Called.by(self.ruri),)}
        if self.p_called_party_id is not None:
            places[P_CALLED_PARTY_ID] = (Called.by(self.p_called_party_id),)
        if self.to is not None:
            places[TO] = (Called.by(self.to),)
        for header, uris in self.others.items():
            places[header] = tuple([Called.by(uri) for uri in uris])
        every = [one for place in places.values() for one in place]
        numbers = dict.fromkeys([one.number for one in every if one.number is not None])
        accounts = numbers.copy()
        for one in every:
            accounts.update(dict.fromkeys(one.accounts))
        user, line = self.ruri.user, self.ruri.params.get("line")
        tokens = [user] if user else []
        if ";" in user:
            tokens.append(user.partition(";")[0])
        if line and line != user:
            tokens.append(line)
        put = object.__setattr__
        put(self, "tokens", tuple(tokens))
        put(self, "called", places)
        put(self, "numbers", tuple(numbers))
        put(self, "accounts", tuple(accounts))


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
    range, by which it does. Wherever the trunk is; a disabled one too."""
    account_owners: Mapping[str, tuple[str, ...]] = _NONE
    """Text of the request → ids of the trunks whose account it is. An account that is a telephone
    number is there in all its spellings. Wherever they are; disabled ones too."""
    e164: Mapping[tuple[str, str], str] = _NONE
    """(bare number, trunk id) → the same with + and country, of a number or account of that trunk;
    none where it is not known."""
    pilots: Collection[tuple[str, str]] = frozenset()
    """(bare number, trunk id) of numbers that begin a range of the trunk, or stand beside one that
    holds them too: the number of its whole block."""

    def owners(self, one: Called) -> tuple[str, ...]:
        """Ids of all trunks that are named by their number or account, in order."""
        found = [id_ for text in one.accounts for id_ in self.account_owners.get(text, ())]
        found += [id_ for number, id_ in self.number_owners if number == one.number]
        return tuple(sorted(set(found)))

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
    """The code of the rule that settled, or narrowed, a decision."""

    ADDRESS = "address"
    TOKEN = "token"
    NUMBER = "number"
    AOR_USER = "aor_user"
    PORT = "port"
    FALLBACK = "fallback"
    ONLY_CANDIDATE = "only_candidate"

    __hash__ = str.__hash__  # that of an Enum is Python

    @property
    def message(self) -> str:
        """Return the rule in words."""
        return _RULES.get(self, str(self))


class Reason(StrEnum):
    """The code of why a request was given to no trunk."""

    AMBIGUOUS = "ambiguous"
    TOKEN_FROM_WRONG_SOURCE = "token_from_wrong_source"
    NUMBER_OF_ANOTHER_TRUNK = "number_of_another_trunk"
    UNMATCHED = "unmatched"
    UNKNOWN_ADDRESS = "unknown_address"

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
    """Which of the named trunks have the place in their `number_headers`."""
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
}

_COMPARED = {
    Compared.SOURCE: "{values}",
    Compared.TOKENS: "{values}",
    Compared.TOKEN_ELSEWHERE: "token of a trunk that has no address there",
    Compared.NUMBER: "{values} in {place}",
    Compared.AOR_USER: "{values} in {place}",
    Compared.NAMED_ELSEWHERE: "{values} in {place}, of a trunk that has no address there",
    Compared.NUMBER_HEADERS: "those whose number_headers have {place}",
    Compared.CONTRADICTION: "what names one trunk names another too",
    Compared.PORT: "{values}",
    Compared.FALLBACK: "what nothing tells apart",
    Compared.CANDIDATES_LEFT: "trunks left",
}


NAMING = frozenset({Rule.TOKEN, Rule.NUMBER, Rule.AOR_USER})
"""Rules by which a request's own words name the trunk: who else is at its address is the same."""


class Step(NamedTuple):
    """One rule applied: what it compared, and the trunks that were left after it."""

    rule: Rule
    compared: Compared
    left: tuple[str, ...]
    values: tuple[str | Source, ...] = ()
    """What the request has of it: the source, its tokens, a number, an account, a port."""
    place: str | None = None
    """Where in the request the value was: REQUEST_URI, or a header in small letters."""

    @property
    def message(self) -> str:
        """Say in words what was compared."""
        values = " or ".join(map(str, self.values))
        if self.compared is Compared.TOKENS and not values:
            return "no token"
        place = PLACES.get(self.place or "", self.place)
        return _COMPARED[self.compared].format(values=values, place=place)

    def __str__(self) -> str:
        left = ", ".join(self.left) or "no trunk"
        return f"{self.rule.message}: {self.message}: {left}"


def message(reason: Rule | Reason, trunk_id: str | None) -> str:
    """Say in words why a request was given to a trunk, or to none."""
    if isinstance(reason, Reason) or trunk_id is None:
        return reason.message
    return f"{reason.message} of trunk {trunk_id}"


@dataclass(frozen=True, slots=True)
class Identified:
    """The request is this trunk's."""

    trunk: Trunk
    rule: Rule
    steps: tuple[Step, ...]

    @property
    def reason(self) -> Rule:
        """Return the code of what settled it: its rule."""
        return self.rule

    @property
    def message(self) -> str:
        """Say the rule that settled it in words."""
        return message(self.rule, self.trunk.id)


@dataclass(frozen=True, slots=True)
class Refused:
    """The source is admitted, but no trunk may be given the request. Never told to the sender."""

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


def identify(request: Request, evidence: Evidence, now: float) -> Decision:
    """Say which trunk a request comes from. `now` is in seconds since the epoch."""
    return _Identification(request, evidence, now).decide()


class _Identification:
    """One request on its way through the rules. A method that returns a decision has settled it."""

    def __init__(self, request: Request, evidence: Evidence, now: float) -> None:
        self._request, self._evidence, self._now = request, evidence, now
        source = request.source
        self._candidates = tuple([t for t in evidence.trunks if t.admits(source, now)])
        self._ids = frozenset([trunk.id for trunk in self._candidates])
        """Of all candidates, also of those that a rule has left out."""
        self._steps = [Step(Rule.ADDRESS, Compared.SOURCE, _ids(self._candidates), (source,))]

    def decide(self) -> Decision:
        if not self._candidates:
            return Unknown(tuple(self._steps))
        return (
            self._by_token()
            or self._by_request_uri()
            or self._by_headers()
            or self._named_elsewhere([P_CALLED_PARTY_ID])
            or self._by_nothing_said()
        )

    # What the request says.

    def _by_token(self) -> Decision | None:
        tokens, named = self._request.tokens, self._evidence.token_owners
        owners = tuple([named[token] for token in tokens if token in named])
        if not self._ids.issuperset(owners):
            elsewhere = tuple([t for t in tokens if t in named and named[t] not in self._ids])
            step = Step(Rule.TOKEN, Compared.TOKEN_ELSEWHERE, owners, elsewhere)
            return self._refuse(Reason.TOKEN_FROM_WRONG_SOURCE, step)
        named_here = [t for t in self._candidates if t.token in tokens]
        return self._narrow(Rule.TOKEN, named_here, Compared.TOKENS, tokens)

    def _by_request_uri(self) -> Decision | None:
        (one,) = self._request.called[REQUEST_URI]
        rule, found, at_odds = self._named_by(REQUEST_URI, one)
        if at_odds:
            return self._contradiction(rule, [one])
        return self._narrow(rule, found) or self._named_elsewhere([REQUEST_URI])

    def _by_headers(self) -> Decision | None:
        """Look at each candidate's first header, then at each one's second, and so on."""
        rank = 0
        while True:
            headers = dict.fromkeys(
                [t.number_headers[rank] for t in self._candidates if rank < len(t.number_headers)]
            )
            if not headers:
                return None
            if decision := self._by_rank(rank, headers):
                return decision
            rank += 1

    def _by_rank(self, rank: int, headers: Iterable[str]) -> Decision | None:
        named: list[tuple[Rule, Called, list[Trunk]]] = []
        for header in headers:
            for one in self._request.called.get(header, ()):
                rule, found, at_odds = self._named_by(header, one)
                theirs = [t for t in found if t.number_headers[rank : rank + 1] == (header,)]
                if at_odds and theirs:
                    return self._contradiction(rule, [one])
                if theirs:
                    if theirs != found:
                        value = one.number if rule is Rule.NUMBER and one.number else one.user
                        self._steps.append(
                            Step(rule, Compared.NUMBER_HEADERS, _ids(theirs), (value,), header)
                        )
                    named.append((rule, one, theirs))
                    break
        if not named:
            return None
        if len(named) > 1:
            return self._contradiction(Rule.NUMBER, [one for _, one, _ in named])
        [(rule, _, found)] = named
        # The last step is the one that settles it, though another header was looked at later.
        step = next(one for one in reversed(self._steps) if one.left == _ids(found))
        self._steps.remove(step)
        self._steps.append(step)
        for trunk in found:
            if decision := self._named_elsewhere(trunk.number_headers[:rank]):
                return decision
        return self._narrow(rule, found)

    def _named_by(self, place: str, one: Called) -> tuple[Rule, list[Trunk], bool]:
        """Say which candidates are named there, and whether a number of one of them is the account
        of another; write it down.
        """
        evidence = self._evidence
        numbers: list[Trunk] = []
        if one.number is not None:
            numbers = _closest(one.number, self._candidates, evidence.number_owners)
            self._steps.append(
                Step(Rule.NUMBER, Compared.NUMBER, _ids(numbers), (one.number,), place)
            )
        owners = {id_ for text in one.accounts for id_ in evidence.account_owners.get(text, ())}
        accounts = [t for t in self._candidates if t.id in owners]
        both = [t for t in self._candidates if t in accounts or t in numbers]
        tried = accounts or (place == REQUEST_URI and not numbers and one.user)
        if accounts != numbers and tried:
            self._steps.append(
                Step(Rule.AOR_USER, Compared.AOR_USER, _ids(accounts), (one.user,), place)
            )
        if numbers and accounts and len(both) > 1:
            return Rule.AOR_USER, both, True
        return (Rule.NUMBER, numbers, False) if numbers else (Rule.AOR_USER, accounts, False)

    def _contradiction(self, rule: Rule, called: Iterable[Called]) -> Refused:
        """Refuse what names several candidates, each in another way."""
        named = {id_ for one in called for id_ in self._evidence.owners(one)} & self._ids
        step = Step(rule, Compared.CONTRADICTION, tuple(sorted(named)))
        return self._refuse(Reason.AMBIGUOUS, step)

    def _named_elsewhere(self, places: Iterable[str]) -> Refused | None:
        """Refuse what names no candidate, but a trunk that is none, at one of the places."""
        for place in places:
            if place in PAST:
                continue
            for one in self._request.called.get(place, ()):
                owners = self._evidence.owners(one)
                if owners and self._ids.isdisjoint(owners):
                    by_number = self._evidence.number_owners
                    numbered = any((one.number, id_) in by_number for id_ in owners)
                    rule = Rule.NUMBER if numbered else Rule.AOR_USER
                    value = one.number if numbered and one.number else one.user
                    step = Step(rule, Compared.NAMED_ELSEWHERE, owners, (value,), place)
                    return self._refuse(Reason.NUMBER_OF_ANOTHER_TRUNK, step)
        return None

    # What is left where it says nothing.

    def _by_nothing_said(self) -> Decision:
        source, now = self._request.source, self._now
        port = (str(source.port),)
        rules: list[tuple[Rule, Compared, tuple[str, ...], Callable[[Trunk], bool]]] = [
            (Rule.PORT, Compared.PORT, port, lambda t: t.learned_from(source, now)),
            (Rule.FALLBACK, Compared.FALLBACK, (), lambda t: t.fallback),
        ]
        for rule, compared, values, fits in rules:
            if len(self._candidates) == 1:
                break  # these name nobody: they only tell apart
            chosen = [t for t in self._candidates if fits(t)]
            if len(chosen) == 1 and (refused := self._named_elsewhere(chosen[0].number_headers)):
                return refused
            if decision := self._narrow(rule, chosen, compared, values):
                return decision
        return self._only_candidate()

    def _only_candidate(self) -> Decision:
        left = self._candidates
        if len(left) == 1 and (refused := self._named_elsewhere(left[0].number_headers)):
            return refused
        self._steps.append(Step(Rule.ONLY_CANDIDATE, Compared.CANDIDATES_LEFT, _ids(left)))
        if len(left) > 1:
            return Refused(Reason.AMBIGUOUS, _ids(left), tuple(self._steps))
        if left[0].unmatched == "refuse":
            return Refused(Reason.UNMATCHED, _ids(left), tuple(self._steps))
        return Identified(left[0], Rule.ONLY_CANDIDATE, tuple(self._steps))

    # How it goes on.

    def _narrow(
        self,
        rule: Rule,
        chosen: list[Trunk],
        compared: Compared | None = None,
        values: tuple[str, ...] = (),
    ) -> Identified | None:
        """Go on with the chosen ones, if any; a single one is it. `compared` None: told before."""
        if compared is not None:
            self._steps.append(Step(rule, compared, _ids(chosen), values))
        if len(chosen) == 1:
            return Identified(chosen[0], rule, tuple(self._steps))
        self._candidates = tuple(chosen) or self._candidates
        return None

    def _refuse(self, reason: Reason, step: Step) -> Refused:
        self._steps.append(step)
        return Refused(reason, _ids(self._candidates), tuple(self._steps))


def dialled(request: Request, trunk: Trunk, evidence: Evidence) -> str:
    """Say which number of the trunk to whom a request was given is called, or else which name.

    The most specific one: an extension that the trunk owns, then its account or pilot number, then
    a number that is not its own. What the provider calls the account by, our token or the account
    itself, is no number though it may be all digits, where another one is named. It is written in
    the trunk's `number_format`.
    """
    places = (REQUEST_URI, *trunk.number_headers)
    called = [one.number for place in places for one in request.called.get(place, ())]
    numbers = [number for number in called if number is not None and number != trunk.token]
    owned = [number for number in numbers if (number, trunk.id) in evidence.number_owners]
    accounts = {n for n in numbers if trunk.id in evidence.account_owners.get(n, ())}
    extensions = [n for n in owned if n not in accounts and (n, trunk.id) not in evidence.pilots]
    others = [number for number in numbers if number not in accounts]
    found = next(iter(extensions + owned + others + numbers), None)
    if found is None:
        return trunk.aor_user if request.ruri.user == trunk.token else request.ruri.user
    return written(
        found, evidence.e164.get((found, trunk.id), ""), Style.parse(trunk.number_format)
    )


def _ids(trunks: Iterable[Trunk]) -> tuple[str, ...]:
    return tuple([trunk.id for trunk in trunks])


def _closest(
    number: str, candidates: Iterable[Trunk], owners: Mapping[tuple[str, str], str]
) -> list[Trunk]:
    """Of those who own the number: who owns it itself, or else the longest range that holds it."""
    owning = [t for t in candidates if (number, t.id) in owners]
    if len(owning) < 2:
        return owning
    best = max([closeness(owners[number, t.id]) for t in owning])
    return [t for t in owning if closeness(owners[number, t.id]) == best]
