"""The UDP addresses that a process has bound, read from /proc."""

from __future__ import annotations

from pathlib import Path

from testkit.sip import Address


def ports_of(pid: int) -> list[Address]:
    """Return the IPv4 UDP addresses that a process has bound."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        name = descriptor.readlink().name
        if name.startswith("socket:["):
            sockets.add(name.removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/udp").read_text("ascii").splitlines()[1:]]
    return [_address(row[1]) for row in rows if row[9] in sockets]


def _address(text: str) -> Address:
    ip, _, port = text.partition(":")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(ip))), int(port, 16)
