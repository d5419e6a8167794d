"""The directory of a drop-in, as its agent writes it.

Kamailio's workers write trunks and registrations (`worker.py`). The agent writes numbers and pinned
addresses, and ends what has expired.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from whence.core.clock import ClockOffset
from whence.core.identification.address import Address
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.registration import history
from whence.core.registration.learning import ExpectedSources
from whence.store import instants, learning, statements
from whence.store import schema as tables
from whence.store.directory import Directory
from whence.store.rows import event_of

_EXPIRED = "SELECT trunk_id FROM registration WHERE expires_at <= ?"
_NO_TRUNK_OF_THEIRS = """DELETE FROM trunk WHERE NOT EXISTS
    (SELECT 1 FROM registration r WHERE r.trunk_id = trunk.id) AND NOT EXISTS
    (SELECT 1 FROM address a WHERE a.trunk_id = trunk.id) AND NOT EXISTS
    (SELECT 1 FROM number n WHERE n.trunk_id = trunk.id AND NOT n.of_account)
    AND number_headers = ?"""
_USUAL_HEADERS = (" ".join(NUMBER_HEADERS),)


@dataclass(frozen=True, slots=True)
class UacTrunkRow:
    """A trunk as it is stored."""

    id: str
    aor_user: str
    target: str
    unmatched: str
    fallback: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class Permits:
    """The sources that drop-in.toml permits for learning, besides the server that was asked.

    `networks`: trunk id → pinned addresses. `learn_from`: trunk id → "asked" or "any"; the key ""
    is for all trunks that it does not name.
    """

    networks: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    learn_from: Mapping[str, str] = field(default_factory=dict)

    def expected(self, trunk_id: str) -> ExpectedSources:
        """Return the permitted sources of one trunk."""
        learn_from = self.learn_from.get(trunk_id, self.learn_from.get("", "asked"))
        return ExpectedSources(
            networks=self.networks.get(trunk_id, ()), any_source=learn_from == "any"
        )


NO_PERMITS = Permits()


class SharedDirectory(Directory):
    """The directory of a node on which Kamailio's `uac` registers."""

    def install_numbers(
        self,
        spellings: Mapping[str, frozenset[str]],
        headers: Mapping[str, Sequence[str]] = MappingProxyType({}),
        permits: Permits = NO_PERMITS,
        now: float | None = None,
    ) -> None:
        """Replace numbers, headers and permits by those of the file, in one transaction.

        `spellings`: trunk id → spellings of its numbers. `headers`: trunk id → its
        `number_headers`, if they are not the usual ones. A trunk that has not registered yet gets
        its numbers, too, but has no learned address. Its token is its id, because `uac` uses the
        id as the user of its Contact. Raises StoreError.
        """
        now = time.time() if now is None else now
        with self._changing():
            db = self._db
            db.execute(statements.DROP_NUMBERS)
            db.execute("DELETE FROM number_prefix")
            db.execute("UPDATE trunk SET number_headers = ?", _USUAL_HEADERS)
            db.execute(_NO_TRUNK_OF_THEIRS, _USUAL_HEADERS)
            for trunk_id, looked in headers.items():
                db.execute(statements.PUT_NAMED, (trunk_id, trunk_id))
                row = (" ".join(looked), trunk_id)
                db.execute("UPDATE trunk SET number_headers = ? WHERE id = ?", row)
            named = {header for looked in headers.values() for header in looked}
            further = " ".join(sorted(named - set(NUMBER_HEADERS)))
            self._set(tables.NUMBER_HEADERS_KEY, further)
            for trunk_id, forms in spellings.items():
                db.execute(statements.PUT_NAMED, (trunk_id, trunk_id))
                db.executemany(
                    statements.PUT_NUMBER, [(form, trunk_id, 0, "") for form in sorted(forms)]
                )
            for trunk_id in permits.networks:
                db.execute(statements.PUT_NAMED, (trunk_id, trunk_id))
            self._install_pins(permits.networks)
            self._set(tables.LEARN_FROM_KEY, json.dumps(dict(permits.learn_from)))
            self._end_what_is_not_permitted(permits.expected, now)
            # Again: the file may name a trunk without a number, which PUT_NAMED wrote.
            db.execute(_NO_TRUNK_OF_THEIRS, _USUAL_HEADERS)
            db.execute(statements.PUT_NUMBER_PREFIXES)

    def follow_clock(self, present: ClockOffset, now: float) -> float:
        """Correct all stored instants if the system clock was set; return the step, or 0.

        The stored offset decides, because a worker may have corrected the instants already.
        Raises: StoreError; then nothing has changed.
        """
        with self._changing():
            offset = instants.offset_to_apply(self._db, present)
            return instants.apply_offset(self._db, offset, now)

    def trunks(self) -> list[UacTrunkRow]:
        """Return all trunks, sorted by id."""
        rows = self._fetch(
            "SELECT id, aor_user, target, unmatched, fallback, enabled FROM trunk ORDER BY id"
        )
        return [
            UacTrunkRow(id_, aor_user, target, unmatched, bool(fallback), bool(enabled))
            for id_, aor_user, target, unmatched, fallback, enabled in rows
        ]

    def changes(self) -> int:
        """Return a number that changes with each commit of a worker."""
        return int(self._fetch("PRAGMA data_version")[0][0])

    def expire(self, now: float) -> None:
        """Write the ends of expired grants. The workers only learn of new grants."""
        ended = [trunk_id for (trunk_id,) in self._fetch(_EXPIRED, (now,))]
        if not ended:
            return
        with self._transaction():
            for trunk_id in ended:
                done = self._db.execute(  # a worker may have written a refresh meanwhile
                    "UPDATE registration SET expires_at = NULL"
                    " WHERE trunk_id = ? AND expires_at <= ?",
                    (trunk_id, now),
                )
                if done.rowcount and self.has_trunk(trunk_id):
                    learning.note(self._db, trunk_id, history.EXPIRED, now)

    def has_trunk(self, trunk_id: str) -> bool:
        """Return whether there is a trunk with this id."""
        return bool(self._fetch("SELECT 1 FROM trunk WHERE id = ?", (trunk_id,)))

    def last_event(self) -> int:
        """Return the number of the last event of all trunks."""
        return int(self._fetch("SELECT ifnull(max(id), 0) FROM event")[0][0])

    def events_after(self, number: int) -> list[tuple[int, str, history.HistoryEvent]]:
        """Return (number, trunk id, event) of all events after `number`, of all writers."""
        rows = self._fetch(statements.EVENTS_AFTER, (number,))
        return [(id_, trunk_id, event_of(event)) for id_, trunk_id, *event in rows]
