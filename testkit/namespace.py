"""A network namespace with a loopback only. All addresses of PUBLIC are local in it, too.

Linux counts each packet that has no route out of it, and shows each packet inside. Tests stay
outside, and use sockets from inside. Without root, a user namespace surrounds it.
"""

import os
import socket
import struct
import sys
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from testkit.process import Process
from testkit.sip import Address
from testkit.wait import PATIENCE_S, eventually

PUBLIC = IPv4Network("198.18.0.0/15")
"""Addresses that no program takes for loopback ones (RFC 2544)."""

_ETH_P_IP = 0x0800
_PROTOCOLS = {socket.IPPROTO_UDP: "udp", socket.IPPROTO_TCP: "tcp"}
_BUFFER = 8 << 20
_SOL_PACKET, _PACKET_STATISTICS = 263, 6


class Sent(NamedTuple):
    """A UDP or TCP packet in the namespace."""

    protocol: str
    source: Address
    to: Address


class Namespace:
    """A network namespace. It ends with `close()`."""

    def __init__(self, folder: Path) -> None:
        self._door = folder / "namespace"
        make = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"]), "--"]
        command = [*make, sys.executable, "-c", _INSIDE, str(self._door)]
        self._process = Process("namespace", command, folder / "namespace.log")
        eventually(self._is_open, what="a network namespace")

    def _is_open(self) -> bool:
        assert self._process.running, self._process.log
        return self._door.exists()

    @property
    def pid(self) -> int:
        """The process that keeps the namespace."""
        return self._process.pid

    def enter(self, command: list[str]) -> list[str]:
        """Return the command that runs this one inside."""
        user = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._process.pid), *user, "--net", "--", *command]

    def socket(self, kind: str, ip: str = "", port: int = 0) -> socket.socket:
        """Return a bound socket inside. *kind*: `udp`, `tcp`, or `packet` for all packets."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ask:
            ask.settimeout(PATIENCE_S)
            ask.connect(str(self._door))
            ask.sendall(f"{kind} {ip or '-'} {port}\n".encode())
            answer, descriptors, _, _ = socket.recv_fds(ask, 500, 1)
        if not descriptors:
            raise OSError(answer.decode())
        return socket.socket(fileno=descriptors[0])

    @property
    def refused(self) -> int:
        """How many sends and connects had no route."""
        text = Path(f"/proc/{self._process.pid}/net/snmp").read_text("ascii")
        names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
        return int(dict(zip(names, values, strict=True))["OutNoRoutes"])

    def close(self) -> None:
        self._process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Sniffer:
    """A reader of all UDP and TCP packets of a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._socket = namespace.socket("packet")
        self._socket.setblocking(False)

    def seen(self) -> set[Sent]:
        """Return the packets since the last call; fail if the kernel dropped one."""
        sent = set()
        while True:
            try:
                packet = self._socket.recv(65535)
            except BlockingIOError:
                break
            protocol = _PROTOCOLS.get(packet[9])
            if protocol:
                start = (packet[0] & 15) * 4
                ports = struct.unpack_from("!HH", packet, start)
                source, to = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
                sent.add(Sent(protocol, (source, ports[0]), (to, ports[1])))
        counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        dropped = struct.unpack("=II", counted)[1]
        assert not dropped, f"{dropped} packets were dropped"
        return sent

    def close(self) -> None:
        self._socket.close()


# The program inside. It sets the loopback up, and passes out sockets, bound as requested.
_INSIDE = f"""
import fcntl, os, socket, struct, sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
    request = struct.pack("16sh14x", b"lo", 0x41)  # IFF_UP | IFF_RUNNING
    fcntl.ioctl(any, 0x8914, request)  # SIOCSIFFLAGS
    for command, ip in ((0x8916, "{PUBLIC[1]}"), (0x891C, "{PUBLIC.netmask}")):
        # SIOCSIFADDR and SIOCSIFNETMASK, with a struct sockaddr_in
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(ip))
        fcntl.ioctl(any, command, address)

def make(kind, ip, port):
    if kind == "packet":
        one = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons({_ETH_P_IP}))
    else:
        types = dict(udp=socket.SOCK_DGRAM, tcp=socket.SOCK_STREAM)
        one = socket.socket(socket.AF_INET, types[kind])
        one.bind((ip, int(port)))
    return one

with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
    door.bind(sys.argv[1] + ".new")
    door.listen(50)
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    while True:
        asker, _ = door.accept()
        with asker:
            try:
                with make(*asker.recv(200).decode().split()) as one:
                    for option in ({33}, socket.SO_RCVBUF):  # SO_RCVBUFFORCE
                        try:
                            one.setsockopt(socket.SOL_SOCKET, option, {_BUFFER})
                            break
                        except PermissionError:
                            pass
                    socket.send_fds(asker, [b"made"], [one.fileno()])
            except OSError as error:
                asker.sendall(str(error).encode())
"""
