"""What only the process of `whence run` observes. It reports each to the agent, in one datagram.

A report is lost if the agent does not receive it at once.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from whence.ipc import restarts

UNREADABLE_AT_ONCE = 20
"""The most sources of unreadable messages that are reported for one read of Kamailio's log."""


class RestartReporter:
    """Reports to the agent that Kamailio was started again."""

    def __init__(self, path: str) -> None:
        """`path`: the agent's socket, which need not exist yet."""
        self._path = path

    def __call__(self, reason: str) -> None:
        """Report a restart."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own, suppress(OSError):
            own.setblocking(False)
            own.sendto(restarts.message(reason), self._path)


class UnreadableReporter:
    """Reports to the agent the sources of messages that only Kamailio's log mentions."""

    def __init__(self, path: str) -> None:
        """`path`: the agent's socket, which need not exist yet."""
        self._path = path

    def __call__(self, sources: Sequence[str]) -> None:
        """Report these sources."""
        # Most nodes never need these modules, which would double the memory of this process.
        from whence.core.monitoring.unknown_sources import NoticeReason
        from whence.core.sip.transport_address import TransportAddress
        from whence.ipc import notices

        counts = Counter(sources)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own, suppress(OSError):
            own.setblocking(False)
            for text, count in counts.most_common(UNREADABLE_AT_ONCE):
                with suppress(ValueError):  # Kamailio writes IPv6 addresses without brackets
                    transport, _, place = text.partition(":")
                    ip, _, port = place.rpartition(":")
                    ip = f"[{ip}]" if ":" in ip and not ip.startswith("[") else ip
                    source = TransportAddress.parse(f"{transport}:{ip}:{port}")
                    notice = notices.Notice(time.time(), NoticeReason.UNREADABLE, source, count)
                    own.sendto(notices.message(notice), self._path)
