"""Which inbound TCP and TLS connections the agent closes, so that one source cannot take all.

A connection is *proven* if it comes from a trunk's address or a registered phone. Only unproven
connections are closed, the oldest first:

- those of one source network above its limit (IPv4: one ip; IPv6: a /64);
- those that are older than `PROVE_WITHIN_S`, even if they send messages;
- any of them, while more than three quarters of all connections are in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

PROVE_WITHIN_S = 60.0
"""Phones register, and providers call, well within this time."""

ESTABLISHED = "01"  # the state in /proc/net/tcp

Ip = IPv4Address | IPv6Address


class Peer(NamedTuple):
    """The other end of an inbound connection."""

    ip: Ip
    port: int

    def __str__(self) -> str:
        """Write `ip:port` as Kamailio reads it."""
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


def network_of(ip: Ip) -> Ip:
    """Return the source network: the ip, or the first address of its IPv6 /64."""
    if isinstance(ip, IPv4Address):
        return ip
    return IPv6Address(int(ip) >> 64 << 64)


def hex_of(ip: Ip, port: int, byte_order: str) -> str:
    """Write a socket as /proc/net/tcp and /proc/net/tcp6 do: words in the machine's byte order.

    `byte_order`: sys.byteorder.
    """
    return f"{_swapped(ip.packed, byte_order).hex().upper()}:{port:04X}"


def _swapped(data: bytes, byte_order: str) -> bytes:
    """Convert words of four bytes between the network's and the machine's byte order."""
    if byte_order == "big":
        return data
    return b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))


def peers(table: str, ours: frozenset[str], byte_order: str) -> list[Peer]:
    """Read the established connections to our sockets from the text of /proc/net/tcp or tcp6.

    `ours`: our sockets as `hex_of` writes them. `byte_order`: sys.byteorder.
    """
    found = []
    for line in table.splitlines()[1:]:
        _, local, remote, state, *_ = line.split(None, 4)
        if state == ESTABLISHED and local in ours:
            ip, _, port = remote.partition(":")
            packed = _swapped(bytes.fromhex(ip), byte_order)
            found.append(Peer(ip_address(packed), int(port, 16)))
    return found


@dataclass
class Connections:
    """The inbound connections, with the instants at which they were first seen."""

    limit: int
    """How many connections there may be."""
    per_source: int
    """How many unproven ones one source network may have; 0: no limit."""
    _since: dict[Peer, float] = field(default_factory=dict)

    def to_close(
        self, seen: Iterable[Peer], now: float, proven: Callable[[Peer], bool]
    ) -> list[Peer]:
        """Return the connections to close, the oldest first. `now`: seconds of a monotonic clock.

        `proven` is called only for connections that may be closed.
        """
        since = self._since
        self._since = since = {peer: since.get(peer, now) for peer in seen}
        by_source: dict[Ip, list[Peer]] = {}
        for peer in since:
            by_source.setdefault(network_of(peer.ip), []).append(peer)
        closing: dict[Peer, None] = {}
        for of_one in by_source.values():
            if self.per_source and len(of_one) > self.per_source:
                unproven = [peer for peer in self._oldest(of_one) if not proven(peer)]
                too_many = len(unproven) - self.per_source
                closing.update(dict.fromkeys(unproven[: max(0, too_many)]))
        for peer, seen_at in since.items():
            if now - seen_at > PROVE_WITHIN_S and peer not in closing and not proven(peer):
                closing[peer] = None
        crowded = len(since) - len(closing) - self.limit * 3 // 4
        if crowded > 0:
            for peer in self._oldest(since):
                if crowded > 0 and peer not in closing and not proven(peer):
                    closing[peer] = None
                    crowded -= 1
        for peer in closing:
            del self._since[peer]
        return list(closing)

    def _oldest(self, of: Iterable[Peer]) -> list[Peer]:
        return sorted(of, key=self._since.__getitem__)
