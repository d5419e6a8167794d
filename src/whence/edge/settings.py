"""The settings that the generated kamailio.cfg passes to the edge."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from whence.core.dialogs.record import OwnSockets
from whence.core.protection.connections import hex_of
from whence.core.sip.sockets import LOCAL, Advertised, EdgeSockets
from whence.core.sip.transport_address import Transport, TransportAddress


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of `[edge]` for unknown sources. 0: no limit."""

    connections: int = 0
    connections_per_source: int = 0
    password_failures: int = 0
    streams: tuple[str, ...] = ()
    """Our tcp: and tls: sockets, as `hex_of` writes them."""

    @classmethod
    def parse(cls, values: dict[str, int], listen: list[str]) -> Limits:
        """Read what `whence edge-config` wrote. Raises KeyError or ValueError."""
        sockets = [TransportAddress.parse(text) for text in listen]
        return cls(
            values["connections"],
            values["connections_per_source"],
            values["password_failures"],
            tuple(
                hex_of(own.ip, own.port, sys.byteorder)
                for own in sockets
                if own.transport is not Transport.UDP
            ),
        )


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """The settings of the edge: the define WHENCE_EDGE, which is JSON."""

    directory: Path
    domain: str
    answer_ms: int
    """The time a registrar has to answer. Then the agent gets a 408."""
    own: OwnSockets
    """The sockets of the edge, and the addresses that it advertises."""
    limits: Limits = field(default_factory=Limits)
    sockets: EdgeSockets = LOCAL
    calls_out: bool = False
    """Whether users may call numbers through trunks."""
    sha256: bool = True
    """Whether phones are offered SHA-256, besides MD5."""

    @classmethod
    def parse(cls, text: str) -> EdgeSettings:
        """Read the define of `whence edge-config`. Raises KeyError or ValueError."""
        values = json.loads(text)
        own = OwnSockets.of([TransportAddress.parse(socket) for socket in values["sockets"]])
        limits = Limits.parse(values["limits"], values["listen"])
        sockets = EdgeSockets(
            tuple(TransportAddress.parse(socket) for socket in values["listen"]),
            tuple(
                (TransportAddress.parse(socket), Advertised(host, port))
                for socket, (host, port) in values["advertised"].items()
            ),
        )
        return cls(
            Path(values["directory"]),
            values["domain"],
            values["answer_ms"],
            own,
            limits,
            sockets,
            values["calls_out"],
            values["sha256"],
        )
