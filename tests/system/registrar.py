"""A registrar whose answers the test chooses, with one trunk that registers there."""

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
    """A SIP endpoint that acts as registrar for one trunk."""

    endpoint: Endpoint
    whence: Whence
    trunk_id: str
    cseq: int = 0
    """CSeq of the last REGISTER that was read. A REGISTER at or below it is a retransmission."""

    def next_register(self, within_s: float = PATIENCE_S) -> Message:
        """Return the next REGISTER that is not a retransmission."""

        def is_new(message: Message) -> bool:
            is_register = not message.is_reply and message.method == "REGISTER"
            return is_register and number(message) > self.cseq

        found = self.endpoint.expect(is_new, within_s, "a REGISTER")
        self.cseq = number(found)
        return found

    def sent_no_more(self) -> bool:
        """Return whether the agent sent no REGISTER after the last one that was read.

        Silence has no event to wait for. So the operator requests a REGISTER: its CSeq shows how
        many the agent has sent.
        """
        last = self.cseq
        assert self.whence.cli("register", self.trunk_id).returncode == 0
        return number(self.next_register()) == last + 1

    def answer(self, to: Message, status: int, *headers: tuple[str, str]) -> None:
        """Answer a REGISTER, with these additional headers."""
        self.endpoint.send(reply(to, status, headers=headers), self.whence.address)

    def grant(self, register: Message, *headers: tuple[str, str]) -> None:
        """Answer 200 with these headers, or with the Contact of the REGISTER."""
        self.answer(register, 200, *(headers or [("Contact", register["Contact"])]))

    def granted(self, *headers: tuple[str, str]) -> Message:
        """Grant REGISTERs until the trunk is registered, and return the last of them.

        On a busy machine the agent may give an answer up before it arrives.
        """
        register = self.next_register()
        self.grant(register, *headers)

        def is_registered() -> bool:
            nonlocal register
            if self.trunk()["state"] == "registered":
                return True
            with suppress(AssertionError):
                register = self.next_register(0.1)
                self.grant(register, *headers)
            return False

        eventually(is_registered, what=f"{self.trunk_id} registered")
        return register

    def change(self, **more: object) -> None:
        """Change keys of the trunk in the settings file and reload: the agent registers at once."""
        trunks = [
            t | more if t["id"] == self.trunk_id else t for t in map(dict, self.whence.trunks)
        ]
        self.whence.edit(trunks=trunks)
        self.whence.reload()

    def trunk(self) -> Mapping[str, object]:
        """Return the trunk as the API shows it."""
        return self.whence.trunk(self.trunk_id)

    def addresses(self) -> list[str]:
        """Return the ips that admit the trunk's calls."""
        found = self.whence.get("/v1/addresses")
        return [one["ip"] for one in found if one["trunk"] == self.trunk_id]


def new_registrar(rig: Rig, whence: Whence, **more: object) -> Registrar:
    """Add a trunk at a new `Registrar`. *more*: keys of the trunk; None removes a key."""
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
    """Add a trunk to the settings file, reload, and wait until the API shows the trunk."""
    whence.edit(trunks=[*whence.trunks, table])
    whence.reload()
    eventually(lambda: whence.trunk(str(table["id"])), what=f"trunk {table['id']}")


def number(message: Message) -> int:
    """Return the number of the CSeq."""
    return int(message["CSeq"].split()[0])


def requested_s(message: Message) -> int:
    """Return the interval that a REGISTER requests, in seconds."""
    return int(message["Expires"])


_FIELD = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


def credentials(register: Message, header: str = "Authorization") -> list[dict[str, str]]:
    """Return the fields of each credentials header, without quotes."""
    return [
        {name: quoted or plain for name, quoted, plain in _FIELD.findall(value)}
        for value in register.all(header)
    ]


def are_valid(given: Mapping[str, str], password: str = PASSWORD) -> bool:
    """Return whether credentials for a REGISTER are right.

    This follows RFC 7616 and uses none of the product's code.
    """
    algorithm = given.get("algorithm", "MD5")
    name = _HASHES[algorithm.removesuffix("-sess")]

    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    secret = digest(given["username"], given["realm"], password)
    if algorithm.endswith("-sess"):
        secret = digest(secret, given["nonce"], given["cnonce"])
    request = digest("REGISTER", given["uri"])
    fresh = [given[field] for field in ("nonce", "nc", "cnonce", "qop") if field in given]
    if "qop" not in given:
        fresh = fresh[:1]
    return given["response"] == digest(secret, *fresh, request)


def challenge(
    realm: str = DOMAIN, nonce: str = "n1", *more: str, proxy: bool = False
) -> tuple[str, str]:
    """Return a challenge header. *more*: further fields, as the header has them."""
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return name, ", ".join([f'Digest realm="{realm}"', f'nonce="{nonce}"', *more])
