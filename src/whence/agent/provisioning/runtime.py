"""Changes trunks, users and routes while the agent runs, as the API orders it.

A change is checked together with all other settings, stored, and then takes effect like a reload.
If one of these fails, nothing has changed.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from whence.agent.config.models import Config
from whence.agent.config.toml import sentence, toml
from whence.agent.provisioning.provisioned import POSITION, ROUTE, Entry, Kind, Provisioned
from whence.agent.provisioning.reload import Reload, Reloaded
from whence.agent.provisioning.secret_keys import join, split
from whence.errors import ConfigError, StoreError, WhenceError
from whence.store.provisioned import StoredEntry

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")

TRIES = 3
"""How often a change is checked again after a reload that came between."""


class ManagedByFileError(WhenceError):
    """The settings file has the table, so the API does not change it."""


class FileChangedError(WhenceError):
    """The settings file has changed since it was loaded."""


class UnknownEntryError(WhenceError):
    """The API has no such trunk, user or route."""


class MatchRequiredError(WhenceError):
    """The entry exists, and the request does not say which revision it changes."""


class MatchFailedError(WhenceError):
    """The entry is of another revision than the request says."""


class InUseError(WhenceError):
    """The entry cannot be removed: others need it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of an entry. `pointer`: its place in the body of the request (RFC 6901)."""

    detail: str
    pointer: str | None = None


class InvalidEntryError(WhenceError):
    """The entry has faults, or contradicts other settings."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(fault.detail for fault in faults))


@dataclass(frozen=True, slots=True)
class Match:
    """The conditions of a request (RFC 9110 13.1)."""

    revisions: frozenset[str] | None = None
    """The revisions of If-Match; `*` is any; None: there is no condition."""
    must_be_new: bool = False
    """Whether the entry must not exist (`If-None-Match: *`)."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one entry, which has taken effect unless it was a dry run."""

    before: Entry | None
    after: Entry | None
    reloaded: Reloaded = field(default_factory=Reloaded)

    @property
    def is_new(self) -> bool:
        """Whether the entry was created."""
        return self.before is None


Make = Callable[[Entry | None], Entry | None]


