"""The digest with SHA-256 of phones. Kamailio's module auth has one algorithm at a time.

The edge makes and checks its own nonces for SHA-256; Kamailio makes and checks those for MD5.
Neither accepts a nonce of the other, so an answer has the algorithm that its challenge offered.
"""

from __future__ import annotations

import secrets
import time
from enum import Enum, auto

from whence.core.protection import nonces
from whence.core.sip.digest_answers import challenge, find_sha256, parse_answer
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.edge.base import Worker, text

USED_NONCES = "nonces"
"""Table: random part of a nonce → how often it was used. It outlives the nonces."""

UNUSABLE_HA1 = Secret("0" * 64)
"""The HA1 that the edge checks for an unknown user name. No password has it."""

_KEY_BYTES = 32
_WEBSOCKET = frozenset({Transport.WS, Transport.WSS})


class Result(Enum):
    """The result of a check of credentials."""

    RIGHT = auto()
    WRONG = auto()
    """A wrong response to a fresh nonce of ours for this ip."""
    STALE = auto()
    """The nonce is old, used, or of another ip or call."""
    NONE = auto()
    """There are no credentials, or they cannot be read."""


class Sha256:
    """Challenges the current request with SHA-256, and checks its answer."""

    def __init__(self, worker: Worker, domain: str, *, is_offered: bool) -> None:
        """Make the key of the nonces. All workers need the same: Kamailio forks them later."""
        self._worker = worker
        self._ksr = worker.ksr
        self._domain = domain
        self._is_offered = is_offered
        self._key = secrets.token_hex(_KEY_BYTES)
        self._all_users = False
        self._all_users_of: bytes | None = None
        """The generation of the directory in which all users have an HA1, or not."""

    def check(self, name: str, source: TransportAddress) -> Result | None:
        """Check the credentials with SHA-256 for user `name`; None if the request has none."""
        header = "authorization" if self._is_register() else "proxy-authorization"
        if not self._is_offered or text(lambda: self._ksr.hdr.get(header)) is None:
            return None
        written = find_sha256(self._worker.message.fields().get(header, ()), self._domain)
        if written is None:
            return None
        answer = parse_answer(written)
        if answer is None:
            return Result.NONE
        if not nonces.is_valid(self._key, answer.nonce, _now_s(), *self._bound(source)):
            return Result.STALE
        # Atomic: the same answer may reach several workers. A full table accepts none.
        if self._ksr.htable.sht_inc(USED_NONCES, nonces.random_of(answer.nonce)) != 1:
            return Result.STALE
        ha1 = self._worker.directory.user_sha256(name, self._domain)
        is_right = answer.is_right(ha1 or UNUSABLE_HA1, text(self._ksr.kx.get_method) or "")
        is_accepted = is_right and ha1 is not None and answer.user == name
        return Result.RIGHT if is_accepted else Result.WRONG

    def add_challenge(self, source: TransportAddress, *, stale: bool) -> None:
        """Add a challenge to the answer of the current request, if SHA-256 is offered."""
        # JsSIP and SIP.js give up if the first challenge is not of MD5.
        if not self._is_offered or source.transport in _WEBSOCKET or not self._all_users_have_it():
            return
        random = secrets.token_hex(nonces.RANDOM // 2)
        nonce = nonces.make(self._key, _now_s(), random, *self._bound(source))
        header = "WWW-Authenticate" if self._is_register() else "Proxy-Authenticate"
        value = challenge(self._domain, nonce, stale=stale)
        self._ksr.hdr.append_to_reply(f"{header}: {value}\r\n")

    def _bound(self, source: TransportAddress) -> tuple[str, ...]:
        """Return what a nonce is valid for: an ip, and for a call its R-URI and Call-ID."""
        kx = self._ksr.kx
        if self._is_register():
            return "REGISTER", source.ip_text
        call = text(kx.get_ruri) or "", text(lambda: self._ksr.hdr.get("Call-ID")) or ""
        return "call", source.ip_text, *call

    def _is_register(self) -> bool:
        return text(self._ksr.kx.get_method) == "REGISTER"

    def _all_users_have_it(self) -> bool:
        """Return whether all users have an HA1 with SHA-256.

        A phone answers the strongest challenge. If the edge left it out for some users, the
        challenge would show that these names exist.
        """
        generation = self._worker.decision_cache.generation()
        if generation is None or generation != self._all_users_of:
            self._all_users = self._worker.directory.all_users_have_sha256()
            self._all_users_of = generation
        return self._all_users


def _now_s() -> int:
    return int(time.monotonic())
