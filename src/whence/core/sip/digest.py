"""Answers to digest challenges in SIP (RFC 8760, RFC 7616, RFC 3261 22).

A reply may challenge for several realms, of proxies and of the registrar. Each gets an answer, for
its strongest challenge that these credentials can answer. Challenges with another algorithm, or
with a quality of protection other than `auth`, are ignored.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from whence.core.sip.secret import Secret


def _named(name: str) -> Callable[[bytes], str]:
    # hashlib.new looks the name up at each call, which takes longer than the hash.
    make = getattr(hashlib, name, None) or partial(hashlib.new, name)
    return lambda data: str(make(data, usedforsecurity=False).hexdigest())


# Strongest first. SHA-512-256 is SHA-512/256 of FIPS 180-4, which has its own start values; it is
# not a cut SHA-512. The example in RFC 7616 3.9.2 is wrong: its right response begins 3798d413.
_HASHES = {
    name: _named(called)
    for name, called in (("SHA-512-256", "sha512_256"), ("SHA-256", "sha256"), ("MD5", "md5"))
    if called in hashlib.algorithms_available
}

ALGORITHMS = tuple(_HASHES)
"""The supported algorithms, strongest first; each also with `-sess`."""

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
        """Return who challenges: (whether it is a proxy, its realm)."""
        return self.proxy, self.realm

    @property
    def hash_name(self) -> str:
        """Return the algorithm as in ALGORITHMS, without `-sess`."""
        return self.algorithm.upper().removesuffix(_SESS)

    @property
    def of_session(self) -> bool:
        """Return whether A1 includes nonce and cnonce (RFC 7616 3.4.2)."""
        return self.algorithm.upper().endswith(_SESS)


@dataclass(frozen=True, slots=True)
class AuthenticationInfo:
    """An Authentication-Info (RFC 7616 3.5) or, with `proxy`, Proxy-Authentication-Info."""

    rspauth: str
    cnonce: str
    nonce_count: str
    """As in the header: eight hex digits."""
    qop: str
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a trunk: a password, or the HA1 of some algorithms.

    `realm`, unless it is empty, is the only realm that gets an answer. A server of another realm
    gets no response from which it could guess the password.
    """

    user: str
    password: Secret | None = None
    ha1: tuple[tuple[str, Secret], ...] = ()
    realm: str = ""

    def can_answer(self, challenge: Challenge) -> bool:
        """Return whether these credentials can answer `challenge`."""
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
    """Return H(user:realm:password) (RFC 7616 3.4.2), for an algorithm of ALGORITHMS."""
    return _HASHES[algorithm](f"{user}:{realm}:{password.reveal()}".encode())


def answerable(challenges: Iterable[Challenge], credentials: Credentials) -> tuple[Challenge, ...]:
    """Return the strongest challenge of each realm that `credentials` can answer."""
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
    """Return the value of the Authorization or Proxy-Authorization header.

    `nonce_count`: how often this nonce has been used, this time included. `cnonce`: a random text.
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
    `qop` a reply proves nothing: its digest has no part of that request, and can be replayed.
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
    """Return the digest of a request or a reply; they differ in A2 (RFC 7616 3.4.1, 3.5)."""
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
