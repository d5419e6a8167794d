"""Reading the directory inside a Kamailio worker: never writes, never waits.

Each worker opens it at its first request: a connection must not cross a fork.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from whence.core.identification.decision import Decision
from whence.core.identification.request import Evidence, Request
from whence.core.outbound.model import Routing
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import IP, TransportAddress, bits_of
from whence.errors import StoreUnavailableError
from whence.store import credentials_key, lookup, outbound, schema, statements
from whence.store.generation import Identity, identity
from whence.store.outbound import NO_CREDENTIALS, LocalUser, TrunkAccess
from whence.store.rows import address_of
from whence.trust.ownership import refuse_others

BUSY_S = 0.02
"""A reader of a WAL database waits only for a process that recovers it after a crash."""


class DirectoryReader:
    """A read-only connection of one worker to the directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._opened: Identity = None
        self._credentials_key = ""
        """Of the trunks' credentials; empty: not read yet."""

    def decide(
        self, request: Request, now: float, without: Set[str] = frozenset()
    ) -> tuple[Decision, Evidence]:
        """Identify `request`, and return the decision with its evidence.

        Trunks in `without` count as trunks without an address. All queries read one state of the
        directory.
        """

        def fetch(query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
            others = parameters["others"] + len(without)
            rows = self._fetch(query, {**parameters, "others": others})
            return [
                lookup.without_address(row) if row[lookup.TRUNK_ID] in without else row
                for row in rows
            ]

        self._let_go_if_replaced()
        some = fetch if without else self._fetch
        # One query reads one state. Only a request that names no trunk needs a transaction.
        if (named := lookup.decide_by_name(request, now, some)) is not None:
            return named
        try:
            self._fetch("BEGIN", ())
            decided = lookup.decide(request, now, some)
            self._fetch("COMMIT", ())
        except BaseException:
            self.close()  # this also ends an open transaction
            raise
        return decided

    def admits(self, trunk_id: str, source: TransportAddress, now: float) -> bool:
        """Return whether a valid address of the trunk admits `source`."""
        self._let_go_if_replaced()
        rows = self._fetch(lookup.TRUNK_AT, lookup.at(trunk_id, source))
        return any(address_of(row).admits(source, now) for row in rows)

    def admits_ip(self, ip: IP, now: float) -> bool:
        """Return whether any trunk has a valid address at this ip, for any port and transport."""
        asked = {"ip": str(ip), "bits": bits_of(ip), "version": ip.version, "now": now}
        self._let_go_if_replaced()
        return bool(self._fetch(lookup.ADMITS_IP, asked))

    def user_ha1(self, name: str, domain: str) -> str | None:
        """Return the HA1 (MD5) of a local user; None if there is no such user."""
        return self._value(statements.USER_HA1, (name, domain))

    def user_sha256(self, name: str, domain: str) -> Secret | None:
        """Return the HA1 (SHA-256) of a local user; None if there is no such user, or no HA1."""
        value = self._value(statements.USER_SHA256, (name, domain))
        return Secret(value) if value is not None else None

    def all_users_have_sha256(self) -> bool:
        """Return whether each local user has an HA1 with SHA-256."""
        return self._value(statements.USER_WITHOUT_SHA256, ()) is None

    def user(self, name: str, domain: str) -> LocalUser | None:
        """Return a local user with its settings as a caller; None if there is no such user."""
        self._let_go_if_replaced()
        return outbound.read_user(self._fetch, name, domain)

    def routing(self) -> Routing:
        """Return all rules for users' calls. They are valid while the generation stays the same."""
        self._let_go_if_replaced()
        return outbound.read_routing(self._fetch)

    def trunk_access(self, ids: Sequence[str]) -> dict[str, TrunkAccess]:
        """Return id → trunk for users' calls, of those that the directory has.

        The end of a registration changes at each refresh, without a new generation.
        """
        self._let_go_if_replaced()
        found = outbound.read_access(self._fetch, ids, self._credentials_key)
        if any(one.credentials == NO_CREDENTIALS for one in found) and self._reads_new_key():
            found = outbound.read_access(self._fetch, ids, self._credentials_key)
        return {one.trunk.id: one for one in found}

    def _reads_new_key(self) -> bool:
        """Read the key of the credentials; return whether it is another one."""
        try:
            key = credentials_key.read_key(self._path.parent)
        except (OSError, ValueError):
            return False
        is_new, self._credentials_key = key != self._credentials_key, key
        return is_new

    def number_headers(self) -> tuple[str, ...]:
        """Return all headers of `number_headers`, without those that are always read."""
        return tuple((self._value(schema.META, (schema.NUMBER_HEADERS_KEY,)) or "").split())

    def clock_offset(self) -> str:
        """Return the offset of the clocks that the stored instants belong to; empty without one."""
        return self._value(schema.META, (schema.CLOCK_OFFSET_KEY,)) or ""

    def meta(self, key: str) -> str:
        """Return a value that the agent wrote in `meta`. Raises StoreUnavailableError."""
        value = self._value(schema.META, (key,))
        if value is None:
            raise StoreUnavailableError(f"the directory has no {key}")
        return value

    def _value(self, query: str, parameters: Sequence[Any]) -> str | None:
        self._let_go_if_replaced()
        rows = self._fetch(query, parameters)
        return str(rows[0][0]) if rows else None

    def _let_go_if_replaced(self) -> None:
        """Close a file that the operator moved away: the agent then writes another one."""
        if self._connection is not None and self._opened != identity(self._path):
            self.close()

    def _fetch(
        self, query: str, parameters: Sequence[Any] | dict[str, Any]
    ) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None:
                self._opened = identity(self._path)
                refuse_others(self._path)
                self._connection = sqlite3.connect(
                    f"file:{self._path}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None
                )
                self._check_version(self._connection)
            return self._connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, OSError) as error:
            self.close()  # the open file may have been replaced
            raise StoreUnavailableError(f"{self._path.name}: {error}") from error

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute(schema.READ_VERSION).fetchone()
        if version != schema.VERSION:
            self.close()  # the next query checks the version again
            raise StoreUnavailableError(f"{self._path.name}: {schema.version_fault(version)}")

    def close(self) -> None:
        """Close the file. The next query opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
