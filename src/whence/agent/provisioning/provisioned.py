"""The settings of a node: the settings file, and what the API provisioned, as one set.

What the file has stays the file's. Where both have a trunk or user of one name, the file wins.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.agent.config.load import check, load
from whence.agent.config.models import Config
from whence.agent.config.outbound import RouteConfig
from whence.agent.config.toml import Table, toml
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.agent.provisioning.secret_keys import SecretBox, join
from whence.core.settings import NodeSettings
from whence.errors import ConfigError, OperatorError, StoreError
from whence.store.provisioned import FILE, ProvisionedStore, StoredEntry
from whence.trust import paths

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of table that the API provisions."""

    name: str
    """The name of the table in the file: trunk."""
    model: type[Table]
    key: str
    """The key that identifies a table; empty: the file has none."""


TRUNK = Kind("trunk", TrunkConfig, "id")
USER = Kind("user", UserConfig, "name")
ROUTE = Kind("route", RouteConfig, "")
KINDS = {kind.name: kind for kind in (USER, TRUNK, ROUTE)}
"""All kinds. Trunks name users as targets, and routes name trunks."""

POSITION = "position"
"""The key by which the API's routes are ordered. The file has the order of its tables."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One trunk, user or route of the API, decrypted."""

    kind: Kind
    id: str
    public: Mapping[str, Any]
    hidden: Mapping[str, Any] = field(repr=False)
    """Its secret keys."""
    revision: int = 0

    @property
    def table(self) -> dict[str, Any]:
        """Return the table as the file would have it."""
        whole = join(self.public, self.hidden)
        whole.pop(POSITION if self.kind is ROUTE else "", None)
        return {self.kind.key: self.id, **whole} if self.kind.key else whole

    @property
    def order(self) -> tuple[float, str]:
        """The key by which entries of one kind are ordered."""
        position = self.public.get(POSITION, 0) if self.kind is ROUTE else 0
        return (position if isinstance(position, int | float) else 0, self.id)


class Provisioned:
    """The settings file of a node, and the entries of the API."""

    def __init__(self, file: Path, state: Path) -> None:
        self.file = file
        self.box = SecretBox(state)
        self._state = state
        self._store: ProvisionedStore | None = None
        self._loaded = _identity(file)
        self._in_file: Mapping[str, frozenset[str]] | None = None

    @property
    def store(self) -> ProvisionedStore:
        """The store of the entries; it is made when it is first needed. Raises StoreError."""
        if self._store is None:
            self._store = ProvisionedStore(self._state)
        return self._store

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def entries(self) -> list[Entry]:
        """Return all entries of the API that can be decrypted. Raises StoreError."""
        if self._store is None and not (self._state / FILE).exists():
            return []
        read = [self._read(one) for one in self.store.entries() if one.kind in KINDS]
        return [one for one in read if one is not None]

    def _read(self, stored: StoredEntry) -> Entry | None:
        hidden = self.box.decrypt(stored.kind, stored.id, stored.secrets)
        if hidden is None:
            log.error(
                "%s %s of the API is left out: its secrets cannot be decrypted; write it again",
                stored.kind,
                stored.id,
            )
            return None
        public = json.loads(stored.settings)
        return Entry(KINDS[stored.kind], stored.id, public, hidden, stored.revision)

    @property
    def in_file(self) -> Mapping[str, frozenset[str]]:
        """Kind → the ids that the file had when it was last loaded. Raises ConfigError."""
        if self._in_file is None:
            self._in_file = ids_of(toml(self.file))
        return self._in_file

    @property
    def file_changed(self) -> bool:
        """Whether the file is another than the one that was last loaded."""
        return self._loaded != _identity(self.file)

    def load(self, file: Path) -> Config:
        """Read the file, and add the entries of the API.

        Raises ConfigError with all faults, also where an entry contradicts the file; StoreError.
        """
        identity, data = _identity(file), toml(file)
        config = self.combine(data, self.entries())
        self._loaded, self._in_file = identity, ids_of(data)
        return config

    def start(self, file: Path) -> Config:
        """Read the file, and add those entries of the API that do not contradict it.

        A start must not fail for an entry. The log names those that are left out.
        Raises ConfigError for faults of the file, and StoreError.
        """
        data = toml(file)
        config = check(data, file)
        entries = self.entries()
        if entries:
            admitted = self._admitted(data, entries)
            config = self.combine(data, admitted)
        return config

    def left_out(
        self, node: NodeSettings, routes: Collection[RouteConfig] | None = None
    ) -> list[str]:
        """Return the entries of the API that these settings do not have: `trunk acme`.

        `routes`: those of the settings; None: they have all that can be decrypted. Raises
        StoreError.
        """
        if self._store is None and not (self._state / FILE).exists():
            return []
        ids = {TRUNK: {one.id for one in node.trunks}, USER: {one.name for one in node.users}}
        used = {
            (one.kind.name, one.id)
            for one in self.entries()
            if (one.id in ids[one.kind] if one.kind in ids else _is_in(one, routes))
        }
        stored = [(one.kind, one.id) for one in self.store.entries()]
        return [f"{kind} {id_}" for kind, id_ in stored if (kind, id_) not in used]

    def _admitted(self, data: Mapping[str, Any], entries: Sequence[Entry]) -> list[Entry]:
        """Return those entries that do not contradict the file or each other.

        An entry that a fault names is left out, and then those that need it. Entries need each
        other in both directions: a trunk its target, and that user the trunk. So none is tried
        alone, unless the faults name none.
        """
        left = list(entries)
        while left:
            try:
                self.combine(data, left)
            except ConfigError as error:
                named = [(_named(data, left, fault), fault) for fault in error.faults]
                faulty = {(one.kind.name, one.id): fault for one, fault in named if one is not None}
                if not faulty:
                    return self._by_halves(data, [], left)
                for (kind, id_), fault in faulty.items():
                    log.error("%s %s of the API is left out: %s", kind, id_, fault)  # noqa: TRY400
                left = [one for one in left if (one.kind.name, one.id) not in faulty]
            else:
                break
        return left

    def _by_halves(
        self, data: Mapping[str, Any], base: Sequence[Entry], entries: Sequence[Entry]
    ) -> list[Entry]:
        """Return those entries that can be added to `base`, by halves: few contradict."""
        try:
            self.combine(data, [*base, *entries])
        except ConfigError as error:
            if len(entries) == 1:
                left_out = entries[0]
                log.error(  # noqa: TRY400 - no bug of ours
                    "%s %s of the API is left out: %s",
                    left_out.kind.name,
                    left_out.id,
                    "; ".join(error.faults),
                )
                return []
            middle = len(entries) // 2
            first = self._by_halves(data, base, entries[:middle])
            return first + self._by_halves(data, [*base, *first], entries[middle:])
        return list(entries)

    def combine(self, data: Mapping[str, Any], entries: Sequence[Entry]) -> Config:
        """Check the tables of the file together with entries of the API. The file wins.

        Raises ConfigError with all faults.
        """
        if not data:  # an empty file is most likely truncated, and the caller must see that
            return check({}, self.file)
        held = ids_of(data)
        both = dict(data)
        for kind in KINDS.values():
            own = sorted((one for one in entries if one.kind is kind), key=lambda one: one.order)
            for one in own:
                if one.id in held[kind.name]:
                    log.warning(
                        "%s %s is in the file and in the API: the file's is used; remove one",
                        kind.name,
                        one.id,
                    )
            tables = [one.table for one in own if one.id not in held[kind.name]]
            before = both.get(kind.name, [])
            if tables and isinstance(before, list):
                both[kind.name] = [*before, *tables]
        return check(both, self.file)


