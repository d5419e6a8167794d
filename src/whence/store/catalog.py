"""Installs trunks, numbers, users and the addresses of the settings file in the directory."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from whence.core.identification.address import Address
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources
from whence.errors import StoreError, UntrustedError
from whence.store import credentials_key, learning, outbound, statements
from whence.store import schema as tables
from whence.store.addresses import Addresses
from whence.store.registrations import Registrations
from whence.store.rows import DirectoryRows, TrunkRow, UserRow


class Catalog(Addresses, Registrations):
    """Trunks with their tokens and numbers, users, and the keys that edge and agent share."""

    def new_agent_key(self) -> str:
        """Make a new key for the MACs between edge and agent. It replaces the previous one."""
        key = secrets.token_hex(32)
        with self._transaction():
            self._set(tables.AGENT_KEY, key)
            self._lasting_key(tables.DIALOG_KEY)  # dialogs outlive the agent
        return key

    def _lasting_key(self, name: str) -> str:
        """Return the key of this name. Make it if there is none yet."""
        made = self._db.execute(tables.META, (name,)).fetchone()
        if made is None:
            made = (secrets.token_hex(32),)
            self._set(name, made[0])
        return str(made[0])

    def tokens(self) -> dict[str, str]:
        """Return trunk id → token for each trunk of the file."""
        query = "SELECT id, token FROM trunk WHERE gone_at IS NULL"
        return dict(self._fetch(query))

    def users(self) -> list[str]:
        """Return the names of the local users."""
        return [name for (name,) in self._fetch("SELECT name FROM user ORDER BY name")]

    def fingerprint_key(self) -> str:
        """Return the key of the credentials fingerprints. Make it if there is none yet."""
        with self._transaction():
            return self._lasting_key(tables.FINGERPRINT_KEY)

    def fingerprints(self) -> dict[str, str]:
        """Return trunk id → credentials fingerprint for each trunk of the file."""
        return dict(
            self._fetch("SELECT id, credentials_fingerprint FROM trunk WHERE gone_at IS NULL")
        )

    def install(self, rows: DirectoryRows, now: float) -> None:
        """Write trunks, numbers, pinned addresses and users, in one transaction.

        A trunk that is already stored keeps its token, because the registrar has it in our
        Contact. A disabled trunk loses all addresses, also those pinned at run time. A removed
        trunk loses them, too.

        Raises StoreError. The directory is then unchanged.
        """
        key = self._credentials_key() if rows.outbound.trunks else ""
        with self._changing():
            for id_ in rows.replaced:
                self._let_go(id_, now)
            for id_ in rows.removed:
                self._db.execute("DELETE FROM trunk WHERE id = ?", (id_,))
            self._db.execute("DELETE FROM number")
            self._db.execute("DELETE FROM number_prefix")
            self._set(tables.NUMBER_HEADERS_KEY, " ".join(rows.number_headers))
            expected: dict[str, ExpectedSources] = {}
            exact = set()
            for row in rows.trunks:
                self._install_trunk(row)
                if row.pinned or row.learns_from_any:
                    sources = ExpectedSources(networks=row.pinned, any_source=row.learns_from_any)
                    expected[row.id] = sources
                if row.match_port:
                    exact.add(row.id)
            self._db.execute(statements.PUT_NUMBER_PREFIXES)
            self._install_pins({id_: one.networks for id_, one in expected.items()})
            self._end_what_is_not_permitted(lambda id_: expected.get(id_, ASKED_ONLY), now)
            self._install_users(rows.users)
            outbound.install(self._db, rows.outbound, key)
        self._exact = frozenset(exact)

    def _credentials_key(self) -> str:
        """Return the key that encrypts trunks' credentials. Raises StoreError."""
        try:
            return credentials_key.make_key(self.path.parent)
        except UntrustedError as error:
            raise StoreError(f"{error.path} {error.why}; {error.cure}") from error
        except OSError as error:
            file = self.path.with_name(credentials_key.FILE)
            raise self._fault("written", error, f"make {file} writable for this user") from error

    def _install_users(self, users: Iterable[UserRow]) -> None:
        """Replace all users, with their settings as callers."""
        rows, callers = [], []
        for user in users:
            sha256 = user.sha256.reveal() if user.sha256 is not None else ""
            rows.append((user.name, user.domain, user.md5.reveal(), sha256))
            if user.caller is not None:
                callers.append((user.domain, user.caller))
        self._db.execute("DELETE FROM user")
        self._db.executemany("INSERT INTO user VALUES (?, ?, ?, ?)", rows)
        outbound.install_callers(self._db, callers)

    def _let_go(self, trunk_id: str, now: float) -> None:
        """Remove a trunk's registration and its learned addresses, and give it a new token.

        The agent unregisters the old Contact while it registers the new one, so their tokens must
        differ. The old token stays reserved. Its registrar may have missed the unregistration, and
        may still call with it.
        """
        for table in ("registration", "home"):
            self._db.execute(f"DELETE FROM {table} WHERE trunk_id = ?", (trunk_id,))
        self._db.execute("DELETE FROM ignored_reply WHERE trunk_id = ?", (trunk_id,))
        learning.forget(self._db, trunk_id, now)
        before = self._db.execute("SELECT token FROM trunk WHERE id = ?", (trunk_id,)).fetchone()
        if before is None:
            return
        self._db.execute(
            "UPDATE trunk SET token = ? WHERE id = ?", (secrets.token_hex(12), trunk_id)
        )
        self._db.execute(statements.PUT_GONE, (_gone_id(trunk_id, now), *before, now))

    def _install_trunk(self, row: TrunkRow) -> None:
        db = self._db
        db.execute(
            statements.PUT_TRUNK,
            (
                row.id,
                secrets.token_hex(12),
                row.aor_user,
                row.target,
                row.unmatched,
                row.fallback,
                row.enabled,
                row.fingerprint,
                " ".join(row.number_headers),
                row.number_format,
            ),
        )
        if not row.enabled:
            db.execute("DELETE FROM address WHERE trunk_id = ?", (row.id,))
        db.execute(
            "UPDATE address SET exact = ? WHERE trunk_id = ? AND origin = 'learned'"
            " AND ground <> 'networks'",
            (row.match_port, row.id),
        )
        db.executemany(
            statements.PUT_NUMBER,
            [(n.spelling, row.id, n.of_account, n.e164) for n in row.numbers],
        )

    def _install_pins(self, pinned: Mapping[str, Sequence[Address]]) -> None:
        """Replace the pins of the file by `pinned`. A pin that stays keeps its `learned_at`."""
        db = self._db
        stored = {
            tuple(row[1:]): row[0]
            for row in db.execute(
                "SELECT rowid, trunk_id, ip, port, transport, expires_at, note FROM address"
                " WHERE managed_by = 'file'"
            )
        }
        written = {
            (trunk_id, str(a.ip), a.port, a.transport, a.expires_at, a.note): a
            for trunk_id, addresses in pinned.items()
            for a in addresses
        }
        gone = [(stored[key],) for key in stored.keys() - written.keys()]
        db.executemany("DELETE FROM address WHERE rowid = ?", gone)
        for key in written.keys() - stored.keys():
            learning.put(self._db, key[0], written[key])
        self._list_networks()


def _gone_id(trunk_id: str, at: float) -> str:
    """Make the id of a trunk that went at `at`: no trunk of the file can have it."""
    return f"{trunk_id}:gone@{datetime.fromtimestamp(at, UTC).isoformat()}"
