"""A registrar that a story plays by hand, with one trunk that registers there."""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, reply
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import Table, Whence
from tests.system.scene import ALICE, place

DOMAIN = "provider.example"
PASSWORD = "secret"


@dataclass
class Registrar:
    """Its socket, and the trunk that registers there."""

    endpoint: Endpoint
    whence: Whence
    trunk_id: str
    cseq: int = 0
    """Of the last REGISTER that was read; what is not above it was sent again."""

    def asked(self, within_s: float = PATIENCE_S) -> Message:
        """Return the next REGISTER that is no retransmission."""

        def is_new(message: Message) -> bool:
            is_register = not message.is_reply and message.method == "REGISTER"
            return is_register and number(message) > self.cseq

        found = self.endpoint.expect(is_new, within_s, "a REGISTER")
        self.cseq = number(found)
        return found

    def asks_no_more(self) -> bool:
        """Whether no REGISTER follows the one that was read last, until an operator orders one.

        For "asks no more" there is no event; but the CSeq counts whatever has been sent.
        """
        last = self.cseq
        assert self.whence.cli("register", self.trunk_id).returncode == 0
        return number(self.asked()) == last + 1

    def answer(self, to: Message, status: int, *headers: tuple[str, str]) -> None:
        """Answer a REGISTER, with these headers besides what each answer has."""
        self.endpoint.send(reply(to, status, headers=headers), self.whence.address)

    def grant(self, asked: Message, *headers: tuple[str, str]) -> None:
        """Say 200, and list the Contact as it came, unless other headers are given."""
        self.answer(asked, 200, *(headers or [("Contact", asked["Contact"])]))

    def granted(self, *headers: tuple[str, str]) -> Message:
        """Grant REGISTERs until one is known to be granted, and return that.

        On a busy machine an answer may come too late to count.
        """
        asked = self.asked()
        self.grant(asked, *headers)

        def counts() -> bool:
            nonlocal asked
            if self.trunk()["state"] == "registered":
                return True
            with suppress(AssertionError):
                asked = self.asked(0.1)
                self.grant(asked, *headers)
            return False

        eventually(counts, what=f"{self.trunk_id} registered")
        return asked

    def change(self, **more: object) -> None:
        """Change the trunk's table, as an operator does: it registers at once."""
        trunks = [
            t | more if t["id"] == self.trunk_id else t for t in map(dict, self.whence.trunks)
        ]
        self.whence.edit(trunks=trunks)
        self.whence.reload()

    def trunk(self) -> Mapping[str, object]:
        """Return what the API says of the trunk."""
        return self.whence.trunk(self.trunk_id)

    def addresses(self) -> list[str]:
        """Return the addresses that the trunk's calls may come from."""
        found = self.whence.get("/v1/addresses")
        return [one["ip"] for one in found if one["trunk"] == self.trunk_id]


def by_hand(rig: Rig, whence: Whence, **more: object) -> Registrar:
    """Add a trunk at a registrar of its own, played by hand; None takes a key away."""
    trunk_id = f"by-hand-{len(whence.trunks)}"
    endpoint = rig.endpoint(trunk_id, SIP_PORT)
    table: dict[str, object] = {
        "id": trunk_id,
        "registrar": f"sip:{place(endpoint.address)}",
        "domain": DOMAIN,
        "user": "acct1",
        "password": PASSWORD,
        "target": ALICE,
        **more,
    }
    add(whence, {key: value for key, value in table.items() if value is not None})
    return Registrar(endpoint, whence, trunk_id)


def add(whence: Whence, table: Table) -> None:
    """Add a trunk to the file, and wait until it is known."""
    whence.edit(trunks=[*whence.trunks, table])
    whence.reload()
    eventually(lambda: whence.trunk(str(table["id"])), what=f"trunk {table['id']}")


def number(message: Message) -> int:
    """Return the number of the CSeq."""
    return int(message["CSeq"].split()[0])


def expires_asked(message: Message) -> int:
    """Return for how long a REGISTER asks."""
    return int(message["Expires"])


_FIELD = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


def credentials(asked: Message, header: str = "Authorization") -> list[dict[str, str]]:
    """Return the fields of each credentials header, quotes off."""
    return [
        {name: quoted or plain for name, quoted, plain in _FIELD.findall(value)}
        for value in asked.all(header)
    ]


def proves(given: Mapping[str, str], password: str = PASSWORD) -> bool:
    """Whether credentials for a REGISTER are right, by RFC 7616 and none of the product's code."""
    algorithm = given.get("algorithm", "MD5")
    name = _HASHES[algorithm.removesuffix("-sess")]

    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    secret = digest(given["username"], given["realm"], password)
    if algorithm.endswith("-sess"):
        secret = digest(secret, given["nonce"], given["cnonce"])
    what = digest("REGISTER", given["uri"])
    fresh = [given[field] for field in ("nonce", "nc", "cnonce", "qop") if field in given]
    if "qop" not in given:
        fresh = fresh[:1]
    return given["response"] == digest(secret, *fresh, what)


def challenge(
    realm: str = DOMAIN, nonce: str = "n1", *more: str, proxy: bool = False
) -> tuple[str, str]:
    """Return a challenge header; *more* are further fields, as they are to be written."""
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return name, ", ".join([f'Digest realm="{realm}"', f'nonce="{nonce}"', *more])
