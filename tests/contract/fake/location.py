"""Users' contacts, and the digest that lets a phone write them: usrloc, registrar, auth."""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field

from tests.contract.fake.message import Sip, Uri, header_uri
from tests.rig.sip import Address

MAX_EXPIRES_S = 3600

WRONG_PASSWORD, STALE_NONCE, NO_CREDENTIALS = -2, -4, -5  # of pv_auth_check


@dataclass
class Contact:
    """One phone of a user."""

    uri: bytes
    received: Address
    expires_at: float


class Location:
    """The table of contacts. A save is answered by who saves: (status, Contact headers)."""

    def __init__(self) -> None:
        self._contacts: dict[bytes, dict[bytes, Contact]] = {}

    def of(self, user: bytes) -> list[Contact]:
        """Return the contacts that stand, the latest first."""
        now = time.time()
        return [c for c in reversed(self._contacts.get(user, {}).values()) if c.expires_at > now]

    def save(self, user: bytes, register: Sip) -> int:
        """Do what a REGISTER asks; return the status of its answer."""
        asked_s = _seconds(register.first(b"expires"), MAX_EXPIRES_S)
        found = self._contacts.setdefault(user, {})
        for value in register.all(b"contact"):
            if value.strip() == b"*":
                if asked_s:
                    return 400
                found.clear()
                continue
            uri = header_uri(value)
            if Uri.parse(uri) is None:
                return 400
            parameter = re.search(rb";\s*expires=(\d+)", value.rpartition(b">")[2])
            lives_s = _seconds(parameter[1] if parameter else None, asked_s)
            found.pop(uri, None)
            if lives_s:
                found[uri] = Contact(uri, register.received, time.time() + lives_s)
        return 200

    def listed(self, user: bytes) -> list[bytes]:
        """Return the Contact values of an answer."""
        now = time.time()
        return [
            b'<%b>;expires=%d;received="sip:%b:%d"'
            % (c.uri, round(c.expires_at - now), c.received[0].encode(), c.received[1])
            for c in self.of(user)
        ]


@dataclass
class Auth:
    """Digest with nonces that are ours, and counts that only grow."""

    _counts: dict[str, int] = field(default_factory=dict)

    def challenge(self, realm: str, *, stale: bool) -> str:
        nonce = secrets.token_hex(20)
        self._counts[nonce] = 0
        tail = ", stale=true" if stale else ""
        return f'Digest realm="{realm}", nonce="{nonce}", qop="auth"{tail}'

    def check(self, request: Sip, realm: str, ha1: str) -> int:
        """Return 1 for good credentials, or why they are none."""
        given = credentials(request)
        if given.get("realm") != realm:
            return NO_CREDENTIALS
        nonce, count = given.get("nonce", ""), given.get("nc", "")
        method = request.method.decode()
        middle = f"{nonce}:{count}:{given.get('cnonce', '')}:{given.get('qop', '')}"
        expected = _md5(f"{ha1}:{middle}:{_md5(f'{method}:' + given.get('uri', ''))}")
        if nonce not in self._counts or not re.fullmatch("[0-9a-f]{8}", count):
            return STALE_NONCE
        if int(count, 16) <= self._counts[nonce]:
            return STALE_NONCE
        self._counts[nonce] = int(count, 16)  # also when the password is wrong
        return 1 if expected == given.get("response") else WRONG_PASSWORD


def credentials(request: Sip) -> dict[str, str]:
    """Return the parts of the Authorization header."""
    text = (request.first(b"authorization") or b"").decode()
    if not text.lower().startswith("digest "):
        return {}
    found = re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))', text)
    return {name: quoted or plain for name, quoted, plain in found}


def _seconds(text: bytes | None, otherwise: int) -> int:
    return min(int(text), MAX_EXPIRES_S) if text and text.isdigit() else otherwise


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
