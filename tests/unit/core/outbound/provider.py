"""A digest server for tests, written from RFC 7616 without the code under test."""

import hashlib
import re
from dataclasses import dataclass, field

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
PASSWORD = "secret"
USER = 'acct"1'


@dataclass
class Realm:
    """One server on the way of a request, which challenges for its own realm."""

    name: str
    algorithms: tuple[str, ...] = ("MD5",)
    qop: str | None = "auth"
    proxy: bool = True
    password: str = PASSWORD
    stale: int = 0
    """How many correct answers it refuses as stale."""
    new_nonces: bool = True
    nonce: str = "nonce-0"
    used: dict[str, int] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)

    @property
    def header(self) -> str:
        return "Proxy-Authorization" if self.proxy else "Authorization"

    def challenge(self, *, stale: bool = False) -> list[tuple[bool, str]]:
        """Return (whether it is a proxy's, value) of its challenges, the weakest first."""
        if self.new_nonces:
            self.nonce = f"nonce-{int(self.nonce.partition('-')[2]) + 1}"
        qop = f', qop="{self.qop}"' if self.qop else ""
        flag = ", stale=TRUE" if stale else ""
        return [
            (
                self.proxy,
                f'Digest realm="{self.name}", nonce="{self.nonce}", algorithm={algorithm}{qop}, '
                f'opaque="o,=\\"x"{flag}',
            )
            for algorithm in self.algorithms
        ]

    def accepts(self, method: str, uri: str, headers: list[tuple[str, str]]) -> str:
        """Return ok, missing, wrong or stale."""
        for name, value in headers:
            given = fields(value) if name == self.header else {}
            if given.get("realm") == self.name:
                self.seen.append(given)
                return self._check(method, uri, given)
        return "missing"

    def _check(self, method: str, uri: str, given: dict[str, str]) -> str:
        algorithm = given["algorithm"]
        digest = HASHES[algorithm.upper().removesuffix("-SESS")]

        def h(text: str) -> str:
            return hashlib.new(digest, text.encode()).hexdigest()

        a1 = h(f"{USER}:{self.name}:{self.password}")
        if algorithm.upper().endswith("-SESS"):
            a1 = h(f"{a1}:{given['nonce']}:{given['cnonce']}")
        a2 = h(f"{method}:{uri}")
        middle = given["nonce"]
        if self.qop:
            middle += f":{given['nc']}:{given['cnonce']}:{given['qop']}"
        right = h(f"{a1}:{middle}:{a2}")
        if given["response"] != right or given["uri"] != uri or given["username"] != USER:
            return "wrong"
        if given["nonce"] != self.nonce and self.new_nonces:
            return "stale"
        count = int(given.get("nc", "1"), 16)
        if self.qop and count <= self.used.get(given["nonce"], 0):
            return "wrong"  # a replay
        self.used[given["nonce"]] = count
        if self.stale:
            self.stale -= 1
            return "stale"
        return "ok"


def fields(value: str) -> dict[str, str]:
    """Read the fields of an Authorization header."""
    assert value.startswith("Digest ")
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^",\s]+)(?:, |$)', value[len("Digest ") :])
    return {
        name: re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
        for name, text in pairs
    }
