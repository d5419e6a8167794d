"""`whence agent --track-only`: an agent beside a Kamailio that registers by itself (the drop-in).

It registers nothing and has no inside socket. It hears what the edge decided, tells how the trunks
stand as the workers wrote it down, and raises alarms.
"""

from __future__ import annotations

import logging
import socket
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop

from whence.agent.api import monitoring
from whence.agent.api.app import ApiParts, make
from whence.agent.api.models import Health
from whence.agent.api.monitoring import Happened
from whence.agent.dropin import api as api_uac
from whence.agent.dropin.config import DropInConfig, load
from whence.agent.dropin.monitor import RegistrationMonitor
from whence.agent.monitoring.alarms import Alarms, WrongTokenAlarms
from whence.agent.monitoring.calls import Calls, CallsFile
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.monitoring.metrics import (
    AlarmMetrics,
    ConflictMetrics,
    DecisionMetrics,
    RegistrationMetrics,
    registry,
)
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.agent.monitoring.webhook import Webhook
from whence.agent.provisioning.reload import Reloaded
from whence.agent.runtime.process import (
    LOCK_FILE,
    alone,
    api_socket,
    become_owner,
    prepare_state,
    run_until_told,
)
from whence.core.monitoring.unknown_sources import UnknownSourceTable as KeptStrangers
from whence.core.monitoring.unknown_sources import WindowCounter
from whence.errors import ConfigError, OperatorError, StoreError
from whence.ipc.decisions import SOCKET_FILE
from whence.store.directory import FILE
from whence.store.uac import SharedDirectory
from whence.trust.settings import load_trusted

log = logging.getLogger(__name__)

STATE = "state"
"""The state directory, beside the file."""


def run(path: Path) -> None:
    """Run on the file `path` until SIGINT or SIGTERM. SIGHUP reads the file again."""
    state = path.absolute().parent / STATE
    become_owner(state)
    settings, doubts = load_trusted(path, load)
    for doubt in doubts:
        log.warning("%s", doubt)
    prepare_state(state)
    with alone(state / LOCK_FILE, "an agent"), api_socket(settings.agent) as bound:
        try:
            with (
                closing(SharedDirectory(state / FILE)) as directory,
                closing(DecisionReceiver(state / SOCKET_FILE)) as hearing,
            ):
                uvloop.run(_serve(path, settings, directory, hearing, bound))
        except StoreError as error:
            raise OperatorError(str(error)) from error


@dataclass
class DropInReload:
    """The way to newer numbers."""

    path: Path
    settings: DropInConfig
    directory: SharedDirectory
    tracked: RegistrationMonitor

    def __call__(self) -> Reloaded:
        """Read the file and make its numbers count.

        ConfigError or StoreError where nothing changed.
        """
        before = self.settings
        try:
            after, _ = load_trusted(self.path, load)
            self.directory.install_numbers(
                after.spellings(), after.number_headers, after.permits(time.time())
            )
        except (ConfigError, StoreError) as error:
            said = "; ".join(getattr(error, "faults", [str(error)]))
            log.error("not reloaded: %s", said)  # noqa: TRY400 - no bug of ours
            raise
        self.settings, self.tracked.numbers = after, after.numbers
        old, new = before.numbers, after.numbers
        needs_restart = before.agent != after.agent
        log.info(
            "reloaded: numbers of %d trunks%s",
            len(new),
            "; what changed in agent needs a restart" if needs_restart else "",
        )
        return Reloaded(
            added=tuple(sorted(new.keys() - old.keys())),
            removed=tuple(sorted(old.keys() - new.keys())),
            changed=tuple(sorted(id_ for id_ in old.keys() & new.keys() if old[id_] != new[id_])),
            needs_restart=needs_restart,
        )


async def _serve(
    path: Path,
    settings: DropInConfig,
    directory: SharedDirectory,
    hearing: DecisionReceiver,
    bound: socket.socket,
) -> None:
    own = settings.agent
    webhook = Webhook(own.webhook, own.webhook_token_file) if own.webhook else None
    events = Alarms([webhook] if webhook is not None else [])
    directory.install_numbers(
        settings.spellings(), settings.number_headers, settings.permits(time.time())
    )
    tracked = RegistrationMonitor(directory, settings.numbers)
    tracked.happened = events.happened
    calls = Calls(own.calls, CallsFile(Path(own.calls_file)) if own.calls_file else None)
    strangers = UnknownSources(
        directory,
        tracked,
        KeptStrangers(own.strangers),
        WindowCounter(own.strangers_alarm),
        events.too_many_strangers,
    )
    clashes = ConflictMonitor(directory.path, events.clash)
    directory.on_change = tracked.changed = clashes.changed
    reload = DropInReload(path, settings, directory, tracked)

    async def health() -> Health:
        return Health(kamailio=tracked.lives(), directory=directory.can_write())

    api = make(
        ApiParts(
            own.api_place[0],
            directory,
            tracked,
            lambda _: None,
            health,
            reload,
            clashes,
            registry(
                RegistrationMetrics(directory, tracked),
                DecisionMetrics(hearing, calls, strangers, tracked),
                AlarmMetrics(events, webhook),
                ConflictMetrics(clashes),
            ),
        )
    )
    api_uac.add(api, tracked)
    monitoring.add(api, Happened(directory, calls, strangers, events))

    def hang_up() -> None:
        with suppress(ConfigError, StoreError):  # it has been logged
            reload()

    async def nothing() -> None:
        """Nothing is taken back: it is not ours."""

    log.info("agent that registers nothing; API at http://%s", own.api)
    hearing.start([calls.hear, strangers.hear, WrongTokenAlarms(events).hear])
    keeping = {"tracked": tracked.run(), "events": events.run(), "clashes": clashes.run()}
    if webhook is not None:
        keeping["webhook"] = webhook.run()
    await run_until_told(api, bound, keeping, hang_up, nothing)
    hearing.stop()
    log.info("agent stopped")
