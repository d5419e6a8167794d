"""What the file says of trunks, numbers and users, as it is installed in the directory."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2s

from whence.agent.config.models import Config
from whence.core.identification.address import Address
from whence.core.registration.learning import ExpectedSources
from whence.core.sip.digest import Credentials
from whence.store import learning, statements
from whence.store import schema as tables
from whence.store.addresses import Addresses
from whence.store.registrations import Registrations


class Catalog(Addresses, Registrations):
    """Trunks with their tokens and numbers, users, and the keys of edge and agent."""

    def new_inside_key(self) -> str:
        """Make the key that seals what edge and agent say to each other; good until the next."""
        key = secrets.token_hex(32)
        with self._transaction():
            self._set(tables.INSIDE_KEY, key)
            self._lasting_key(tables.DIALOG_KEY)  # dialogs outlive us
        return key

    def _lasting_key(self, name: str) -> str:
        """The key of this name, made where there is none yet."""
        made = self._db.execute(tables.META, (name,)).fetchone()
        if made is None:
            made = (secrets.token_hex(32),)
            self._set(name, made[0])
        return str(made[0])

    def tokens(self) -> dict[str, str]:
        """Trunk id → its token, of those of the file."""
        query = "SELECT id, token FROM trunk WHERE gone_at IS NULL"
        return dict(self._fetch(query))

    def users(self) -> list[str]:
        """The names of the local users."""
        return [name for (name,) in self._fetch("SELECT name FROM user ORDER BY name")]

    def install(
        self, settings: Config, now: float | None = None, others: Iterable[str] = ()
    ) -> frozenset[str]:
        """Make trunks, numbers and users those of the file; what is gone takes its addresses along.

        A trunk that stays keeps its token: the registrar knows it by that. One that is disabled
        loses its addresses, those too that were pinned at run time. `others`: ids of registrations
        that are no trunk's any more, or another account's. Returns the ids of those that stay and
        have other credentials than before, as far as that is remembered. StoreError, and then
        nothing has changed.
        """
        now = time.time() if now is None else now
        with self._changing():
            for id_ in others:
                self._let_go(id_, now)
            renewed = self._install_trunks(settings)
            pinned = {trunk.id: trunk.pinned(now) for trunk in settings.trunk if trunk.enabled}
            self._install_pins(pinned)
            anyone = {trunk.id for trunk in settings.trunk if trunk.learn_from == "any"}
            self._end_what_is_not_permitted(
                lambda id_: ExpectedSources(networks=pinned.get(id_, ()), anyone=id_ in anyone), now
            )
            self._db.execute("DELETE FROM user")
            self._db.executemany(
                "INSERT INTO user VALUES (?, ?, ?)",
                [
                    (user.name, settings.edge.domain, user.md5(settings.edge.domain).reveal())
                    for user in settings.user
                ],
            )
        self._exact = frozenset(trunk.id for trunk in settings.trunk if trunk.port == "exact")
        return renewed

    def _let_go(self, trunk_id: str, now: float) -> None:
        """Forget a registration and all that it taught. Another account has another token: the old
        contact is taken back while the new one is registered, and the two must not be one. The old
        one stays nobody else's: its registrar may not have heard, and call by it.
        """
        self._db.execute("DELETE FROM registration WHERE trunk_id = ?", (trunk_id,))
        self._db.execute("DELETE FROM ignored_reply WHERE trunk_id = ?", (trunk_id,))
        learning.forget(self._db, trunk_id, now)
        before = self._db.execute("SELECT token FROM trunk WHERE id = ?", (trunk_id,)).fetchone()
        if before is None:
            return
        self._db.execute(
            "UPDATE trunk SET token = ? WHERE id = ?", (secrets.token_hex(12), trunk_id)
        )
        self._db.execute(statements.PUT_GONE, (_gone_id(trunk_id, now), *before, now))

    def _install_trunks(self, settings: Config) -> frozenset[str]:
        db = self._db
        key = self._lasting_key(tables.MARK_KEY)
        marks = {trunk.id: _mark(key, trunk.credentials()) for trunk in settings.trunk}
        known = "SELECT id, mark FROM trunk WHERE gone_at IS NULL"
        marked = dict(db.execute(known).fetchall())
        for id_ in marked.keys() - marks.keys():
            db.execute("DELETE FROM trunk WHERE id = ?", (id_,))
        db.execute("DELETE FROM number")
        db.execute("DELETE FROM range")
        self._set(tables.NUMBER_HEADERS_KEY, " ".join(settings.number_headers))
        for trunk in settings.trunk:
            db.execute(
                statements.PUT_TRUNK,
                (
                    trunk.id,
                    secrets.token_hex(12),
                    trunk.user,
                    trunk.target,
                    trunk.unmatched,
                    trunk.fallback,
                    trunk.enabled,
                    marks[trunk.id],
                    " ".join(trunk.number_headers),
                    settings.number_style(trunk),
                ),
            )
            if not trunk.enabled:
                db.execute("DELETE FROM address WHERE trunk_id = ?", (trunk.id,))
            db.execute(
                "UPDATE address SET exact = ? WHERE trunk_id = ? AND origin = 'learned'"
                " AND ground <> 'networks'",
                (trunk.port == "exact", trunk.id),
            )
            named = (settings.spellings(trunk), settings.account_spellings(trunk))
            db.executemany(
                statements.PUT_NUMBER,
                [
                    (spelling, trunk.id, of_account, e164)
                    for of_account, forms in enumerate(named)
                    for spelling, e164 in sorted(forms.items())
                ],
            )
        db.execute(statements.PUT_RANGES)
        return frozenset(id_ for id_, mark in marks.items() if marked.get(id_, mark) != mark)

    def _install_pins(self, pinned: Mapping[str, Sequence[Address]]) -> None:
        """Pin what the file pins, and no longer what it does not; what stays keeps its age."""
        db = self._db
        stood = {
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
        gone = [(stood[key],) for key in stood.keys() - written.keys()]
        db.executemany("DELETE FROM address WHERE rowid = ?", gone)
        for key in written.keys() - stood.keys():
            learning.put(self._db, key[0], written[key])
        self._list_networks()


def _gone_id(trunk_id: str, at: float) -> str:
    """Make the id of a trunk that went at `at`: no trunk of the file can have it."""
    return f"{trunk_id}:gone@{datetime.fromtimestamp(at, UTC).isoformat()}"


def _mark(key: str, credentials: Credentials) -> str:
    """Sixteen bits that tell other credentials from these.

    The file is all that may hold a trunk's password: who steals the directory, key and all, can
    throw away most guesses at it with this, and confirm none.
    """
    secrets_of = (credentials.password, *(ha1 for _, ha1 in credentials.ha1))
    told = [secret.reveal() if secret else "" for secret in secrets_of]
    algorithms = [algorithm for algorithm, _ in credentials.ha1]
    text = json.dumps([credentials.user, credentials.realm, algorithms, told])
    return blake2s(text.encode(), key=bytes.fromhex(key), digest_size=2).hexdigest()
