"""Limits of the requests and the unreadable messages of unknown sources.

All workers share Kamailio's tables (module htable), which kamailio.cfg declares. A source is an
IPv4 address or an IPv6 /64. The edge never blocks the address of a trunk or of a registered phone
for a flood: UDP sources can be forged.
"""

from __future__ import annotations

import re
import secrets
import time
import zlib
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from whence.core.identification.decision import Reason
from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection.connections import network_of
from whence.core.sip.message import Message
from whence.core.sip.transport_address import (
    IP,
    TRANSPORTS,
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import host_text
from whence.core.sip.via import reply_port
from whence.edge.base import GO_ON, NO, PHONES, Handlers, Worker, judges, survives
from whence.edge.notice_sender import NoticeSender

FLOOD = "flood"
"""Table: source → 1 while Kamailio drops its messages; an entry lasts a few seconds."""

ANY = "any"
"""The key in FLOOD while FLOOD has any source."""

ANY_IPV6 = "ipv6"
"""The key in FLOOD while FLOOD has any IPv6 source."""

CHECKED_LIMIT = 1000
"""Flooding sources that one worker remembers as unknown."""

_KAMAILIO_PROTOCOLS = {"1": "udp", "2": "tcp", "3": "tls", "4": "sctp", "5": "ws", "6": "wss"}
"""Kamailio's own numbers of transports (`sip_protos_t`), of which the core knows some."""

PROTOCOLS = {
    number: TRANSPORTS[name] for number, name in _KAMAILIO_PROTOCOLS.items() if name in TRANSPORTS
}
"""The values of `$rcv(proto)`."""

FOLDED_CSEQ = re.compile(r"\r\ncseq[ \t]*:[ \t]*[0-9]*[ \t]*\r\n[ \t]")
"""Matches a folded CSeq in the header part of a message, in small letters."""


def table_key(ip: IP) -> str:
    """Write a source as a key of the tables: an IPv4 address, or the first of an IPv6 /64."""
    return str(network_of(ip))


def counted_as(ip: IP) -> str:
    """Return the ip by which `pike` counts a source.

    `pike_check_ip` of 5.6 reads no IPv6 address. So a /64 counts as an address of 240.0.0.0/4,
    which no source has. Two /64s may share an address, and so a count. The edge blocks only a
    source that it refuses.
    """
    if ip.version == 4:
        return str(ip)
    number = zlib.crc32(network_of(ip).packed) & 0x0FFF_FFFF
    return str(IPv4Address(0xF000_0000 | number))


@dataclass
class _Checked:
    """Flooding sources that are unknown to one generation of the directory."""

    generation: bytes | None = None
    ips: set[str] = field(default_factory=set)


class GuardHandlers(Handlers):
    """Counts what unknown sources send, and blocks those that flood."""

    def __init__(self, worker: Worker, notices: NoticeSender) -> None:
        super().__init__(worker)
        self._notices = notices
        self._checked = _Checked()

    @survives
    def ksr_unreadable(self, _message: object) -> int:
        """Count a message that Kamailio cannot read, and report it."""
        self.refuse_unreadable(Reason.MALFORMED, self.worker.source())
        return GO_ON

    @survives
    def ksr_refused(self, _message: object, reason: str) -> int:
        """Count a request that Kamailio's routing refused, and report it. `reason`: a `Reason`."""
        self.worker.report_refusal(Reason(reason))
        self.count_refused()
        return GO_ON

    @judges
    def ksr_scanner(self, _message: object) -> int:
        """Return whether a scanner's request comes from an unknown source; count and report it."""
        if self.worker.belongs(self.worker.source().ip):
            return NO
        self.worker.report_refusal(Reason.SCANNER)
        self.count_refused()
        return GO_ON

    @survives
    def ksr_flooding(self, _message: object) -> int:
        """Return NO for a message to drop: its source floods, and is not a trunk's or a phone's.

        Runs before the message is parsed: only `$rcv` has its source.
        """
        text = str(self.ksr.pv.get("$rcv(srcip)"))
        ip = canonical_ip(text)
        if ip.version == 6 and self.ksr.htable.sht_get(FLOOD, table_key(ip)) is None:
            return GO_ON  # another IPv6 source floods
        generation = self.worker.decision_cache.generation()
        checked = self._checked
        if generation is None or generation != checked.generation:
            self._checked = checked = _Checked(generation)
        if self.ksr.htable.sht_get(PHONES, str(ip)) is not None:
            return GO_ON
        if text in checked.ips:
            return NO
        if self.worker.belongs(ip):
            return GO_ON
        if len(checked.ips) < CHECKED_LIMIT:
            checked.ips.add(text)
        return NO

    @judges
    def ksr_folded_cseq(self, _message: object) -> int:
        """Answer a request whose CSeq is folded, which Kamailio cannot read; NO for others.

        Runs before the message is parsed: only `$rcv` has its source.
        """
        get = self.ksr.pv.get
        message = Message(bytes.fromhex(str(get("$(rcv(buf){s.encode.hexa})"))))
        if not FOLDED_CSEQ.search(message.head):
            return NO
        transport = PROTOCOLS[str(get("$rcv(proto)"))]
        source = _place(transport, get("$rcv(srcip)"), get("$rcv(srcport)"))
        own = _place(transport, get("$rcv(rcvip)"), get("$rcv(rcvport)"))
        self.send_refusal(message, 400, "Folded CSeq", source, own)
        self.refuse_unreadable(Reason.MALFORMED, source, message)
        return GO_ON

    @survives
    def ksr_unparsed(self, _message: object) -> int:
        """Answer a request that Kamailio cannot parse, if it has the headers of an answer."""
        message = self.worker.read_message()
        if message is not None:
            self.send_refusal(message, 400, "Bad Request", *self.ends())
        self.refuse_unreadable(Reason.MALFORMED, self.worker.source(), message)
        return GO_ON

    @survives
    def ksr_no_websocket(self, _message: object) -> int:
        """Count an HTTP request that opens no WebSocket."""
        self.count_refused()
        return GO_ON

    def ends(self) -> tuple[TransportAddress, TransportAddress]:
        """Return the source of the current message, and our socket that received it."""
        kx, source = self.ksr.kx, self.worker.source()
        return source, _place(source.transport, kx.get_rcvip(), kx.get_rcvport())

    def send_refusal(
        self,
        message: Message,
        status: int,
        phrase: str,
        source: TransportAddress,
        own: TransportAddress,
    ) -> None:
        """Answer a request for which Kamailio cannot make an answer."""
        answer = message.refusal(status, phrase, secrets.token_hex(8))
        if answer:
            is_udp = source.transport is Transport.UDP  # a stream has its connection
            port = reply_port(message.all("via"), source) if is_udp else source.port
            to = f"sip:{host_text(source.ip_text)}:{port};transport={source.transport}"
            self.ksr.corex.sendx(to, str(own), answer)

    def refuse_unreadable(
        self, reason: Reason, source: TransportAddress, message: Message | None = None
    ) -> None:
        """Report a request that cannot be read, and count its source.

        The agent gets a notice, too, unless the source is known.
        """
        now = time.time()
        self.worker.report_refusal(reason, message, source)
        if self._notices.has_room(NoticeReason.UNREADABLE, now) and not self.worker.belongs(
            source.ip
        ):
            self._notices.send(NoticeReason.UNREADABLE, source, now)
        self.count_refused(source)

    def count_refused(self, source: TransportAddress | None = None) -> None:
        """Count a refused request; block its source for some seconds if it floods."""
        source = source or self.worker.source()
        if self.ksr.pike.pike_check_ip(counted_as(source.ip)) > 0:
            return
        now = time.time()
        key = table_key(source.ip)
        if self.ksr.htable.sht_get(FLOOD, key) is None and not self.worker.belongs(source.ip):
            self.ksr.htable.sht_seti(FLOOD, key, 1)
            self.ksr.htable.sht_seti(FLOOD, ANY, 1)
            if source.ip.version == 6:
                self.ksr.htable.sht_seti(FLOOD, ANY_IPV6, 1)
            self._notices.send(NoticeReason.FLOOD, source, now)


def _place(transport: Transport, ip: str | int | None, port: str | int | None) -> TransportAddress:
    """Return a source from Kamailio's values."""
    return TransportAddress(transport, canonical_ip(str(ip)), int(port or 0))
