"""Sends decision reports to the agent: one datagram each, sent once, without waiting.

A worker opens its socket at its first decision, because no socket must cross a fork. Each datagram
names the agent's socket by its path, so that the agent can restart. Reports that cannot be sent are
counted; the next report has the count.
"""

from __future__ import annotations

import socket
from pathlib import Path

from whence.ipc import decisions


class DecisionSender:
    """Sends the reports of one worker."""

    def __init__(self, path: Path) -> None:
        """`path`: the agent's socket, which may be absent."""
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._dropped = 0

    def send(self, report: str, method: str, call_id: str, now: float, *, from_cache: bool) -> None:
        """Send one decision report; `report` is what `decisions.report_body` wrote of it."""
        data = decisions.message(
            report, method, call_id, now, from_cache=from_cache, dropped=self._dropped
        )
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(data, self._path)
        except OSError:  # the socket is full or absent: no call waits for the agent
            self._dropped += 1
        else:
            self._dropped = 0

    def count_lost(self, reports: int) -> None:
        """Count reports that were lost before they reached this sender."""
        self._dropped += reports

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
