"""Reading the file again while the agent runs: what changes, and what has to wait for a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.core.settings import NodeSettings
from whence.errors import ConfigError, StoreError
from whence.trust.settings import load_trusted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a new file changed: ids of trunks, names of users, each sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    users_changed: tuple[str, ...] = ()
    """Users that are new, gone or other than before."""
    registration_changed: bool = False
    """Whether [registration] changed, but for `response_timeout`: it counts at once."""
    needs_restart: bool = False
    """Whether [edge], [agent] or `response_timeout` of [registration] changed: they count at the
    next start.
    """


class Reload:
    """The settings that count now, and the way to newer ones."""

    def __init__(self, path: Path, settings: Config, apply: Callable[[NodeSettings], None]) -> None:
        """`apply` makes new settings count; StoreError where it cannot."""
        self._path = path
        self._apply = apply
        self.settings = settings

    def __call__(self) -> Reloaded:
        """Read the file and make it count.

        ConfigError or StoreError where nothing changed. After a StoreError the same
        file counts as new at the next try.
        """
        before = self.settings
        try:
            read = self._read()
            after = _as_started(read, before)
            self._apply(node_settings(after))
        except ConfigError as error:
            log.error("not reloaded: %s", "; ".join(error.faults))  # noqa: TRY400 - no bug of ours
            raise
        except StoreError as error:
            log.error("not reloaded: %s", error)  # noqa: TRY400 - no bug of ours
            raise
        self.settings = after
        log.info("reloaded: %d trunks and %d users", len(after.trunk), len(after.user))
        if waiting := _waiting(read, before):
            log.warning(
                "what changed in %s counts at the next start; whoever starts Kamailio himself "
                "writes its configuration anew (whence edge-config)",
                ", ".join(waiting),
            )
        return difference(before, after, needs_restart=bool(waiting))

    def _read(self) -> Config:
        read, _ = load_trusted(self._path, load)
        if self.settings.trunk and not read.model_fields_set:  # it was cut off, most likely
            raise ConfigError(
                [f"{self._path.name}: is empty; to have no trunk any more, leave [edge] in it"]
            )
        return read


def _as_started(read: Config, before: Config) -> Config:
    """Leave what Kamailio was started on, and with it the agent, as it is."""
    registration = read.registration.model_copy(
        update={"response_timeout": before.registration.response_timeout}
    )
    return read.model_copy(
        update={"edge": before.edge, "agent": before.agent, "registration": registration}
    )


def _waiting(read: Config, before: Config) -> list[str]:
    """Name what is to be started on that."""
    return [
        name
        for name, new, old in (
            ("edge", read.edge, before.edge),
            ("agent", read.agent, before.agent),
            (
                "registration response_timeout",
                read.registration.response_timeout,
                before.registration.response_timeout,
            ),
        )
        if new != old
    ]


def difference(before: Config, after: Config, *, needs_restart: bool = False) -> Reloaded:
    """Say what changed from one file to the next."""
    old = {trunk.id: (trunk, trunk.credentials()) for trunk in before.trunk}
    new = {trunk.id: (trunk, trunk.credentials()) for trunk in after.trunk}
    old_users = {user.name: user for user in before.user}
    new_users = {user.name: user for user in after.user}
    return Reloaded(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(id_ for id_ in old.keys() & new.keys() if old[id_] != new[id_])),
        users_changed=tuple(
            sorted(
                name
                for name in old_users.keys() | new_users.keys()
                if old_users.get(name) != new_users.get(name)
            )
        ),
        registration_changed=before.registration != after.registration,
        needs_restart=needs_restart,
    )
