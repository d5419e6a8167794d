"""Bounds on what unknown sources can take: requests, connections, log lines, password guesses.

Kamailio's shared tables (module htable) hold what all workers must know; kamailio.cfg names them.
A source is an ip, or the /64 of an IPv6 address. A trunk's address and the address of a registered
phone are never blocked for a flood: UDP sources can be forged.
"""

from __future__ import annotations

import re
import secrets
import socket
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection import blocks as block
from whence.core.protection.connections import Connections, Peer, hex_of, network_of, peers
from whence.core.sip.message import Message
from whence.core.sip.transport_address import (
    IP,
    TRANSPORTS,
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import host_text
from whence.edge.base import GO_ON, NO, Handlers, judges, survives
from whence.edge.ksr import Ksr
from whence.errors import StoreUnavailableError
from whence.ipc import decisions, notices
from whence.ipc.notices import Notice

FLOOD = "flood"
"""Table: source → 1 while what it sends is dropped; an entry lasts a few seconds."""

ANY_IPV6 = "ipv6"
"""Its key that is there while any IPv6 source is."""

PHONES = "phones"
"""Table: ip, and ip:port, of phones that registered in the last two hours."""

FAILURES = "failures"
BLOCKS = "blocks"
BLOCKED = "blocked"
"""Tables: source → wrong passwords; how often it was blocked; 1 while it is."""

PHONE_S = 7200
"""How long a phone's address counts: twice the longest registration."""

WRONG_PASSWORD = -2  # auth.pv_auth_check: our nonce, fresh and for this ip; a wrong response

NOTICES_A_SECOND = 20
"""How many notices of one reason one process sends in a second; more are counted."""

CHECKED_LIMIT = 1000
"""How many flooding sources one worker remembers as nobody's."""

SCAN_S = 2.0
SCAN_EARLIER = 16
"""Connections are counted every SCAN_S seconds, or once there are so many more TCP sockets."""

SOCKSTAT = (Path("/proc/net/sockstat"), Path("/proc/net/sockstat6"))
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

_KAMAILIO_PROTOCOLS = {"1": "udp", "2": "tcp", "3": "tls", "4": "sctp", "5": "ws", "6": "wss"}
"""Kamailio's own numbers of transports (`sip_protos_t`), of which we know some."""

PROTOCOLS = {
    number: TRANSPORTS[name] for number, name in _KAMAILIO_PROTOCOLS.items() if name in TRANSPORTS
}
"""What `$rcv(proto)` says."""

FOLDED_CSEQ = re.compile(r"\r\ncseq[ \t]*:[ \t]*[0-9]*[ \t]*\r\n[ \t]")
"""In the header part of a message in small letters."""

PEER = "$var(peer)"
"""What kamailio.cfg closes next."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`[edge]`: what one unknown source may take. 0: no limit."""

    connections: int = 0
    connections_per_source: int = 0
    password_failures: int = 0
    streams: tuple[str, ...] = ()
    """Our tcp: and tls: sockets, as `hex_of` writes them."""

    @classmethod
    def parse(cls, values: dict[str, int], listen: list[str]) -> Limits:
        """Read what `whence edge-config` wrote; KeyError or ValueError if it did not."""
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


def table_key(ip: IP) -> str:
    """Write a source as the tables have it: an IPv4 address, or the first of an IPv6 /64."""
    return str(network_of(ip))


def counted_as(ip: IP) -> str:
    """Return the ip by which `pike` counts a source.

    `pike_check_ip` of 5.6 reads no IPv6 address. A /64 counts as one of 240.0.0.0/4, where no
    source is; two that share one share a count, and only who is refused himself is dropped.
    """
    if ip.version == 4:
        return str(ip)
    number = zlib.crc32(network_of(ip).packed) & 0x0FFF_FFFF
    return str(IPv4Address(0xF000_0000 | number))


class NoticeSender:
    """The way to the agent for notices, of one process; bounded a second."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._second = 0
        self._sent: Counter[NoticeReason] = Counter()
        self._left_out = 0

    def has_room(self, reason: NoticeReason, now: float) -> bool:
        """Whether one more of this reason may be sent in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._sent.clear()
        return self._sent[reason] < NOTICES_A_SECOND

    def __call__(
        self,
        reason: NoticeReason,
        source: TransportAddress,
        now: float,
        *,
        count: int = 1,
        blocked_s: int = 0,
        detail: str = "",
    ) -> None:
        """Send one, unless too many were sent in this second or nobody reads."""
        if not self.has_room(reason, now):
            self._left_out += 1
            return
        self._sent[reason] += 1
        data = notices.message(
            Notice(now, reason, source, count, blocked_s, self._left_out, detail)
        )
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(data, self._path)
        except OSError:
            self._left_out += 1
        else:
            self._left_out = 0


@dataclass
class _Checked:
    """Flooding sources that the directory does not know, in one of its generations."""

    generation: bytes | None = None
    ips: set[str] = field(default_factory=set)


class GuardHandlers(Handlers):
    """The handlers of kamailio.cfg that keep unknown sources within bounds."""

    def __init__(self, ksr: Ksr, directory: Path, limits: Limits) -> None:
        super().__init__(ksr, directory)
        self._limits = limits
        self._notices = NoticeSender(directory.with_name(decisions.SOCKET_FILE))
        self._checked = _Checked()
        self._connections = Connections(limits.connections, limits.connections_per_source)
        self._streams = frozenset(limits.streams)
        self._scan_at = 0.0
        self._scanned = 0
        self._closing: Iterator[Peer] = iter(())

    # Floods.

    @survives
    def ksr_stranger(self, _message: object) -> int:
        """Count a request that was refused, and drop what its source sends if it floods."""
        self._count_refused()
        return GO_ON

    @survives
    def ksr_unreadable(self, _message: object) -> int:
        """Count a message that Kamailio cannot read, and report its source."""
        self._report_unreadable(self._source())
        return GO_ON

    @survives
    def ksr_flooding(self, _message: object) -> int:
        """Say whether a message is dropped: its source floods, and is no trunk's or phone's (NO).

        Runs before the message is parsed: only `$rcv` is to be asked for its source.
        """
        text = str(self.ksr.pv.get("$rcv(srcip)"))
        ip = canonical_ip(text)
        if ip.version == 6 and self.ksr.htable.sht_get(FLOOD, table_key(ip)) is None:
            return GO_ON  # another one floods
        generation = self._known.generation()
        checked = self._checked
        if generation is None or generation != checked.generation:
            self._checked = checked = _Checked(generation)
        if self.ksr.htable.sht_get(PHONES, str(ip)) is not None:
            return GO_ON
        if text in checked.ips:
            return NO
        if self._belongs(ip, time.time()):
            return GO_ON
        if len(checked.ips) < CHECKED_LIMIT:
            checked.ips.add(text)
        return NO

    @judges
    def ksr_folded_cseq(self, _message: object) -> int:
        """Answer a request whose CSeq is folded, which Kamailio cannot read; NO if it is not.

        Runs before the message is parsed: only `$rcv` is to be asked for its source.
        """
        get = self.ksr.pv.get
        message = Message(bytes.fromhex(str(get("$(rcv(buf){s.encode.hexa})"))))
        if not FOLDED_CSEQ.search(message.head):
            return NO
        transport = PROTOCOLS[str(get("$rcv(proto)"))]
        source = _place(transport, get("$rcv(srcip)"), get("$rcv(srcport)"))
        own = _place(transport, get("$rcv(rcvip)"), get("$rcv(rcvport)"))
        self._send_refusal(message, 400, "Folded CSeq", source, own)
        self._report_unreadable(source)
        return GO_ON

    @survives
    def ksr_unparsed(self, _message: object) -> int:
        """Answer a request that Kamailio cannot parse, if it has what an answer needs."""
        message = self._read()
        if message is not None:
            self._send_refusal(message, 400, "Bad Request", *self._ends())
        self._report_unreadable(self._source())
        return GO_ON

    def _ends(self) -> tuple[TransportAddress, TransportAddress]:
        """Return where the message at hand came from, and our socket that it came to."""
        kx, source = self.ksr.kx, self._source()
        return source, _place(source.transport, kx.get_rcvip(), kx.get_rcvport())

    def _send_refusal(
        self,
        message: Message,
        status: int,
        phrase: str,
        source: TransportAddress,
        own: TransportAddress,
    ) -> None:
        """Answer a request by which Kamailio could make no answer."""
        answer = message.refusal(status, phrase, secrets.token_hex(8))
        if answer:
            to = f"sip:{host_text(source.ip_text)}:{source.port};transport={source.transport}"
            self.ksr.corex.sendx(to, str(own), answer)

    def _report_unreadable(self, source: TransportAddress) -> None:
        now = time.time()
        if self._notices.has_room(NoticeReason.UNREADABLE, now) and not self._belongs(
            source.ip, now
        ):
            self._notices(NoticeReason.UNREADABLE, source, now)
        self._count_refused(source)

    def _count_refused(self, source: TransportAddress | None = None) -> None:
        source = source or self._source()
        if self.ksr.pike.pike_check_ip(counted_as(source.ip)) > 0:
            return
        now = time.time()
        key = table_key(source.ip)
        if self.ksr.htable.sht_get(FLOOD, key) is None and not self._belongs(source.ip, now):
            self.ksr.htable.sht_seti(FLOOD, key, 1)
            if source.ip.version == 6:
                self.ksr.htable.sht_seti(FLOOD, ANY_IPV6, 1)
            self._notices(NoticeReason.FLOOD, source, now)

    def _belongs(self, ip: IP, now: float) -> bool:
        """Whether a trunk's address, or a phone that registered, is at this ip.

        Where the directory cannot be read nobody is blocked.
        """
        if self.ksr.htable.sht_get(PHONES, str(ip)) is not None:
            return True
        try:
            return self._directory.admits_ip(ip, now)
        except StoreUnavailableError:
            return True

    # Passwords.

    def _is_blocked(self, source: TransportAddress) -> bool:
        """Whether the source of a REGISTER is blocked; a phone that registered there is not."""
        sht_get = self.ksr.htable.sht_get
        return (
            bool(self._limits.password_failures)
            and sht_get(BLOCKED, table_key(source.ip)) is not None
            and sht_get(PHONES, f"{source.ip}:{source.port}") is None
        )

    def _registered(self, source: TransportAddress) -> None:
        """Remember that a phone proved itself from this source."""
        self.ksr.htable.sht_seti(PHONES, source.ip_text, 1)
        self.ksr.htable.sht_seti(PHONES, f"{source.ip}:{source.port}", 1)

    def _wrong_password(self, source: TransportAddress, user: str, now: float) -> None:
        """Count a wrong password, block its source if there were too many, and report it.

        The nonce is ours and for this ip, so the source received our challenge: it is not forged.
        """
        htable, key = self.ksr.htable, table_key(source.ip)
        blocks = int(htable.sht_get(BLOCKS, key) or 0)
        failures = htable.sht_inc(FAILURES, key)  # at once: guesses come to several workers
        blocked_s = 0
        if block.is_too_many(failures, blocks, self._limits.password_failures):
            blocked_s = block.lasts_s(blocks + 1)
            htable.sht_seti(BLOCKS, key, blocks + 1)
            htable.sht_rm(FAILURES, key)
            htable.sht_setxi(BLOCKED, key, 1, blocked_s)
        self._notices(NoticeReason.PASSWORD, source, now, blocked_s=blocked_s, detail=user)

    # Connections.

    @survives
    def ksr_next_to_close(self, _message: object) -> int:
        """Name the next inbound connection that has to go; NO where there is none.

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
                    trunks[peer.ip] = self._directory.admits_ip(peer.ip, time.time())
                except StoreUnavailableError:
                    trunks[peer.ip] = True
            return trunks[peer.ip]

        closing = self._connections.to_close(seen, now, is_proven)
        counted: dict[IP, list[Peer]] = {}
        for peer in closing:
            counted.setdefault(network_of(peer.ip), []).append(peer)
        for of_one in counted.values():
            source = TransportAddress(Transport.TCP, of_one[0].ip, of_one[0].port)
            self._notices(NoticeReason.CONNECTIONS, source, time.time(), count=len(of_one))
        return closing


def _place(transport: Transport, ip: str | int | None, port: str | int | None) -> TransportAddress:
    """Make a source of what Kamailio says."""
    return TransportAddress(transport, canonical_ip(str(ip)), int(port or 0))


def _in_use(sockstat: Path) -> int:
    """How many TCP sockets are in use in this network namespace."""
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
