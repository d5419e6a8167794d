"""The directory of a drop-in: Kamailio's workers write what they learned, and the agent the rest.

Trunks and registrations are theirs; numbers, what is pinned, and what has ended are ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from whence.core.identification.address import Address
from whence.core.identification.trunk import NUMBER_HEADERS
from whence.core.registration import history
from whence.core.registration.learning import ExpectedSources
from whence.store import learning, statements
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
    """A trunk, as it stands in the directory."""

    id: str
    aor_user: str
    target: str
    unmatched: str
    fallback: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class Permits:
    """From where addresses are learned, besides from whom was asked: trunk id → what the file says.

    `learn_from`: "asked" or "any"; its "" stands for all trunks that it does not name.
    """

    networks: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    learn_from: Mapping[str, str] = field(default_factory=dict)

    def expected(self, trunk_id: str) -> ExpectedSources:
        """Return what is permitted to one trunk."""
        says = self.learn_from.get(trunk_id, self.learn_from.get("", "asked"))
        return ExpectedSources(networks=self.networks.get(trunk_id, ()), anyone=says == "any")


NO_PERMITS = Permits()


class SharedDirectory(Directory):
    """The directory of one node whose registrations another one keeps."""

    def install_numbers(
        self,
        spellings: Mapping[str, frozenset[str]],
        headers: Mapping[str, Sequence[str]] = MappingProxyType({}),
        permits: Permits = NO_PERMITS,
        now: float | None = None,
    ) -> None:
        """Make the numbers those of the file: trunk id → how its numbers may be written.

        `headers`: trunk id → in which headers its number is looked for, where it is not as usual.
        `permits`: its networks, and from where addresses are learned. A trunk that has not
        registered yet has its numbers all the same, and no address that is learned. Its token is
        its id: uac registers that as its Contact's user.
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
            # Those that the file names without a number:
            db.execute(_NO_TRUNK_OF_THEIRS, _USUAL_HEADERS)
            db.execute(statements.PUT_NUMBER_PREFIXES)

    def trunks(self) -> list[UacTrunkRow]:
        """All trunks, by id."""
        rows = self._fetch(
            "SELECT id, aor_user, target, unmatched, fallback, enabled FROM trunk ORDER BY id"
        )
        return [
            UacTrunkRow(id_, aor_user, target, unmatched, bool(fallback), bool(enabled))
            for id_, aor_user, target, unmatched, fallback, enabled in rows
        ]

    def changes(self) -> int:
        """Give a number that is another one after each change that a worker made."""
        return int(self._fetch("PRAGMA data_version")[0][0])

    def expire(self, now: float) -> None:
        """Write down which grants have ended: the workers only hear of what is granted."""
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
        """Whether there is a trunk with this id."""
        return bool(self._fetch("SELECT 1 FROM trunk WHERE id = ?", (trunk_id,)))

    def last_event(self) -> int:
        """Give the number of the last event of all."""
        return int(self._fetch("SELECT ifnull(max(id), 0) FROM event")[0][0])

    def events_after(self, number: int) -> list[tuple[int, str, history.HistoryEvent]]:
        """(number, trunk id, event) of those after this one, whoever wrote them."""
        rows = self._fetch(statements.EVENTS_AFTER, (number,))
        return [(id_, trunk_id, event_of(event)) for id_, trunk_id, *event in rows]
