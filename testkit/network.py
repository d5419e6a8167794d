"""A loopback network for each run, so that the standard ports are free at each address."""

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

SIP_PORT = 5060
CLAIM_PORT = 19_999
"""The port of a claim: bound at the last address of a block, which no host has."""

PORTS = range(12_000, 16_000, 2)  # below the ports that the system assigns
PORT_CLAIMS = "127.32.0.1"
CLAIM_OFFSET = 3_998
"""The claim of a port of ::1 is the port so far above it, bound at `PORT_CLAIMS`.

With the same port number as claim, no program could listen to that port at `[::]`.
"""


class Network:
    """A block 127.a.b.0/24 that no other run on this network stack has at the same time.

    The claim is a bound socket, so processes of other users and containers notice it. The system
    closes it however its process ends.
    """

    def __init__(self) -> None:
        self._claim, self.block = _claim_network()
        self._free = self.block.hosts()
        self._addresses: dict[str, IPv4Address] = {}
        self._ports: list[socket.socket] = []

    def ip(self, name: str) -> str:
        """Return the address of the machine *name*. Each name has its own."""
        if name not in self._addresses:
            self._addresses[name] = next(self._free)
        return str(self._addresses[name])

    def port(self) -> int:
        """Return an even port that is free at ::1, like the one after it; no other run has it.

        IPv6 has one loopback address only, so ports distinguish the machines there.
        """
        claim, port = _claim_port()
        self._ports.append(claim)
        return port

    def close(self) -> None:
        """Release the block and the ports."""
        while self._ports:
            self._ports.pop().close()
        self._claim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _claim_network() -> tuple[socket.socket, IPv4Network]:
    for block in _blocks():
        with suppress(OSError):
            return _bind_claim(str(block.broadcast_address), CLAIM_PORT), block
    raise RuntimeError(f"all test networks are taken; ss -lunp 'sport = {CLAIM_PORT}' shows whose")


def _claim_port() -> tuple[socket.socket, int]:
    for port in PORTS:
        with suppress(OSError):
            claim = _bind_claim(PORT_CLAIMS, port + CLAIM_OFFSET)
            try:
                for one in (port, port + 1):
                    _bind(one)
            except OSError:
                claim.close()
                raise
            return claim, port
    raise RuntimeError(f"all test ports are taken; ss -lunp 'src {PORT_CLAIMS}' shows whose")


def _bind_claim(ip: str, port: int) -> socket.socket:
    """Bind a socket, and return it. Raises: OSError if the address is in use."""
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind((ip, port))
    except OSError:
        claim.close()
        raise
    return claim


def _bind(port: int) -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET6, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("::1", port))


def _blocks() -> Iterator[IPv4Network]:
    """Yield the blocks from 127.32.1.0/24 on; 127.0.0.0/16 belongs to the machine."""
    for second in range(32, 48):
        for third in range(1, 255):
            yield IPv4Network((f"127.{second}.{third}.0", 24))


def udp_bound(ip: str, port: int) -> bool:
    """Return whether a process has bound exactly this UDP address."""
    return _bound("/proc/net/udp", ip, port)


def tcp_bound(ip: str, port: int) -> bool:
    """Return whether a process listens at exactly this TCP address."""
    return _bound("/proc/net/tcp", ip, port, state="0A")


@dataclass(frozen=True)
class Queue:
    """The queue of a UDP socket: waiting bytes, and the number of dropped datagrams."""

    waiting: int
    dropped: int


def udp_queue(address: tuple[str, int]) -> Queue:
    """Return the queue of the socket that is bound to exactly this address."""
    local = _local(*address)
    table = "/proc/net/udp6" if ":" in address[0] else "/proc/net/udp"
    rows = (line.split() for line in Path(table).read_text("ascii").splitlines()[1:])
    (row,) = (row for row in rows if row[1] == local)
    return Queue(int(row[4].partition(":")[2], 16), int(row[-1]))


def _local(ip: str, port: int) -> str:
    """Write an address as the kernel does: words of four bytes, in this machine's byte order."""
    packed = ip_address(ip).packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return f"{''.join(f'{int.from_bytes(word, sys.byteorder):08X}' for word in words)}:{port:04X}"


def _bound(table: str, ip: str, port: int, state: str | None = None) -> bool:
    local = _local(ip, port)
    rows = (line.split() for line in Path(table).read_text("ascii").splitlines()[1:])
    return any(row[1] == local and state in (None, row[3]) for row in rows)
