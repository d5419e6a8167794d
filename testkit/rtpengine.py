"""Debian's rtpengine in userspace: a program of its own, without a kernel module."""

from __future__ import annotations

import re
import secrets
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.process import Process
from testkit.wait import eventually

PORTS = 200
"""UDP ports for media, from the port above the control socket's on."""


class RtpEngine:
    """rtpengine at one loopback address."""

    def __init__(self, ip: str, directory: Path, port: int = 2223) -> None:
        """Start it, and wait until it answers. `port`: that of its control socket."""
        self.ip, self.port = ip, port
        self._directory = directory
        self.process = self._start()

    @property
    def uri(self) -> str:
        """The value of `[media] rtpengine`."""
        return f"udp:{self.ip}:{self.port}"

    def _start(self) -> Process:
        command = [
            "rtpengine",
            "--foreground",
            "--log-stderr",
            "--table=-1",
            f"--interface={self.ip}",
            f"--listen-ng={self.ip}:{self.port}",
            f"--port-min={self.port + 1}",
            f"--port-max={self.port + PORTS}",
            "--config-file=none",
            "--num-threads=2",
        ]
        process = Process("rtpengine", command, self._directory / "rtpengine.log")
        eventually(lambda: "pong" in self.ask(b"d7:command4:pinge"), what="rtpengine's pong")
        return process

    def calls(self) -> int:
        """Return how many calls it relays."""
        answer = self.ask(b"d7:command4:liste")
        found = re.search(r"5:callsl(.*?)e6:result", answer)
        assert found, answer
        return len(re.findall(r"\d+:", found[1]))

    def ask(self, command: bytes) -> str:
        """Send a bencoded command of the ng protocol; return the answer. Raises OSError."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(1)
            asker.connect((self.ip, self.port))
            asker.send(secrets.token_hex(4).encode() + b" " + command)
            return asker.recv(65535).decode("utf-8", "replace")

    def kill(self) -> None:
        """End it without a clean stop."""
        self.process.kill()

    def restart(self) -> None:
        """Start it again, without the calls that it had."""
        self.process = self._start()

    def close(self) -> None:
        """End it."""
        self.process.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
