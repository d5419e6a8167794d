"""The edge's notices on unknown sources. They are listed and counted; wrong passwords are logged.

The number of logged lines is bounded. packaging/fail2ban/filter.d/whence.conf matches these lines:
change both together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from whence.core.monitoring.unknown_sources import NoticeReason, UnknownSourceTable
from whence.core.text import escape_untrusted
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

LINES_A_MINUTE = 60
"""How many lines on wrong passwords are logged in a minute. Further ones are counted."""

WINDOW_S = 60.0

USERS_LIMIT = 10_000
"""How many user names are counted. A source is blocked after a few forged names."""


class BlockObserver(Protocol):
    """Acts on blocked sources. Called in the loop; it must not wait, nor raise."""

    def password_guessed(self, notice: Notice) -> None:
        """Act on a source that the edge blocked, since it guessed phones' passwords."""


@dataclass
class NoticeCounts:
    """Lists the sources of notices, and counts the notices by reason."""

    unknown_sources: UnknownSourceTable
    observers: Sequence[BlockObserver] = ()
    counts: Counter[NoticeReason] = field(default_factory=Counter)
    blocks: int = 0
    left_out: int = 0
    """How many notices the edge did not send."""
    users: Counter[str] = field(default_factory=Counter)
    """User name → wrong passwords, of at most USERS_LIMIT names."""
    _window_at: float = float("-inf")
    _lines: int = 0
    _unlogged: int = 0

    def receive(self, notice: Notice) -> None:
        """Count one notice. Log it where it reports a wrong password."""
        self.counts[notice.reason] += notice.count
        self.left_out += notice.left_out
        is_password = notice.reason is NoticeReason.PASSWORD
        user = f"user {escape_untrusted(notice.detail)}" if is_password else ""
        self.unknown_sources.saw(notice.source, user, notice.at, notice.reason, notice.count)
        if not is_password:
            return
        self._log_password(notice)
        if notice.detail in self.users or len(self.users) < USERS_LIMIT:
            self.users[notice.detail] += notice.count
        if notice.blocked_s:
            self.blocks += 1
            for observer in self.observers:
                observer.password_guessed(notice)

    def _log_password(self, notice: Notice) -> None:
        if not self._window_at <= notice.at < self._window_at + WINDOW_S:
            if self._unlogged:
                log.warning("phone_password_wrong: %d more were not logged", self._unlogged)
            self._window_at, self._lines, self._unlogged = notice.at, 0, 0
        self._lines += 1
        if self._lines > LINES_A_MINUTE:
            self._unlogged += 1
            return
        log.warning(
            "phone_password_wrong source=%s blocked_s=%d user=%s",
            notice.source.ip_text,
            notice.blocked_s,
            escape_untrusted(notice.detail),
        )
