"""Answers to the digest challenges of a trunk, to one request of a phone (RFC 3261 22.2, 22.3).

A request may pass several servers, each with its own realm. A challenge with a new realm, or with
`stale`, gets one more round. The answers to former realms are repeated, with a higher nonce count.
A second challenge of a realm without `stale` rejects the credentials.

The caller checks the source: only a challenge from an address of the trunk may be answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from whence.core.sip.digest import Challenge, Credentials, answerable, authorization

ROUNDS_LIMIT = 4
"""Rounds of one request at most: fewer than the CSeqs of one request (`cseq.TRIES`).

More would only serve a server that challenges without end.
"""


class ChallengeFault(StrEnum):
    """Why a challenge gets no answer."""

    NO_USABLE_CHALLENGE = "no_usable_challenge"
    """No challenge has an algorithm, a quality and a realm that the credentials can answer."""
    CREDENTIALS_REJECTED = "credentials_rejected"
    CHALLENGED_TOO_OFTEN = "challenged_too_often"


@dataclass(frozen=True, slots=True)
class Answered:
    """A challenge, and how often its nonce has been used for this request."""

    challenge: Challenge
    uses: int = 1


@dataclass(frozen=True, slots=True)
class Rounds:
    """The challenges of one request at one trunk. `tries`: the rounds, and the `k` of its CSeq."""

    tries: int = 0
    answered: tuple[Answered, ...] = ()

    def challenged(
        self, challenges: Iterable[Challenge], credentials: Credentials
    ) -> Rounds | ChallengeFault:
        """Return the next round, or why there is none."""
        strongest = answerable(challenges, credentials)
        if not strongest:
            return ChallengeFault.NO_USABLE_CHALLENGE
        before = {one.challenge.asks: one for one in self.answered}
        if any(c.asks in before and not c.stale for c in strongest):
            return ChallengeFault.CREDENTIALS_REJECTED
        if self.tries >= ROUNDS_LIMIT:
            return ChallengeFault.CHALLENGED_TOO_OFTEN
        asking = {challenge.asks for challenge in strongest}
        kept = [
            replace(a, uses=a.uses + 1) for a in self.answered if a.challenge.asks not in asking
        ]
        fresh = [Answered(c, _uses(before.get(c.asks), c)) for c in strongest]
        return Rounds(self.tries + 1, (*kept, *fresh))

    def authorizations(
        self, credentials: Credentials, method: str, uri: str, cnonce: str
    ) -> list[tuple[str, str]]:
        """Return (header, value) of each answer. `uri`: the Request-URI. `cnonce`: random."""
        return [
            (
                "Proxy-Authorization" if one.challenge.proxy else "Authorization",
                authorization(one.challenge, credentials, method, uri, one.uses, cnonce),
            )
            for one in self.answered
        ]

    def to_text(self) -> str:
        """Write it as one text, for a variable of Kamailio's transaction."""
        return json.dumps([self.tries, *map(_values, self.answered)], separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Rounds:
        """Read what `to_text` wrote; an empty text is no round yet."""
        if not text:
            return cls()
        tries, *answered = json.loads(text)
        return cls(tries, tuple(map(_of_values, answered)))


NO_ROUNDS = Rounds()
"""Of a request that was not challenged yet."""


def _uses(before: Answered | None, challenge: Challenge) -> int:
    """Return the count of a nonce; a server may send the former one again, as stale."""
    same = before is not None and before.challenge.nonce == challenge.nonce
    return before.uses + 1 if same and before is not None else 1


def _values(one: Answered) -> list[object]:
    c = one.challenge
    return [one.uses, c.realm, c.nonce, c.algorithm, list(c.qop), c.opaque, c.proxy]


def _of_values(values: list[Any]) -> Answered:
    uses, realm, nonce, algorithm, qop, opaque, proxy = values
    return Answered(Challenge(realm, nonce, algorithm, tuple(qop), opaque, proxy=proxy), uses)
