"""A realm of a strict server: it challenges requests, and verifies the answers.

None of it uses the product's code.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

from testkit.sip import Message

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


@dataclass
class Realm:
    """Who challenges which requests, and how."""

    name: str = "provider.example"
    user: str = "acct1"
    password: str = "secret"
    algorithms: Collection[str] = ("MD5",)
    methods: Collection[str] = ("INVITE",)
    status: int = 407
    qop: str | None = "auth"
    one_line: bool = False
    """Whether all challenges are in one header."""
    stale: int = 0
    """How many right answers get another nonce, as stale."""
    one_time: bool = True
    """Whether a nonce is valid for one request."""
    nonces: set[str] = field(default_factory=set)
    answers: list[str] = field(default_factory=list)
    """All credentials that were sent to this realm."""

    def check(self, message: Message) -> tuple[list[tuple[str, str]], str]:
        """Return the challenges that answer a request, none if it is authorized; and a fault."""
        name = "Proxy-Authorization" if self.status == 407 else "Authorization"
        for value in message.all(name):
            given = _params(value)
            if given.get("realm") == self.name:
                self.answers.append(value)
                return self._checked(message, given)
        return self._challenges(stale=False), ""

    def _checked(
        self, message: Message, given: dict[str, str]
    ) -> tuple[list[tuple[str, str]], str]:
        nonce = given.get("nonce", "")
        if nonce not in self.nonces:
            return self._challenges(stale=True), ""
        if given["uri"] != message.request_uri:
            return [], f"{message.method}: the digest is for {given['uri']}"
        if given["response"] != self._response(message.method, given):
            return self._challenges(stale=False), ""
        if self.one_time:
            self.nonces.discard(nonce)
        if self.stale:
            self.stale -= 1
            return self._challenges(stale=True), ""
        return [], ""

    def _response(self, method: str, given: dict[str, str]) -> str:
        algorithm = given.get("algorithm", "MD5").upper()
        hashed = _HASHES[algorithm.removesuffix("-SESS")]

        def digest(*parts: str) -> str:
            return hashlib.new(hashed, ":".join(parts).encode()).hexdigest()

        secret = digest(self.user, self.name, self.password)
        if algorithm.endswith("-SESS"):
            secret = digest(secret, given["nonce"], given["cnonce"])
        what = digest(method, given["uri"])
        if "qop" not in given:
            return digest(secret, given["nonce"], what)
        middle = (given["nonce"], given["nc"], given["cnonce"], given["qop"])
        return digest(secret, *middle, what)

    def _challenges(self, *, stale: bool) -> list[tuple[str, str]]:
        name = "Proxy-Authenticate" if self.status == 407 else "WWW-Authenticate"
        texts = []
        for algorithm in self.algorithms:
            nonce = secrets.token_hex(8)
            self.nonces.add(nonce)
            text = f'Digest realm="{self.name}", nonce="{nonce}", algorithm={algorithm}'
            text += f', qop="{self.qop}"' if self.qop else ""
            texts.append(text + (", stale=true" if stale else ""))
        return [(name, ", ".join(texts))] if self.one_line else [(name, text) for text in texts]


def _params(value: str) -> dict[str, str]:
    pairs: list[tuple[str, str]] = re.findall(r'(\w+)=("[^"]*"|[^,\s]+)', value)
    return {name: text.strip('"') for name, text in pairs}
