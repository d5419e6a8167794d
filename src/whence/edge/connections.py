"""Limits of the inbound connections of unknown sources, counted from Linux's tables in /proc."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection.connections import Connections, Peer, network_of, peers
from whence.core.sip.transport_address import IP, Transport, TransportAddress
from whence.edge.base import GO_ON, NO, PHONES, Handlers, Worker, survives
from whence.edge.notice_sender import NoticeSender
from whence.edge.settings import Limits
from whence.errors import StoreUnavailableError

SCAN_S = 2.0
SCAN_EARLIER = 16
"""The edge counts every SCAN_S seconds, or earlier after SCAN_EARLIER further TCP sockets."""

SOCKSTAT = (Path("/proc/net/sockstat"), Path("/proc/net/sockstat6"))
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

PEER = "$var(peer)"
"""Kamailio's variable with the connection that kamailio.cfg closes next."""


class ConnectionHandlers(Handlers):
    """Finds the connections of unknown sources that are too many, or too old."""

    def __init__(self, worker: Worker, limits: Limits, notices: NoticeSender) -> None:
        super().__init__(worker)
        self._notices = notices
        self._connections = Connections(limits.connections, limits.connections_per_source)
        self._streams = frozenset(limits.streams)
        self._scan_at = 0.0
        self._scanned = 0
        self._closing: Iterator[Peer] = iter(())

    @survives
    def ksr_next_to_close(self, _message: object) -> int:
        """Write the next inbound connection to close into PEER; NO where there is none.

        Runs in a process of its own, several times a second.
        """
        now = time.monotonic()
        peer = next(self._closing, None)
        if peer is None and self._is_due(now):
            self._closing = iter(self._scan(now))
            peer = next(self._closing, None)
        if peer is None:
            return NO
        self.ksr.pv.sets(PEER, str(peer))
        return GO_ON

    def _is_due(self, now: float) -> bool:
        in_use = sum(_in_use(path) for path in SOCKSTAT)
        if now < self._scan_at and in_use < self._scanned + SCAN_EARLIER:
            return False
        self._scan_at, self._scanned = now + SCAN_S, in_use
        return True

    def _scan(self, now: float) -> list[Peer]:
        seen = [
            peer for path in TABLES for peer in peers(_text(path), self._streams, sys.byteorder)
        ]
        trunks: dict[IP, bool] = {}

        def is_proven(peer: Peer) -> bool:
            if self.ksr.htable.sht_get(PHONES, f"{peer.ip}:{peer.port}") is not None:
                return True
            if peer.ip not in trunks:
                try:
                    trunks[peer.ip] = self.worker.directory.admits_ip(peer.ip, self.worker.now())
                except StoreUnavailableError:
                    trunks[peer.ip] = True
            return trunks[peer.ip]

        closing = self._connections.to_close(seen, now, is_proven)
        counted: dict[IP, list[Peer]] = {}
        for peer in closing:
            counted.setdefault(network_of(peer.ip), []).append(peer)
        for of_one in counted.values():
            source = TransportAddress(Transport.TCP, of_one[0].ip, of_one[0].port)
            self._notices.send(NoticeReason.CONNECTIONS, source, time.time(), count=len(of_one))
        return closing


def _in_use(sockstat: Path) -> int:
    """Return how many TCP sockets are in use in this network namespace."""
    for line in _text(sockstat).splitlines():
        if line.startswith("TCP"):
            fields = line.split()
            return int(fields[fields.index("inuse") + 1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""
