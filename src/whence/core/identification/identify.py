"""The identification rules: to which trunk a request belongs. Edge and dry run use the same rules.

The candidates are the trunks with a valid address that admits the source. Headers only choose
*among* the candidates; they never add one. A request that names a trunk which is no candidate is
refused, so that no other trunk gets its call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from whence.core.identification.decision import (
    Compared,
    Decision,
    Identified,
    Reason,
    Refused,
    Rule,
    Step,
    Unknown,
)
from whence.core.identification.request import REQUEST_URI, Called, Evidence, Request
from whence.core.identification.trunk import P_CALLED_PARTY_ID, PAST, Trunk
from whence.core.sip.phone_number import Style, closeness, written


def identify(request: Request, evidence: Evidence, now: float) -> Decision:
    """Decide to which trunk a request belongs. `now`: seconds since the epoch."""
    return _Identification(request, evidence, now).decide()


class _Identification:
    """The rules, applied to one request. A method returns a decision, or None to continue."""

    def __init__(self, request: Request, evidence: Evidence, now: float) -> None:
        self._request, self._evidence, self._now = request, evidence, now
        source = request.source
        self._candidates = tuple([t for t in evidence.trunks if t.admits(source, now)])
        self._ids = frozenset([trunk.id for trunk in self._candidates])
        """The ids of all candidates, also of those that a rule excluded."""
        self._steps = [Step(Rule.ADDRESS, Compared.SOURCE, _ids(self._candidates), (source,))]

    def decide(self) -> Decision:
        if not self._candidates:
            return Unknown(tuple(self._steps))
        return (
            self._by_token()
            or self._by_request_uri()
            or self._by_headers()
            or self._named_elsewhere([P_CALLED_PARTY_ID])
            or self._without_a_name()
        )

    # Rules on what the request names.

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
        """Read the first header of each candidate, then the second of each, and so on."""
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
        # The step that settles it must be the last one, even if another header was read later.
        step = next(one for one in reversed(self._steps) if one.left == _ids(found))
        self._steps.remove(step)
        self._steps.append(step)
        for trunk in found:
            if decision := self._named_elsewhere(trunk.number_headers[:rank]):
                return decision
        return self._narrow(rule, found)

    def _named_by(self, place: str, one: Called) -> tuple[Rule, list[Trunk], bool]:
        """Return the rule, the named candidates, and whether number and account contradict.

        They do if a number of one candidate is the account of another. The steps are recorded.
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
        """Refuse a request that names several candidates, each in another way."""
        named = {id_ for one in called for id_ in self._evidence.owners(one)} & self._ids
        step = Step(rule, Compared.CONTRADICTION, tuple(sorted(named)))
        return self._refuse(Reason.AMBIGUOUS, step)

    def _named_elsewhere(self, places: Iterable[str]) -> Refused | None:
        """Refuse a request that names no candidate, but another trunk, at one of the places."""
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

    # Rules for a request that names no trunk.

    def _without_a_name(self) -> Decision:
        source, now = self._request.source, self._now
        port = (str(source.port),)
        rules: list[tuple[Rule, Compared, tuple[str, ...], Callable[[Trunk], bool]]] = [
            (Rule.PORT, Compared.PORT, port, lambda t: t.learned_from(source, now)),
            (Rule.FALLBACK, Compared.FALLBACK, (), lambda t: t.fallback),
        ]
        for rule, compared, values, fits in rules:
            if len(self._candidates) == 1:
                break  # these rules name no trunk: they only distinguish
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

    # How a rule ends.

    def _narrow(
        self,
        rule: Rule,
        chosen: list[Trunk],
        compared: Compared | None = None,
        values: tuple[str, ...] = (),
    ) -> Identified | None:
        """Keep the chosen candidates, if any. A single one settles the decision.

        `compared` None: the step is recorded already.
        """
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
    """Return the called number of an identified request, in the trunk's `number_format`.

    The most specific number wins: an extension that the trunk owns. Its account or pilot number
    follows, then a number that it does not own. Our token is no number, even if it is all digits.
    If the request has another number, the account does not count either. Without a number,
    return the called user.
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
    """Return the owners of the number itself, or else of the longest prefix that holds it."""
    owning = [t for t in candidates if (number, t.id) in owners]
    if len(owning) < 2:
        return owning
    best = max([closeness(owners[number, t.id]) for t in owning])
    return [t for t in owning if closeness(owners[number, t.id]) == best]
