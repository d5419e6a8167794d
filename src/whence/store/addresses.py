"""The addresses of the directory that do not come from the settings file.

They are pinned at run time, resolved in DNS, or ended. `catalog.py` writes those of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.dns_siblings import LIMIT
from whence.core.registration.grant import GRANT_LIMIT_S
from whence.core.registration.history import HistoryEvent
from whence.core.registration.learning import ExpectedSources, Ground, permit
from whence.core.sip.transport_address import (
    IP,
    Network,
    Transport,
    TransportAddress,
    bits_of,
    canonical_ip,
    canonical_network,
)
from whence.errors import DisabledTrunkError, UnknownTrunkError
from whence.store import learning, statements
from whence.store.connection import DirectoryConnection
from whence.store.rows import address_of

FORMER_LIMIT = 100_000
"""How many ended addresses the directory keeps at most: those that ended last."""

GONE_S = float(GRANT_LIMIT_S)
"""How long the token of a removed trunk is kept. Its registrar may still call with it."""


class Addresses(DirectoryConnection):
    """The addresses of the trunks, from which calls may come."""

    def addresses(self) -> list[tuple[str, Address]]:
        """Return (trunk id, address) of all addresses, also of expired ones."""
        return [(row[0], address_of(row[1:])) for row in self._fetch(statements.ADDRESSES)]

    def have_learned(self) -> frozenset[str]:
        """Return the ids of the trunks with a learned address, also one that has expired."""
        query = "SELECT DISTINCT trunk_id FROM address WHERE origin = 'learned'"
        return frozenset(id_ for (id_,) in self._fetch(query))

    # What the operator pins at run time.

    def pin(
        self, trunk_id: str, address: Address, note: str = "", event: HistoryEvent | None = None
    ) -> None:
        """Pin `address` for this trunk until it expires or is unpinned. A reload keeps it.

        If `address` has a port, only that port is admitted. A second call replaces expiry and
        note. `event` is added to the trunk's history.

        Raises UnknownTrunkError, and DisabledTrunkError for a disabled trunk.
        """
        pinned = address._replace(
            origin=Origin.PINNED,
            exact=address.port is not None,
            note=note,
            managed_by=ManagedBy.ALLOW,
        )
        with self._changing():
            self._must_be_enabled(trunk_id)
            learning.put(self._db, trunk_id, pinned)
            self._list_network(pinned.ip)
            if event is not None:
                learning.note(self._db, trunk_id, event, address.learned_at)

    def unpin(
        self, trunk_id: str, ip: IP | Network, now: float, event: HistoryEvent | None = None
    ) -> bool:
        """End the addresses that were pinned at run time at this ip or network, any transport.

        Return whether there was one. `event` is then added to the trunk's history.
        """
        which = "trunk_id = :id AND ip = :ip AND managed_by = 'allow'"
        named = {"id": trunk_id, "ip": str(ip)}
        with self._changing():
            found = self._db.execute(f"SELECT 1 FROM address WHERE {which}", named).fetchone()
            if found is not None:
                learning.end(self._db, which, now, **named)
                if event is not None:
                    learning.note(self._db, trunk_id, event, now)
        return found is not None

    def _must_be_enabled(self, trunk_id: str) -> None:
        row = self._db.execute("SELECT enabled FROM trunk WHERE id = ?", (trunk_id,)).fetchone()
        if row is None:
            raise UnknownTrunkError(trunk_id)
        if not row[0]:
            raise DisabledTrunkError(f"trunk {trunk_id} is disabled: no call of it is admitted")

    def _list_networks(self) -> None:
        """Rebuild the tables `network` and `prefix` from the pinned rows of `address`."""
        db = self._db
        pinned = db.execute("SELECT DISTINCT ip FROM address WHERE origin = 'pinned'").fetchall()
        db.execute("DELETE FROM network")
        db.execute("DELETE FROM prefix")
        for (ip,) in pinned:
            self._list_network(canonical_network(ip))

    def _list_network(self, ip: IP | Network) -> None:
        if isinstance(ip, IPv4Network | IPv6Network):
            bits = bits_of(ip)
            self._db.execute("INSERT OR IGNORE INTO network VALUES (?, ?)", (bits, str(ip)))
            self._db.execute("INSERT OR IGNORE INTO prefix VALUES (?, ?)", (ip.version, len(bits)))

    # What DNS names beside what was learned.

    def resolve(self, found: Sequence[tuple[str, Address]], now: float) -> None:
        """Write the resolved addresses `found`, as (trunk id, address).

        An address that is already stored gets the new expiry. Each trunk keeps the `LIMIT`
        addresses that expire last, however many DNS names over time.
        """
        new = [pair for pair in found if self._is_new(*pair, now)]
        with self._changing() if new else self._transaction():
            for trunk_id, address in found:
                learning.put(self._db, trunk_id, address)
            for trunk_id in {trunk_id for trunk_id, _ in new}:
                self._db.execute(
                    "DELETE FROM address WHERE trunk_id = :id AND origin = 'resolved'"
                    " AND rowid NOT IN (SELECT rowid FROM address WHERE trunk_id = :id"
                    " AND origin = 'resolved' ORDER BY expires_at DESC, learned_at DESC"
                    " LIMIT :limit)",
                    {"id": trunk_id, "limit": LIMIT},
                )

    def _is_new(self, trunk_id: str, address: Address, now: float) -> bool:
        """Return whether the address could change a decision: a later expiry alone does not."""
        a = address
        known = self._fetch(
            "SELECT expires_at FROM address WHERE trunk_id = ? AND ip = ?"
            " AND ifnull(port, 0) = ifnull(?, 0) AND transport = ? AND origin = 'resolved'",
            (trunk_id, str(a.ip), a.port, a.transport),
        )
        return not known or not now < known[0][0] <= (a.expires_at or 0.0)

    def drop_resolved(self, trunk_id: str) -> None:
        """Remove the resolved addresses of this trunk."""
        row = (trunk_id,)
        query = "SELECT 1 FROM address WHERE trunk_id = ? AND origin = 'resolved'"
        if self._fetch(query, row):
            with self._changing():
                self._db.execute(
                    "DELETE FROM address WHERE trunk_id = ? AND origin = 'resolved'", row
                )

    # What ends.

    def _end_what_is_not_permitted(
        self, expected: Callable[[str], ExpectedSources], now: float
    ) -> None:
        """End learned addresses that the previous file permitted, and this one does not.

        `expected` returns the sources that the file permits to a trunk id. A trunk without a
        learned address loses its resolved addresses, too.
        """
        grounds = (Ground.ANY, Ground.NETWORKS)
        query = (
            "SELECT trunk_id, ip, port, transport, rowid FROM address"
            " WHERE origin = 'learned' AND ground IN (?, ?)"
        )
        for id_, ip, port, transport, row in self._db.execute(query, grounds).fetchall():
            source = TransportAddress(Transport(transport), canonical_ip(ip), port)
            if permit(source, (), expected(id_), now) is not None:
                continue
            learning.end(self._db, "rowid = :row", now, row=row)
            if not self._has_learned(id_):
                learning.end(self._db, "trunk_id = :id AND origin = 'resolved'", now, id=id_)

    def _has_learned(self, trunk_id: str) -> bool:
        query = "SELECT 1 FROM address WHERE trunk_id = ? AND origin = 'learned'"
        return bool(self._fetch(query, (trunk_id,)))

    def drop_expired(self, now: float, limit: int = FORMER_LIMIT) -> None:
        """Remove expired addresses, and trunks that were removed more than `GONE_S` ago.

        Decisions do not depend on this: an expired address admits no request. `limit` bounds the
        former addresses that are kept.
        """
        with self._transaction():
            self._db.execute("DELETE FROM trunk WHERE gone_at <= ?", (now - GONE_S,))
            learning.sweep(self._db, now)
            self._db.execute(
                "DELETE FROM former_address WHERE rowid IN (SELECT rowid FROM former_address"
                " ORDER BY ended_at DESC LIMIT -1 OFFSET ?)",
                (limit,),
            )
