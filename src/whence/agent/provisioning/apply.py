"""Applies a set of trunks and users to the directory, the registrations and the DNS siblings.

The directory is written first, in one transaction. If that fails, nothing has changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from whence.agent.provisioning.fingerprint import fingerprint
from whence.agent.provisioning.rows import outbound_rows, trunk_row, user_row
from whence.agent.registration.entry import StoredTrunk
from whence.agent.registration.service import RegistrationService
from whence.core.registration.model import Registration
from whence.core.settings import NodeSettings, TrunkSettings, further_number_headers
from whence.store.directory import Directory
from whence.store.registrations import StoredRegistration
from whence.store.rows import DirectoryRows

log = logging.getLogger(__name__)

SLICE = 100
"""How many trunks are added at the start, before other tasks continue."""


class TrunkFollower(Protocol):
    """A part that needs the settings of all trunks: the DNS siblings."""

    def apply(self, trunks: Iterable[TrunkSettings]) -> None:
        """Use these trunks; called after the registrations have changed. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What the directory has of the trunks, after they are written."""

    kept: Mapping[str, Registration]
    renewed: Collection[str]
    """Trunks whose credentials changed."""
    tokens: Mapping[str, str]
    learned: Collection[str]
    """Trunks with a learned address."""


class Provisioning:
    """Adds, changes and removes trunks in the directory and in the parts of the agent."""

    def __init__(
        self,
        directory: Directory,
        registrations: RegistrationService,
        followers: Sequence[TrunkFollower] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._registrations = registrations
        self._followers = followers
        self._clock = clock
        self._adding: Iterator[None] = iter(())
        """Adds the rest of the first trunks, a slice at each step."""

    def begin(self, settings: NodeSettings) -> None:
        """Write the first settings into the directory. `add_first` or `finish` adds the trunks.

        Raises StoreError; then nothing has changed.
        """
        written = self._write(settings, {trunk.id: trunk for trunk in settings.trunks}, ())
        # No trunk is registered yet, so the followers need not wait for the registrations.
        for follower in self._followers:
            follower.apply(settings.trunks)
        self._adding = self._slices(settings.trunks, written)

    async def add_first(self) -> None:
        """Add the first trunks in slices: some register while others are added."""
        for _ in self._adding:
            await asyncio.sleep(0)

    def finish(self) -> None:
        """Add the rest of the first trunks at once. What reads all trunks calls this before."""
        for _ in self._adding:
            pass

    def clock_stepped(self, _step_s: float, _offset: object) -> None:
        """Add the rest of the first trunks, so that the registrations correct all instants."""
        self.finish()

    def apply(self, settings: NodeSettings) -> None:
        """Replace all trunks and users by those of `settings`. Unchanged trunks keep their state.

        Raises StoreError; then the directory and the registrations have not changed.
        """
        self.finish()
        after = {trunk.id: trunk for trunk in settings.trunks}
        running = self._registrations.trunks()
        leaving = {id_ for id_, trunk in running.items() if _account_changed(after.get(id_), trunk)}
        written = self._write(settings, after, leaving)
        for id_ in running:
            if id_ in leaving:
                self._registrations.remove(id_)
        for trunk in settings.trunks:
            self._put(trunk, written)
        for follower in self._followers:
            follower.apply(settings.trunks)

    def _write(
        self, settings: NodeSettings, after: Mapping[str, TrunkSettings], leaving: Collection[str]
    ) -> _Written:
        """Write the directory, and return what it has of the trunks.

        `leaving`: running trunks that end.
        """
        stored = self._directory.registrations()
        gone = {id_ for id_, one in stored.items() if _stored_changed(after.get(id_), one)}
        replaced = gone.union(leaving)
        kept = {id_: one.registration for id_, one in stored.items() if id_ not in replaced}
        renewed = write(self._directory, settings, self._clock(), replaced)
        self._registrations.configure(settings.registration)
        for id_ in gone - after.keys() - set(leaving):
            log.info("trunk %s: removed from the file", id_)
        return _Written(
            kept, renewed, self._directory.tokens(), frozenset(self._directory.have_learned())
        )

    def _slices(self, trunks: Iterable[TrunkSettings], written: _Written) -> Iterator[None]:
        for number, trunk in enumerate(trunks):
            self._put(trunk, written)
            if number % SLICE == SLICE - 1:
                yield

    def _put(self, trunk: TrunkSettings, written: _Written) -> None:
        """Add a trunk to the registrations, or change it."""
        has_learned = trunk.id in written.learned
        if trunk.id in self._registrations:
            self._registrations.update(trunk, has_learned=has_learned)
            return
        one = StoredTrunk(written.tokens[trunk.id], written.kept.get(trunk.id), has_learned)
        self._registrations.add(trunk, one, at_once=trunk.id in written.renewed)


def write(
    directory: Directory, settings: NodeSettings, now: float, replaced: Collection[str] = ()
) -> frozenset[str]:
    """Replace the directory's trunks and users by those of `settings`, in one transaction.

    `replaced`: ids whose stored registration belongs to no trunk, or to another account. Returns
    the ids of trunks that remain, but whose credentials fingerprint changed. Raises StoreError;
    then nothing has changed.
    """
    key = directory.fingerprint_key()
    before = directory.fingerprints()
    credentials = {trunk.id: fingerprint(key, trunk.credentials) for trunk in settings.trunks}
    directory.install(
        DirectoryRows(
            trunks=(trunk_row(trunk, credentials[trunk.id], now) for trunk in settings.trunks),
            users=[user_row(user) for user in settings.users],
            removed=before.keys() - credentials.keys(),
            replaced=replaced,
            number_headers=further_number_headers(t.number_headers for t in settings.trunks),
            outbound=outbound_rows(settings),
        ),
        now,
    )
    return frozenset(id_ for id_, one in credentials.items() if before.get(id_, one) != one)


def _account_changed(after: TrunkSettings | None, before: TrunkSettings) -> bool:
    return after is None or after.account_key != before.account_key


def _stored_changed(after: TrunkSettings | None, before: StoredRegistration) -> bool:
    return after is None or after.account_key != before.account
