"""Sends notices about unknown sources to the agent, a bounded number a second."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.sip.transport_address import TransportAddress
from whence.ipc import notices
from whence.ipc.notices import Notice
from whence.ipc.report_connection import ReportConnection

NOTICES_A_SECOND = 20
"""Notices of one reason that one process sends in a second. It counts the rest."""


class NoticeSender:
    """Sends the notices of one process."""

    def __init__(self, path: Path) -> None:
        """`path`: the agent's socket, which may be absent."""
        self._connection = ReportConnection(path)
        self._second = 0
        self._sent: Counter[NoticeReason] = Counter()

    def has_room(self, reason: NoticeReason, now: float) -> bool:
        """Return whether one more of this reason may be sent in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._sent.clear()
        return self._sent[reason] < NOTICES_A_SECOND

    def send(
        self,
        reason: NoticeReason,
        source: TransportAddress,
        now: float,
        *,
        count: int = 1,
        blocked_s: int = 0,
        detail: str = "",
    ) -> None:
        """Send a notice; count it where this second has no room or the agent does not read."""
        connection = self._connection
        if not self.has_room(reason, now):
            connection.dropped += 1
            return
        self._sent[reason] += 1
        left_out = connection.dropped
        notice = Notice(now, reason, source, count, blocked_s, left_out, detail)
        connection.send(notices.message(notice))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
