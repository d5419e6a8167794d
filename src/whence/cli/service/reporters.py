"""What only the process of `whence run` observes. It reports each to the agent.

A report is lost where no agent listens.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress

from whence.ipc import restarts
from whence.ipc.report_connection import ReportConnection

UNREADABLE_AT_ONCE = 20
"""The most sources of unreadable messages that are reported for one read of Kamailio's log."""


class RestartReporter:
    """Reports to the agent that Kamailio was started again."""

    def __init__(self, path: str) -> None:
        """`path`: the agent's socket, which need not exist yet."""
        self._path = path

    def __call__(self, reason: str) -> None:
        """Report a restart."""
        with closing(ReportConnection(self._path)) as connection:
            connection.send(restarts.message(reason))


class UnreadableReporter:
    """Reports to the agent the sources of messages that only Kamailio's log mentions."""

    def __init__(self, path: str) -> None:
        """`path`: the agent's socket, which need not exist yet."""
        self._connection = ReportConnection(path)

    def __call__(self, sources: Sequence[str]) -> None:
        """Report these sources. The next report counts those that no agent got."""
        # Most nodes never need these modules, which would double the memory of this process.
        from whence.core.monitoring.unknown_sources import NoticeReason
        from whence.core.sip.transport_address import TransportAddress
        from whence.ipc import notices

        for text, count in Counter(sources).most_common(UNREADABLE_AT_ONCE):
            with suppress(ValueError):  # Kamailio writes IPv6 addresses without brackets
                transport, _, place = text.partition(":")
                ip, _, port = place.rpartition(":")
                ip = f"[{ip}]" if ":" in ip and not ip.startswith("[") else ip
                source = TransportAddress.parse(f"{transport}:{ip}:{port}")
                reason, left_out = NoticeReason.UNREADABLE, self._connection.dropped
                notice = notices.Notice(time.time(), reason, source, count, left_out=left_out)
                self._connection.send(notices.message(notice))
