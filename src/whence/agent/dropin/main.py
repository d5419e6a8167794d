"""`whence agent --track-only`: an agent beside a Kamailio that registers by itself (the drop-in).

It registers nothing and has no agent socket. It receives the edge's decisions, shows the
registrations that Kamailio's workers stored, and raises alarms.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import uvloop

from whence.agent.dropin.alarms import UacAlarms
from whence.agent.dropin.config import DropInConfig, load
from whence.agent.dropin.monitor import RegistrationMonitor
from whence.agent.monitoring.alarms import Alarms
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.parts import AgentParts, Observers, acquire_agent_lock, api_tls
from whence.agent.provisioning.reload import Reloaded
from whence.agent.runtime import log_form
from whence.agent.runtime.clock import Clocks, ClockWatch
from whence.agent.runtime.process import AsgiApp
from whence.agent.runtime.state_directory import become_owner
from whence.core.clock import ClockOffset
from whence.core.monitoring.alarms import Alarm, AlarmKind
from whence.errors import ConfigError, StoreError
from whence.store.directory import FILE
from whence.store.instants import step_message
from whence.store.uac import SharedDirectory
from whence.trust.settings import load_trusted

log = logging.getLogger(__name__)

STATE = "state"
"""The state directory, beside the file."""


def run(path: Path) -> None:
    """Run the agent on the file `path` until SIGINT or SIGTERM. SIGHUP reads the file again."""
    state = path.absolute().parent / STATE
    become_owner(state)
    settings, doubts = load_trusted(path, load)
    log_form.choose(settings.agent.log_format)
    for doubt in doubts:
        log.warning("%s", doubt)
    with acquire_agent_lock(state, settings.agent) as bound:
        observers = Observers(settings.agent, state, has_ends=False)
        with (
            closing(SharedDirectory(state / FILE, [observers.conflicts])) as directory,
            closing(observers.receiver()) as receiver,
        ):
            observers.restore(directory)
            uvloop.run(_serve(path, settings, observers, directory, receiver, bound))


@dataclass
class DropInReload:
    """Reads drop-in.toml again, and installs its numbers and networks."""

    path: Path
    settings: DropInConfig
    directory: SharedDirectory
    monitor: RegistrationMonitor

    def __call__(self) -> Reloaded:
        """Read the file and install what it says.

        Raises: ConfigError, StoreError: nothing changed.
        """
        before = self.settings
        try:
            after, _ = load_trusted(self.path, load)
            self.directory.install_numbers(
                after.spellings(), after.number_headers, after.permits(time.time())
            )
        except (ConfigError, StoreError) as error:
            faults = "; ".join(getattr(error, "faults", [str(error)]))
            log.error("not reloaded: %s", faults)  # noqa: TRY400 - the operator's fault, no bug
            raise
        self.settings, self.monitor.numbers = after, after.numbers
        old, new = before.numbers, after.numbers
        needs_restart = before.agent != after.agent
        log.info(
            "reloaded: numbers of %d trunks%s",
            len(new),
            "; [agent] changed, which needs a restart" if needs_restart else "",
        )
        return Reloaded(
            added=tuple(sorted(new.keys() - old.keys())),
            removed=tuple(sorted(old.keys() - new.keys())),
            changed=tuple(sorted(id_ for id_ in old.keys() & new.keys() if old[id_] != new[id_])),
            needs_restart=needs_restart,
        )


@dataclass(frozen=True, slots=True)
class _StoredInstants:
    """The instants of a directory, which the workers write."""

    directory: SharedDirectory
    alarms: Alarms

    def clock_stepped(self, step_s: float, offset: ClockOffset, /) -> None:
        """Correct all stored instants, and raise the alarm. Raises: StoreError."""
        self.directory.follow_clock(offset, time.time())
        message = (
            f"{step_message(step_s)}: the ends of addresses and registrations are corrected, but "
            "uac refreshes by this clock; check its NTP client, and refresh each account: kamcmd "
            "uac.reg_refresh s:L_UUID"
        )
        self.alarms.raise_alarm(Alarm(AlarmKind.CLOCK_STEPPED, None, message))


def _watch_clock(directory: SharedDirectory, observers: Observers) -> ClockWatch:
    clocks = Clocks()
    since = ClockOffset.parse(directory.clock_offset())
    watch = ClockWatch(clocks, [_StoredInstants(directory, observers.alarms)], since)
    watch.check()  # the clock may have been set while no agent ran
    directory.follow_clock(clocks.offset(), time.time())  # stores the first one
    return watch


async def _serve(
    path: Path,
    settings: DropInConfig,
    observers: Observers,
    directory: SharedDirectory,
    receiver: DecisionReceiver,
    bound: socket.socket,
) -> None:
    watch = _watch_clock(directory, observers)
    directory.install_numbers(
        settings.spellings(), settings.number_headers, settings.permits(time.time())
    )
    monitor = RegistrationMonitor(
        directory,
        settings.numbers,
        check_clock=watch.check,
        observers=[observers.conflicts],
        history_observers=[UacAlarms(observers.trunk_alarms), observers.stream],
    )
    observers.trunk_alarms.keep(monitor.__contains__)
    for trunk, registration in monitor:
        observers.trunk_alarms.changed(trunk, registration)
    reload = DropInReload(path, settings, directory, monitor)
    own, state = settings.agent, path.absolute().parent / STATE
    parts = AgentParts(own, observers, directory, receiver, bound, reload, state, api_tls(own))

    async def kamailio_lives() -> bool:
        return monitor.lives()

    async def keep_registrations() -> None:
        """Unregister nothing at the end: the registrations are those of `uac`."""

    def load_api() -> Callable[[], AsgiApp]:
        from whence.agent import http_api  # noqa: PLC0415 - slow
        from whence.agent.api import uac  # noqa: PLC0415

        def build() -> AsgiApp:
            api = http_api.build(parts, monitor, lambda _: None, kamailio_lives)
            uac.add(api, monitor)
            return api

        return build

    log.info("agent started, registers nothing; API at %s", settings.agent.api_url)
    tasks = {"monitor": monitor.run(), "clock": watch.run()}
    await parts.run(load_api, tasks, keep_registrations)
    log.info("agent stopped")
