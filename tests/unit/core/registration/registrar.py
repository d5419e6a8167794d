"""A model of a registrar that checks nonces: as one server, or as a cluster with one each."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from whence.core.registration.events import Send
from whence.core.registration.model import Reply
from whence.core.sip.digest import Challenge

REALM = "provider.example"


@dataclass
class Node:
    """One server: its nonce, and the highest count that it received for each nonce."""

    name: str
    issued: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """Valid nonce → its highest count."""

    def challenge(self, *, fresh: bool, stale: bool) -> Challenge:
        """Return a challenge, with a new nonce if `fresh` or if there is none."""
        if fresh or not self.counts:
            self.issued += 1
            self.counts = {f"{self.name}-{self.issued}": 0}
        return Challenge(REALM, next(iter(self.counts)), qop=("auth",), stale=stale)


@dataclass
class Registrar:
    """A registrar with a password, of one node or several."""

    password: str = "secret"
    once: bool = False
    """Whether a nonce is valid for one request."""
    sends_stale: bool = False
    """Whether a challenge to an invalid nonce has `stale`."""
    forbids: bool = False
    """Whether an invalid nonce, or a repeated count, gets a 403 instead of a challenge."""
    nodes: list[Node] = field(default_factory=lambda: [Node("a")])
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Each (nonce, count) that any node received."""
    repeated: list[tuple[str, str]] = field(default_factory=list)
    rejected: int = 0
    """Right nonces with a wrong response."""

    def answer(self, send: Send, node: Node) -> Reply:
        """Return the answer of a node to a REGISTER."""
        fields = _fields(send)
        if fields is None:
            return self._challenge(send, node, stale=False)
        use = fields["nonce"], fields["nc"]
        if use in self.seen:
            self.repeated.append(use)
        self.seen.add(use)
        highest, count = node.counts.get(use[0]), int(use[1], 16)
        if highest is None or count <= highest:
            if self.forbids:
                return Reply(403, "Forbidden", send.cseq)
            return self._challenge(send, node, stale=self.sends_stale)
        node.counts[use[0]] = count
        if self.once:
            node.counts.clear()
        if not self._is_right(fields):
            self.rejected += 1
            return self._challenge(send, node, stale=False)
        return Reply(200, "OK", send.cseq, expires_s=send.expires_s)

    def _challenge(self, send: Send, node: Node, *, stale: bool) -> Reply:
        challenge = node.challenge(fresh=self.once, stale=stale)
        return Reply(401, "Unauthorized", send.cseq, challenges=(challenge,))

    def _is_right(self, fields: dict[str, str]) -> bool:
        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        ha1, ha2 = md5(f"auth1:{REALM}:{self.password}"), md5(f"REGISTER:{fields['uri']}")
        parts = fields["nonce"], fields["nc"], fields["cnonce"], "auth", ha2
        return fields["response"] == md5(":".join([ha1, *parts]))


def _fields(send: Send) -> dict[str, str] | None:
    """Return the parameters of the Authorization header; None without one."""
    for name, value in send.authorizations:
        assert name == "Authorization"
        found = re.findall(r'(\w+)=(?:"([^"]*)"|(\w+))', value)
        return {key: quoted or plain for key, quoted, plain in found}
    return None
