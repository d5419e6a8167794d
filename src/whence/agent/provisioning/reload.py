"""Reads the settings file again while the agent runs. Some changes need a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.outbound_to_core import outbound_faults
from whence.agent.config.to_core import LoadedSettings
from whence.core.settings import NodeSettings, TrunkSettings
from whence.errors import ConfigError, StoreError
from whence.trust.settings import load_trusted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The changes of a reload: ids of trunks, names of users, each sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    users_changed: tuple[str, ...] = ()
    """Users that were added, removed or changed."""
    routing_changed: bool = False
    """Whether the rules for calls to numbers changed: [[route]] or [outbound]."""
    registration_changed: bool = False
    """Whether [registration] changed, except `response_timeout`. It takes effect at once."""
    needs_restart: bool = False
    """Whether [edge], [phones], [media], [agent] or `response_timeout` changed, or calls out began.
    That takes effect at the next start.
    """


class Reload:
    """The settings in effect. A call reads the file again and applies it."""

    def __init__(
        self,
        path: Path,
        settings: LoadedSettings,
        apply: Callable[[NodeSettings], None],
        load: Callable[[Path], Config] = load,
    ) -> None:
        """`apply`: applies new trunks and users, or raises StoreError. `load`: reads the file."""
        self._path = path
        self._apply = apply
        self._load = load
        self.serial = 0
        """How often settings were applied."""
        self._settings = settings
        self._started_with_calls_out = settings.node.calls_out

    def __call__(self) -> Reloaded:
        """Read the file and apply it.

        Raises ConfigError or StoreError; then nothing has changed. After a StoreError the next
        call applies the same file.
        """
        try:
            changed = self.adopt(self._read())
        except ConfigError as error:
            log.error("not reloaded: %s", "; ".join(error.faults))  # noqa: TRY400 - no bug of ours
            raise
        except StoreError as error:
            log.error("not reloaded: %s", error)  # noqa: TRY400 - no bug of ours
            raise
        node = self._settings.node
        log.info("reloaded: %d trunks and %d users", len(node.trunks), len(node.users))
        return changed

    def adopt(self, read: Config) -> Reloaded:
        """Apply settings that were read, and return what changed.

        Raises ConfigError or StoreError; then nothing has changed.
        """
        before = self._settings
        after = LoadedSettings.of(self._usable(read))
        self._apply(after.node)
        self._settings = after
        self.serial += 1
        waiting = _waiting(read, before.config)
        if after.node.calls_out and not self._started_with_calls_out:
            waiting.append("outbound (users may call numbers)")
        if waiting:
            log.warning(
                "what changed in %s takes effect at the next start; if you start Kamailio "
                "yourself, write its configuration again: whence edge-config",
                ", ".join(waiting),
            )
        return replace(
            difference(before.node, after.node),
            registration_changed=before.config.registration != after.config.registration,
            needs_restart=bool(waiting),
        )

    def _usable(self, read: Config) -> Config:
        """Return the new settings with the old values of all that needs a restart.

        Raises ConfigError where a number of a user needs a new `country`.
        """
        usable = _as_started(read, self._settings.config)
        if faults := list(outbound_faults(usable)):
            cure = "country of [edge] takes effect at the next start: restart Whence"
            raise ConfigError([f"{self._path.name}: {fault}; {cure}" for fault in faults])
        return usable

    def _read(self) -> Config:
        read, _ = load_trusted(self._path, self._load)
        if self._settings.node.trunks and not read.model_fields_set:  # most likely it was truncated
            raise ConfigError(
                [f"{self._path.name}: is empty; to remove all trunks, keep [edge] in it"]
            )
        return read


def _as_started(read: Config, before: Config) -> Config:
    """Return the new settings with the old values of all that needs a restart."""
    registration = read.registration.model_copy(
        update={"response_timeout": before.registration.response_timeout}
    )
    return read.model_copy(
        update={
            "edge": before.edge,
            "phones": before.phones,
            "media": before.media,
            "agent": before.agent,
            "registration": registration,
        }
    )


def _waiting(read: Config, before: Config) -> list[str]:
    """Return the names of the changes that need a restart."""
    return [
        name
        for name, new, old in (
            ("edge", read.edge, before.edge),
            ("phones", read.phones, before.phones),
            ("media", read.media, before.media),
            ("agent", read.agent, before.agent),
            (
                "registration response_timeout",
                read.registration.response_timeout,
                before.registration.response_timeout,
            ),
        )
        if new != old
    ]


def _differ(before: TrunkSettings, after: TrunkSettings) -> bool:
    """Return whether a key of a trunk changed. With the first calls to numbers none does."""
    if (before.outbound is None) != (after.outbound is None):
        before, after = replace(before, outbound=None), replace(after, outbound=None)
    return before != after


def difference(before: NodeSettings, after: NodeSettings) -> Reloaded:
    """Return the changes of trunks and users between two settings."""
    old = {trunk.id: trunk for trunk in before.trunks}
    new = {trunk.id: trunk for trunk in after.trunks}
    old_users = {user.name: user for user in before.users}
    new_users = {user.name: user for user in after.users}
    return Reloaded(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(
            sorted(id_ for id_ in old.keys() & new.keys() if _differ(old[id_], new[id_]))
        ),
        users_changed=tuple(
            sorted(
                name
                for name in old_users.keys() | new_users.keys()
                if old_users.get(name) != new_users.get(name)
            )
        ),
        routing_changed=before.routing != after.routing,
    )
