"""The open alarms of a node, and the posts to its webhook, over a restart of the agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whence.store.connection import DirectoryConnection


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An alarm that is open. `kind` and `trunk` identify it."""

    id: int
    kind: str
    trunk: str | None
    raised_at: float
    message: str
    published: bool
    """Whether the log and the webhook have it; the limits on alarms may have suppressed it."""


class OpenAlarms(DirectoryConnection):
    """The table of open alarms."""

    def open_alarms(self) -> list[StoredAlarm]:
        """Return the open alarms, the oldest first."""
        rows = self._fetch(
            "SELECT id, kind, trunk, raised_at, message, published FROM alarm ORDER BY id"
        )
        return [
            StoredAlarm(id_, kind, trunk or None, at, message, bool(published))
            for id_, kind, trunk, at, message, published in rows
        ]

    def write_alarms(
        self, opened: Iterable[StoredAlarm], ended: Iterable[tuple[str, str | None]]
    ) -> None:
        """Store open alarms, and remove the (kind, trunk) of ended ones, in one transaction.

        Raises: StoreError.
        """
        with self._transaction():
            self._db.executemany(
                "DELETE FROM alarm WHERE kind = ? AND trunk = ?",
                [(kind, trunk or "") for kind, trunk in ended],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO alarm (id, kind, trunk, raised_at, message, published)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (one.id, one.kind, one.trunk or "", one.raised_at, one.message, one.published)
                    for one in opened
                ],
            )


class WebhookPosts(DirectoryConnection):
    """The posts that wait for the webhook."""

    def waiting_posts(self) -> list[tuple[int, str]]:
        """Return (id, body) of each post, the oldest first."""
        return self._fetch("SELECT id, body FROM webhook_post ORDER BY id")

    def write_posts(self, added: Iterable[tuple[int, str]], ended: Iterable[int]) -> None:
        """Store posts, and remove those that were delivered or dropped. Raises: StoreError."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO webhook_post VALUES (?, ?)", added)
            self._db.executemany("DELETE FROM webhook_post WHERE id = ?", [(id_,) for id_ in ended])
