"""A loopback network of its own for each run, so that standard ports are free at every address."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

SIP_PORT = 5060
LOCKS = Path(tempfile.gettempdir()) / f"whence-rig-networks-{os.getuid()}"


class Network:
    """A block 127.a.b.0/24 that no other run of this user holds at the same time.

    The claim is an flock: the system takes it back however the holder ends. Lock files are never
    unlinked, because two processes could then hold "the same" file.
    """

    def __init__(self) -> None:
        self._lock, self.block = _claim()
        self._free = self.block.hosts()
        self._addresses: dict[str, IPv4Address] = {}
        self._ports: list[int] = []

    def ip(self, name: str) -> str:
        """Return the address of the machine called *name*: always the same, never another's."""
        if name not in self._addresses:
            self._addresses[name] = next(self._free)
        return str(self._addresses[name])

    def port(self) -> int:
        """Return an even port that is free at ::1, as is the next one; no other run has it.

        There is only one IPv6 loopback address: what IPv4 has as networks, IPv6 has as ports.
        """
        lock, port = _claim_port()
        self._ports.append(lock)
        return port

    def close(self) -> None:
        """Give the block and the ports back."""
        while self._ports:
            os.close(self._ports.pop())
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _claim() -> tuple[int, IPv4Network]:
    LOCKS.mkdir(exist_ok=True)
    for block in _blocks():
        lock = os.open(LOCKS / str(block.network_address), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return lock, block
    raise RuntimeError(f"all test networks are taken; see {LOCKS}")


def _claim_port() -> tuple[int, int]:
    for port in range(20_000, 32_000, 2):  # below what the system gives out by itself
        lock = os.open(LOCKS / f"port-{port}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for one in (port, port + 1):
                _bind(one)
        except OSError:
            os.close(lock)
        else:
            return lock, port
    raise RuntimeError(f"all test ports are taken; see {LOCKS}")


def _bind(port: int) -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET6, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("::1", port))


def _blocks() -> Iterator[IPv4Network]:
    """From 127.16.1.0/24 up: 127.0.0.0/16 belongs to the machine."""
    for second in range(16, 32):
        for third in range(1, 255):
            yield IPv4Network((f"127.{second}.{third}.0", 24))


def udp_bound(ip: str, port: int) -> bool:
    """Whether some process has bound exactly this UDP address."""
    return _bound("/proc/net/udp", ip, port)


def tcp_bound(ip: str, port: int) -> bool:
    """Whether some process listens at exactly this TCP address."""
    return _bound("/proc/net/tcp", ip, port, state="0A")


@dataclass(frozen=True)
class Queue:
    """What waits at a UDP socket, in bytes, and how many datagrams it had no room for."""

    waiting: int
    dropped: int


def udp_queue(address: tuple[str, int]) -> Queue:
    """Return what waits at the IPv4 socket that is bound to exactly this address."""
    local = _local(*address)
    rows = (line.split() for line in Path("/proc/net/udp").read_text("ascii").splitlines()[1:])
    (row,) = (row for row in rows if row[1] == local)
    return Queue(int(row[4].partition(":")[2], 16), int(row[-1]))


def _local(ip: str, port: int) -> str:
    return f"{int.from_bytes(IPv4Address(ip).packed, 'little'):08X}:{port:04X}"


def _bound(table: str, ip: str, port: int, state: str | None = None) -> bool:
    local = _local(ip, port)
    rows = (line.split() for line in Path(table).read_text("ascii").splitlines()[1:])
    return any(row[1] == local and state in (None, row[3]) for row in rows)
