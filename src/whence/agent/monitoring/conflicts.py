"""Clashes as they are now: looked for when addresses or trunks change, and told once.

They are read beside the agent's own work, in a thread with a connection of its own: with 100 000
trunks it takes a second, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from whence.core.identification import conflicts
from whence.core.identification.conflicts import Conflict, ConflictKind, NamedTrunk
from whence.core.sip.uri import Uri

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""How often it is looked at least: addresses end by themselves."""

PAUSE_S = 0.5
"""Between two looks at least; changes come in thousands when all trunks register."""

SHARE = 0.05
"""The share of the time that looking may take."""

_TRUNKS = """SELECT id, aor_user, EXISTS (
        SELECT 1 FROM number WHERE trunk_id = trunk.id AND NOT of_account
    ), fallback, r.aor, r.server, unmatched
    FROM trunk LEFT JOIN registration r ON r.trunk_id = trunk.id WHERE enabled"""
_NUMBERS = """SELECT n.spelling, n.trunk_id FROM (
        SELECT spelling FROM number WHERE NOT of_account GROUP BY spelling HAVING count(*) > 1
    ) s CROSS JOIN number n ON n.spelling = s.spelling WHERE NOT n.of_account"""
_ACCOUNTS_AND_NUMBERS = """SELECT a.spelling, a.trunk_id, n.spelling, n.trunk_id FROM number a
    CROSS JOIN number n ON n.spelling = a.spelling WHERE a.of_account AND NOT n.of_account
    UNION ALL SELECT a.spelling, a.trunk_id, n.spelling, n.trunk_id FROM number a
    CROSS JOIN range r CROSS JOIN number n ON n.spelling = substr(a.spelling, 1, r.length) || '*'
    WHERE a.of_account AND NOT n.of_account
    AND substr(a.spelling, 2) NOT GLOB '*[^0-9]*' AND a.spelling GLOB '[+0-9]*'"""
"""Forms of accounts, each with a number or range that is, or holds, it."""
_SITES = """SELECT trunk_id, ip, port, exact FROM address
    WHERE expires_at IS NULL OR expires_at > ?"""


class ConflictObserver(Protocol):
    """Acts on clashes. Called in the loop; it must not wait, nor raise."""

    def clash(self, found: Conflict) -> None:
        """There is a new clash; the log has told it."""


class ConflictMonitor:
    """The clashes among the trunks of the directory at `path`. `run` it; it observes that."""

    def __init__(
        self,
        path: Path,
        observers: Sequence[ConflictObserver] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._observers = observers
        self._clock = clock
        self._changed = asyncio.Event()
        self._told: set[tuple[ConflictKind, str, str]] = set()
        self.known: list[Conflict] = []
        """As they were when it was looked last."""

    def directory_changed(self) -> None:
        """Look again soon: an address or a trunk has come, gone or changed."""
        self._changed.set()

    async def run(self) -> None:
        """Look for clashes until cancelled."""
        while True:
            self._changed.clear()
            began_at = time.monotonic()
            await self.look()
            took_s = time.monotonic() - began_at
            await asyncio.sleep(max(PAUSE_S, took_s / SHARE))
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def look(self) -> list[Conflict]:
        """Say what clashes now; the log tells each once."""
        try:
            self.known = await asyncio.to_thread(read, self._path, self._clock())
        except sqlite3.Error as error:
            log.error("clashes cannot be looked for: %s", error)  # noqa: TRY400 - a neighbour's fault
            return self.known
        now = {mark for found in self.known for mark in _marks(found)}
        for found in self.known:
            if not _marks(found) <= self._told:
                log.warning("clash: %s", found)
                for observer in self._observers:
                    observer.clash(found)
        self._told = now
        return self.known


def read(path: Path, now: float) -> list[Conflict]:
    """Find the clashes in a directory, in one state of it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        sites = db.execute(_SITES, (now,)).fetchall()
        return conflicts.find(
            [
                NamedTrunk(
                    id_,
                    user,
                    bool(has),
                    bool(fallback),
                    _server(aor, server),
                    unmatched == "accept",
                )
                for id_, user, has, fallback, aor, server, unmatched in db.execute(_TRUNKS)
            ],
            db.execute(_NUMBERS).fetchall(),
            [(id_, (ip, port)) for id_, ip, port, _ in sites],
            [(id_, (ip, port if exact else None)) for id_, ip, port, exact in sites],
            _accounts_of_others(db),
        )


def _server(aor: str | None, server: str | None) -> str:
    """Return the host that an account is registered at: of a drop-in, only the AoR is known."""
    uri = Uri.parse(server or aor or "")
    return uri.host if uri else ""


def _accounts_of_others(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    found = db.execute(_ACCOUNTS_AND_NUMBERS).fetchall()
    return conflicts.accounts_of_others(
        sorted({(form, account) for form, account, *_ in found}),
        sorted({(spelling, owner) for *_, spelling, owner in found}),
    )


def _marks(found: Conflict) -> set[tuple[ConflictKind, str, str]]:
    """By what it is known again, though one trunk more may be in it."""
    shared = found.shared[0] if found.shared else ""
    return {(found.kind, shared, address) for address in found.addresses}
