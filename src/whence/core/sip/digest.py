"""HTTP digest as SIP uses it (RFC 8760, RFC 7616, RFC 3261 22): answering challenges.

A reply may challenge for several realms, of proxies and of the registrar; each is answered. Of the
challenges for one realm the strongest that we can answer is taken. An algorithm we do not know, or
a quality of protection other than `auth`, is passed over, never guessed at.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from whence.core.sip.secret import Secret


def _named(name: str) -> Callable[[bytes], str]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest()


# Strongest first. SHA-512-256 is SHA-512/256 of FIPS 180-4, with its own start values, and no cut
# SHA-512: the example in RFC 7616 3.9.2 is wrong (its right response begins 3798d413).
_HASHES = {
    name: _named(called)
    for name, called in (("SHA-512-256", "sha512_256"), ("SHA-256", "sha256"), ("MD5", "md5"))
    if called in hashlib.algorithms_available
}

ALGORITHMS = tuple(_HASHES)
"""The algorithms that can be answered, strongest first; each also with `-sess`."""

_SESS = "-SESS"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate (or, where `proxy`, Proxy-Authenticate) challenge of a 401 or 407."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    proxy: bool = False

    @property
    def asks(self) -> tuple[bool, str]:
        """Who asks: (a proxy or the registrar, its realm)."""
        return self.proxy, self.realm

    @property
    def hash_name(self) -> str:
        """The algorithm as ALGORITHMS names it, without `-sess`."""
        return self.algorithm.upper().removesuffix(_SESS)

    @property
    def of_session(self) -> bool:
        """Whether A1 also has nonce and cnonce in it (RFC 7616 3.4.2)."""
        return self.algorithm.upper().endswith(_SESS)


@dataclass(frozen=True, slots=True)
class AuthenticationInfo:
    """What a reply says of its sender (RFC 7616 3.5). `proxy`: in Proxy-Authentication-Info."""

    rspauth: str
    cnonce: str
    nonce_count: str
    """As it is written: eight hex digits."""
    qop: str
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
        name = challenge.hash_name
        return (
            name in _HASHES
            and bool(challenge.nonce)
            and (not challenge.qop or "auth" in challenge.qop)
            and (not self.realm or self.realm == challenge.realm)
            and (self.password is not None or name in dict(self.ha1))
        )

    def _ha1(self, challenge: Challenge) -> str:
        name = challenge.hash_name
        if self.password is None:
            return dict(self.ha1)[name].reveal()
        return ha1(name, self.user, challenge.realm, self.password)


def ha1(algorithm: str, user: str, realm: str, password: Secret) -> str:
    """H(user:realm:password) (RFC 7616 3.4.2), for an algorithm of ALGORITHMS."""
    return _HASHES[algorithm](f"{user}:{realm}:{password.reveal()}".encode())


def answerable(challenges: Iterable[Challenge], credentials: Credentials) -> tuple[Challenge, ...]:
    """Pick what to answer: for each realm that asks, the strongest challenge we can answer."""
    best: dict[tuple[bool, str], Challenge] = {}
    for challenge in challenges:
        if credentials.can_answer(challenge):
            known = best.get(challenge.asks)
            if known is None or _weakness(challenge) < _weakness(known):
                best[challenge.asks] = challenge
    return tuple(best.values())


def _weakness(challenge: Challenge) -> int:
    return ALGORITHMS.index(challenge.hash_name)


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
    quoted = {
        "username": credentials.user,
        "realm": challenge.realm,
        "nonce": challenge.nonce,
        "uri": uri,
    }
    plain = {"algorithm": challenge.algorithm}
    if challenge.qop or challenge.of_session:
        quoted["cnonce"] = cnonce
    if challenge.qop:
        plain |= {"qop": "auth", "nc": f"{nonce_count:08x}"}
    quoted["response"] = _response(challenge, credentials, f"{method}:{uri}", nonce_count, cnonce)
    if challenge.opaque is not None:
        quoted["opaque"] = challenge.opaque
    fields = [f'{name}="{_escape(value)}"' for name, value in quoted.items()]
    fields += [f"{name}={value}" for name, value in plain.items()]
    return "Digest " + ", ".join(fields)


def proves(
    info: AuthenticationInfo,
    challenge: Challenge,
    credentials: Credentials,
    uri: str,
    nonce_count: int,
    cnonce: str,
) -> bool:
    """Return whether a reply proves that its sender knows the password (RFC 7616 3.5).

    `challenge`, `nonce_count` and `cnonce` are those of the request that the reply answers. Without
    `qop` nothing is proven: such a digest has nothing of that request in it, and can be replayed.
    """
    if not challenge.qop or info.proxy != challenge.proxy or info.qop.lower() != "auth":
        return False
    ours = (cnonce, f"{nonce_count:08x}")
    if not cnonce or (info.cnonce, info.nonce_count.lower()) != ours:
        return False
    right = _response(challenge, credentials, f":{uri}", nonce_count, cnonce)
    return hmac.compare_digest(info.rspauth.lower().encode("utf-8", "replace"), right.encode())


def _response(
    challenge: Challenge, credentials: Credentials, a2: str, nonce_count: int, cnonce: str
) -> str:
    """Make the digest of a request, or of a reply: they differ in A2 (RFC 7616 3.4.1, 3.5)."""
    digest = _HASHES[challenge.hash_name]
    a1 = credentials._ha1(challenge)
    if challenge.of_session:
        a1 = digest(f"{a1}:{challenge.nonce}:{cnonce}".encode())
    middle = challenge.nonce
    if challenge.qop:
        middle += f":{nonce_count:08x}:{cnonce}:auth"
    return digest(f"{a1}:{middle}:{digest(a2.encode())}".encode())


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
