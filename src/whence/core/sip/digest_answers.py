"""Answers of phones to our digest challenges with SHA-256 (RFC 8760, RFC 7616 3.4)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from whence.core.sip.challenges import HEADER_LIMIT, parse_params, repeats_param
from whence.core.sip.secret import Secret

ALGORITHM = "SHA-256"
_SCHEME = re.compile(r"digest[ \t]+", re.IGNORECASE)
_NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(frozen=True, slots=True)
class DigestAnswer:
    """The credentials of an Authorization or Proxy-Authorization with SHA-256 and qop `auth`."""

    user: str
    nonce: str
    uri: str
    nonce_count: str
    """As in the header: eight hex digits."""
    cnonce: str
    response: str

    def is_right(self, ha1: Secret, method: str) -> bool:
        """Return whether the response has this HA1. The time does not depend on where it differs.

        `method`: that of the request.
        """
        what = _digest(method, self.uri)
        middle = (self.nonce, self.nonce_count, self.cnonce, "auth")
        right = _digest(ha1.reveal(), *middle, what)
        return hmac.compare_digest(self.response.lower().encode(), right.encode())


def challenge(realm: str, nonce: str, *, stale: bool) -> str:
    """Return the value of a WWW-Authenticate or Proxy-Authenticate header."""
    text = f'Digest realm="{realm}", nonce="{nonce}", algorithm={ALGORITHM}, qop="auth"'
    return text + ", stale=true" if stale else text


def find_sha256(values: Iterable[str], realm: str) -> str | None:
    """Return the first credentials with SHA-256 for this realm, as written; None without any.

    `values`: those of the headers Authorization or Proxy-Authorization.
    """
    for value in values:
        if ALGORITHM in value.upper() and len(value) <= HEADER_LIMIT and value.isprintable():
            found = parse_params(value)
            if found.get("algorithm", "").upper() == ALGORITHM and found.get("realm") == realm:
                return value
    return None


def parse_answer(value: str) -> DigestAnswer | None:
    """Read credentials with SHA-256; None if they are not an answer to our challenge.

    A parameter that occurs twice has no reading: two parsers could read it differently.
    """
    scheme = _SCHEME.match(value)
    if scheme is None or repeats_param(value):
        return None
    found = parse_params(value[scheme.end() :])
    names = ("username", "nonce", "uri", "nc", "cnonce", "response")
    user, nonce, uri, count, cnonce, response = (found.get(name, "") for name in names)
    is_whole = user and nonce and uri and cnonce and response
    if not is_whole or found.get("qop", "").lower() != "auth" or not _NONCE_COUNT.fullmatch(count):
        return None
    return DigestAnswer(user, nonce, uri, count, cnonce, response)


def _digest(*parts: str) -> str:
    return hashlib.sha256(":".join(parts).encode()).hexdigest()
