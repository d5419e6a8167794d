"""What `whence run` reports to systemd (sd_notify(3)). Without systemd, nothing is sent."""

from __future__ import annotations

import os
import socket
import time

from whence.cli.service import console

VARIABLE = "NOTIFY_SOCKET"
SEND_S = 5.0
"""The longest time for which a report waits for systemd."""


class ServiceManager:
    """The socket on which systemd receives reports of this service."""

    def __init__(self) -> None:
        """Take the socket's name from the environment, so that no child process inherits it."""
        self._address = os.environ.pop(VARIABLE, "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]

    def ready(self) -> None:
        """Report that the start, or the reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that a reload begins."""
        # systemd 253 and newer compare this time with the time of their signal.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the stop begins."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reports:
                reports.settimeout(SEND_S)
                reports.sendto(text.encode(), self._address)
        except OSError as error:
            console.warning(f"systemd did not get {text.partition('=')[0]}: {error.strerror}")