class RuntimeProvisioning:
    """The trunks, users and routes of the API."""

    def __init__(
        self, provisioned: Provisioned, reload: Reload, clock: Callable[[], float] = time.time
    ) -> None:
        self._provisioned = provisioned
        self._reload = reload
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._cache: dict[tuple[str, str], Entry] | None = None

    # To read.

    def entries(self, kind: Kind) -> list[Entry]:
        """Return all entries of a kind, in their order. Raises StoreError."""
        found = [one for one in self._all().values() if one.kind is kind]
        return sorted(found, key=lambda one: one.order)

    def get(self, kind: Kind, id_: str) -> Entry | None:
        """Return an entry; None where the API has none, or the file's is used."""
        return None if self.in_file(kind, id_) else self._all().get((kind.name, id_))

    def in_file(self, kind: Kind, id_: str) -> bool:
        """Return whether the settings file has the table."""
        return id_ in self._provisioned.in_file[kind.name]

    def _all(self) -> dict[tuple[str, str], Entry]:
        if self._cache is None:
            self._cache = {(one.kind.name, one.id): one for one in self._provisioned.entries()}
        return self._cache

    # To change.

    async def put(
        self,
        kind: Kind,
        id_: str,
        table: Mapping[str, Any],
        match: Match = Match(),
        *,
        is_trial: bool = False,
    ) -> Change:
        """Create an entry with these keys, or replace it.

        `is_trial`: check it, and change nothing. Raises one of the errors of this file, or
        StoreError.
        """
        entry = self._entry(kind, id_, table)
        return await self._change(kind, id_, lambda _: entry, match, is_trial=is_trial)

    async def patch(
        self,
        kind: Kind,
        id_: str,
        patch: Mapping[str, Any],
        match: Match = Match(),
        *,
        is_trial: bool = False,
    ) -> Change:
        """Change keys of an entry (RFC 7396): null removes one. Secrets stay if they are not named.

        Raises as `put`, and UnknownEntryError.
        """

        def make(before: Entry | None) -> Entry:
            if before is None:
                raise self._unknown(kind, id_)
            merged = merge(join(before.public, before.hidden), patch)
            return self._entry(kind, id_, merged)

        return await self._change(kind, id_, make, match, is_trial=is_trial)

    async def delete(
        self, kind: Kind, id_: str, match: Match = Match(), *, is_trial: bool = False
    ) -> Change:
        """Remove an entry. Raises as `patch`, and InUseError."""

        def make(before: Entry | None) -> None:
            if before is None:
                raise self._unknown(kind, id_)

        return await self._change(kind, id_, make, match, is_trial=is_trial)

    async def _change(
        self, kind: Kind, id_: str, make: Make, match: Match, *, is_trial: bool
    ) -> Change:
        async with self._one_at_a_time:
            before = self._all().get((kind.name, id_))
            after = make(before)
            # The API's entry may be removed where the file has one, too.
            if self.in_file(kind, id_) and (after is not None or before is None):
                raise ManagedByFileError(
                    f"{kind.name} {id_} is in the settings file; change it there, and reload"
                )
            if after is not None and before == replace(after, revision=_revision(before)):
                return Change(before, before)
            _check_match(before, match)
            if after is not None:
                check_alone(after)
            config = await self._checked(kind, id_, after)
            if is_trial:
                return Change(before, after)
            return self._write(before, after, config)

    def _write(self, before: Entry | None, after: Entry | None, config: Config) -> Change:
        """Store a change, and apply it. Raises StoreError; then nothing has changed."""
        store = self._provisioned.store
        applied = False
        try:
            with store.transaction():
                if after is not None:
                    after = replace(after, revision=store.put(self._stored(after)))
                elif before is not None:
                    store.delete(before.kind.name, before.id)
                reloaded = self._reload.adopt(config)
                applied = True
        except StoreError:
            if applied:  # the disk is full at the last moment
                self._reload.adopt(self._combined(self._all()))
            raise
        except ConfigError as error:
            raise InvalidEntryError([Fault(fault) for fault in error.faults]) from None
        entries = self._all()
        if after is not None:
            entries[after.kind.name, after.id] = after
        elif before is not None:
            del entries[before.kind.name, before.id]
        return Change(before, after, reloaded)

    def _stored(self, entry: Entry) -> StoredEntry:
        return StoredEntry(
            entry.kind.name,
            entry.id,
            json.dumps(entry.public),
            self._provisioned.box.encrypt(entry.kind.name, entry.id, entry.hidden),
            changed_at=self._clock(),
        )

    async def _checked(self, kind: Kind, id_: str, after: Entry | None) -> Config:
        """Check all settings with the change. A large set takes a while, so a thread does it."""
        entries = dict(self._all())
        entries.pop((kind.name, id_), None)
        if after is not None:
            entries[kind.name, id_] = after
        for _ in range(TRIES):
            serial = self._reload.serial
            if self._provisioned.file_changed:
                break
            try:
                config = await asyncio.to_thread(self._combined, entries)
            except ConfigError as error:
                faults = [Fault(_without_place(fault, kind, id_)) for fault in error.faults]
                if after is None:
                    raise InUseError("; ".join(fault.detail for fault in faults)) from None
                raise InvalidEntryError(faults) from None
            if serial == self._reload.serial and not self._provisioned.file_changed:
                return config
        raise FileChangedError(
            "the settings file has changed since it was loaded; reload it first: whence reload"
        )

    def _combined(self, entries: Mapping[tuple[str, str], Entry]) -> Config:
        file = self._provisioned.file
        return self._provisioned.combine(toml(file), list(entries.values()))

    def _entry(self, kind: Kind, id_: str, table: Mapping[str, Any]) -> Entry:
        faults = []
        if not _ID.fullmatch(id_):
            faults.append(Fault("the id has 1 to 64 letters, digits and _ . + -; write another"))
        if kind.key and table.get(kind.key, id_) != id_:
            faults.append(Fault(f"is not the id of the path, {id_}; leave it out", f"/{kind.key}"))
        faults += [
            Fault("names a file of this machine; write the secret itself", f"/{key}")
            for key in table
            if key.endswith("_file")
        ]
        position = table.get(POSITION, 0)
        if kind is ROUTE and (type(position) is not int or not 0 <= position <= 1_000_000):
            faults.append(Fault("is not a whole number from 0 to 1000000", f"/{POSITION}"))
        if faults:
            raise InvalidEntryError(faults)
        own = {key: value for key, value in table.items() if key != kind.key}
        return Entry(kind, id_, *split(kind.model, own))

    def _unknown(self, kind: Kind, id_: str) -> WhenceError:
        if self.in_file(kind, id_):
            return ManagedByFileError(
                f"{kind.name} {id_} is in the settings file; change it there, and reload"
            )
        return UnknownEntryError(f"the API has no {kind.name} {id_}; create it with PUT")


def merge(target: Any, patch: Any) -> Any:
    """Return a value with a JSON merge patch (RFC 7396 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def check_alone(entry: Entry) -> None:
    """Check the keys of one entry by the model of the file. Raises InvalidEntryError."""
    data = {entry.kind.name: [entry.table]}
    try:
        Config.model_validate(data)
    except ValidationError as error:
        raise InvalidEntryError(
            [
                Fault(
                    _without_place(sentence(Config, data, one), entry.kind, entry.id),
                    _pointer(one["loc"][2:]),
                )
                for one in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def _pointer(loc: tuple[int | str, ...]) -> str:
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in loc if part != "[key]"]
    return "".join(f"/{part}" for part in parts)


def _without_place(fault: str, kind: Kind, id_: str) -> str:
    """Return a fault without the file's name, and without the place of the entry itself."""
    _, _, fault = fault.partition(".toml: ") if ".toml: " in fault else ("", "", fault)
    own = f'{kind.name} "{id_}": '
    return fault.removeprefix(own)


def _revision(entry: Entry | None) -> int:
    return 0 if entry is None else entry.revision


def _check_match(before: Entry | None, match: Match) -> None:
    if before is None:
        if match.revisions is not None:
            raise MatchFailedError("it does not exist, so no revision of it matches")
        return
    if match.must_be_new:
        raise MatchFailedError("it exists already")
    if match.revisions is None:
        raise MatchRequiredError(
            "it exists already; send the ETag of the revision that you change as If-Match, or *"
        )
    if "*" not in match.revisions and str(before.revision) not in match.revisions:
        raise MatchFailedError("it has changed meanwhile; read it again, and repeat your change")
