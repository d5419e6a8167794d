"""HTTP digest as SIP uses it (RFC 8760, RFC 7616, RFC 3261 22): answering a challenge.

Of several challenges the strongest one that we can answer is taken. An algorithm we do not know,
or a quality of protection other than `auth`, is passed over, never guessed at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from whence.core.secret import Secret

_HASHES: dict[str, Callable[[bytes], str]] = {
    # Strongest first. MD5 is what the field speaks; it is not chosen where better is offered.
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}

ALGORITHMS = tuple(_HASHES)
"""The algorithms that can be answered, strongest first."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate (or, where `proxy`, Proxy-Authenticate) header of a 401 or 407."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to the registrar: a password, or the HA1 of each algorithm known.

    `realm`, where it is not empty, is the only one that is answered: nobody else gets a response
    to guess the password from.
    """

    user: str
    password: Secret | None = None
    ha1: tuple[tuple[str, Secret], ...] = ()
    realm: str = ""

    def can_answer(self, challenge: Challenge) -> bool:
        """Whether there is a response to `challenge` that says what these credentials know."""
        algorithm = challenge.algorithm.upper()
        return (
            algorithm in _HASHES
            and bool(challenge.nonce)
            and (not challenge.qop or "auth" in challenge.qop)
            and (not self.realm or self.realm == challenge.realm)
            and (self.password is not None or algorithm in dict(self.ha1))
        )

    def _ha1(self, challenge: Challenge) -> str:
        algorithm = challenge.algorithm.upper()
        if self.password is None:
            return dict(self.ha1)[algorithm].reveal()
        return ha1(algorithm, self.user, challenge.realm, self.password)


def ha1(algorithm: str, user: str, realm: str, password: Secret) -> str:
    """H(user:realm:password) (RFC 7616 3.4.2), for an algorithm of ALGORITHMS."""
    return _HASHES[algorithm](f"{user}:{realm}:{password.reveal()}".encode())


def strongest(challenges: Iterable[Challenge], credentials: Credentials) -> Challenge | None:
    """Pick the challenge to answer; None where none of them can be."""
    answerable = [c for c in challenges if credentials.can_answer(c)]
    return min(answerable, key=lambda c: ALGORITHMS.index(c.algorithm.upper()), default=None)


def authorization(
    challenge: Challenge,
    credentials: Credentials,
    method: str,
    uri: str,
    nonce_count: int,
    cnonce: str,
) -> str:
    """Make the value of the Authorization (or Proxy-Authorization) header.

    `nonce_count` is how often this nonce has been used, this time included; `cnonce` is random.
    """
    digest = _HASHES[challenge.algorithm.upper()]
    a1 = credentials._ha1(challenge)
    a2 = digest(f"{method}:{uri}".encode())
    quoted = {
        "username": credentials.user,
        "realm": challenge.realm,
        "nonce": challenge.nonce,
        "uri": uri,
    }
    plain = {"algorithm": challenge.algorithm}
    if challenge.qop:
        count = f"{nonce_count:08x}"
        middle = f"{challenge.nonce}:{count}:{cnonce}:auth"
        quoted["cnonce"] = cnonce
        plain |= {"qop": "auth", "nc": count}
    else:
        middle = challenge.nonce
    quoted["response"] = digest(f"{a1}:{middle}:{a2}".encode())
    if challenge.opaque is not None:
        quoted["opaque"] = challenge.opaque
    fields = [f'{name}="{_escape(value)}"' for name, value in quoted.items()]
    fields += [f"{name}={value}" for name, value in plain.items()]
    return "Digest " + ", ".join(fields)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
