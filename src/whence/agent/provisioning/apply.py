"""Applies a set of trunks and users to the directory, the registrations and the DNS siblings.

The directory is written first, in one transaction. If that fails, nothing has changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from whence.agent.provisioning.fingerprint import fingerprint
from whence.agent.provisioning.rows import trunk_row, user_row
from whence.agent.registration.entry import StoredTrunk
from whence.agent.registration.service import RegistrationService
from whence.core.settings import NodeSettings, TrunkSettings, further_number_headers
from whence.store.directory import Directory
from whence.store.registrations import StoredRegistration
from whence.store.rows import DirectoryRows

log = logging.getLogger(__name__)


class TrunkFollower(Protocol):
    """A part that needs the settings of all trunks: the DNS siblings."""

    def apply(self, trunks: Iterable[TrunkSettings]) -> None:
        """Use these trunks; called after the registrations have changed. Raises StoreError."""


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

    def apply(self, settings: NodeSettings) -> None:
        """Replace all trunks and users by those of `settings`. Unchanged trunks keep their state.

        Raises StoreError; then the directory and the registrations have not changed.
        """
        after = {trunk.id: trunk for trunk in settings.trunks}
        running = self._registrations.trunks()
        stored = self._directory.registrations()
        leaving = {id_ for id_, trunk in running.items() if _account_changed(after.get(id_), trunk)}
        replaced = leaving | {
            id_ for id_, one in stored.items() if _stored_changed(after.get(id_), one)
        }
        kept = {id_: one.registration for id_, one in stored.items() if id_ not in replaced}
        renewed = write(self._directory, settings, self._clock(), replaced)
        tokens, learned = self._directory.tokens(), self._directory.have_learned()

        registrations = self._registrations
        registrations.configure(settings.registration)
        for id_ in running:
            if id_ in leaving:
                registrations.remove(id_)
        for trunk in settings.trunks:
            has_learned = trunk.id in learned
            if trunk.id in registrations:
                registrations.update(trunk, has_learned=has_learned)
                continue
            one = StoredTrunk(tokens[trunk.id], kept.get(trunk.id), has_learned)
            registrations.add(trunk, one, at_once=trunk.id in renewed)
        for id_ in replaced - after.keys() - leaving:
            log.info("trunk %s: removed from the file", id_)
        for follower in self._followers:
            follower.apply(settings.trunks)


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
        ),
        now,
    )
    return frozenset(id_ for id_, one in credentials.items() if before.get(id_, one) != one)


def _account_changed(after: TrunkSettings | None, before: TrunkSettings) -> bool:
    return after is None or after.account_key != before.account_key


def _stored_changed(after: TrunkSettings | None, before: StoredRegistration) -> bool:
    return after is None or after.account_key != before.account
