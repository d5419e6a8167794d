"""What edge and agent say to each other in SIP headers, and the seals that make it theirs.

The agent's REGISTER asks the edge to send it to a next hop from one of its sockets; the edge's
reply says where the answer really came from. Both are sealed with the inside key, that only the two
know: a reply that some stranger makes the edge pass on statelessly, and a local process that sits
on the loopback port while one of the two is down, can make neither. The key itself never travels.
"""

from __future__ import annotations

from whence.core.mac import mac

PREFIX = "x-whence"
"""What the name of each header here begins with, in small letters."""

NEXT_HOP = "X-Whence-Next-Hop"
NAME_PARAM = ";name="
"""Ends a next hop over TLS: the name that the certificate there must be for."""
SOCKET = "X-Whence-Socket"
KEY = "X-Whence-Key"
SOURCE = "X-Whence-Source"
DISTRUST = "X-Whence-Distrust"
"""Instead of a source: why the edge does not believe whoever answered."""
TRUNK = "X-Whence-Trunk"


def request_seal(key: str, method: str, call_id: str, cseq: str, next_hop: str, socket: str) -> str:
    """Seal a request of the agent's: what it is, and what the edge is to do with it."""
    return _seal(key, "request", method, call_id, cseq, next_hop, socket)


def reply_seal(
    key: str, call_id: str, cseq: str, status: int, source: str, distrust: str = ""
) -> str:
    """Seal a reply's stamp: which answer, and where it came from, or why it is not believed."""
    return _seal(key, "reply", call_id, cseq, str(status), source, distrust)


def _seal(key: str, *parts: str) -> str:
    return mac(key, 16, *parts)