def load_with_api(file: Path) -> Config:
    """Read the settings file, and add what the API provisioned.

    Raises ConfigError and OperatorError.
    """
    config = load(file)
    state = config.state
    if not (state / FILE).exists():
        return config
    provisioned = Provisioned(file, state)
    try:
        with paths.directory(state):  # no other user may have made the files in it
            return provisioned.start(file)
    except StoreError as error:
        raise OperatorError(str(error)) from None
    finally:
        provisioned.close()


def ids_of(data: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return kind → the ids of the tables of a file. Faulty tables have none."""
    found: dict[str, frozenset[str]] = {}
    for kind in KINDS.values():
        tables = data.get(kind.name, [])
        listed = tables if isinstance(tables, list) else []
        ids = (one.get(kind.key) for one in listed if kind.key and isinstance(one, dict))
        found[kind.name] = frozenset(id_ for id_ in ids if isinstance(id_, str))
    return found


_PLACE = re.compile(r'\broute number (?P<number>\d+)|\b(?P<kind>trunk|user) "(?P<id>[^"]*)"')
"""What a fault names. Its own place is the first."""


def _named(data: Mapping[str, Any], entries: Sequence[Entry], fault: str) -> Entry | None:
    """Return the first of the entries that a fault names; None where it names none."""
    known = {(one.kind.name, one.id): one for one in entries if one.kind is not ROUTE}
    routes = sorted((one for one in entries if one.kind is ROUTE), key=lambda one: one.order)
    numbered = dict(enumerate(routes, len(data.get(ROUTE.name, [])) + 1))
    for place in _PLACE.finditer(fault):
        number = place["number"]
        found = numbered.get(int(number)) if number else known.get((place["kind"], place["id"]))
        if found is not None:
            return found
    return None


def _is_in(entry: Entry, routes: Collection[RouteConfig] | None) -> bool:
    try:
        return routes is None or RouteConfig.model_validate(entry.table) in routes
    except ValueError:  # of another version of Whence
        return False


def _identity(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
