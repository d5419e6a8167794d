"""The parts of both agents: of the registering one (main.py) and of the drop-in's.

The observers are built first, and given to the constructors of the parts that they observe. Data
flows one way. It comes from the edge, the registrations and the directory; the alarms pass it on to
the webhook.
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.agent.access.audit import AuditLog
from whence.agent.access.tokens import TokenFile
from whence.agent.access.verifier import TokenVerifier
from whence.agent.config.models import MonitoringConfig
from whence.agent.monitoring import alertmanager
from whence.agent.monitoring.alarms import Alarms, MediaAlarms, WrongTokenAlarms
from whence.agent.monitoring.call_alarms import CallAlarms
from whence.agent.monitoring.call_log import CallsFile
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.decision_receiver import (
    CallListener,
    DecisionListener,
    DecisionReceiver,
    NoticeListener,
)
from whence.agent.monitoring.mail import Mail
from whence.agent.monitoring.open_calls import FILE as CALLS_FILE
from whence.agent.monitoring.open_calls import OpenCalls
from whence.agent.monitoring.reload_results import ReloadResults
from whence.agent.monitoring.store_monitor import StoreMonitor
from whence.agent.monitoring.stream import EventStream
from whence.agent.monitoring.trunk_alarms import TrunkAlarms
from whence.agent.monitoring.unknown_sources import UnknownSourceCounter
from whence.agent.provisioning.reload import Reloaded
from whence.agent.runtime.lock import LOCK_FILE, alone
from whence.agent.runtime.process import ApiTls, LoadApi, api_socket, run_until_signal
from whence.agent.runtime.state_directory import prepare_state
from whence.core.monitoring.unknown_sources import UnknownSourceTable, WindowCounter
from whence.errors import ConfigError, LocationError, OperatorError, StoreError
from whence.ipc.decisions import SOCKET_FILE
from whence.store.directory import FILE, Directory

if TYPE_CHECKING:
    from whence.agent.monitoring.webhook import Webhook


@contextmanager
def acquire_agent_lock(state: Path, own: MonitoringConfig) -> Iterator[socket.socket]:
    """Hold the lock of the state directory, and the API's socket, in the context.

    Raises: OperatorError where one cannot be used, and in the place of a StoreError or a
    LocationError of the body.
    """
    prepare_state(state)
    with alone(state / LOCK_FILE, "an agent"), api_socket(own) as bound:
        try:
            yield bound
        except (StoreError, LocationError) as error:
            raise OperatorError(str(error)) from error


class Observers:
    """The observers of the edge, the registrations and the directory in `state`.

    The constructor opens nothing, and needs no running loop.
    """

    def __init__(self, own: MonitoringConfig, state: Path, *, has_ends: bool = True) -> None:
        """`has_ends`: whether the edge reports the ends of calls; that of a drop-in does not."""
        self.started_at = time.time()
        self.webhook = _webhook(own) if own.webhook else None
        self.mail = Mail(own.mail_to, own.mail_from, own.sendmail) if own.mail_to else None
        self.stream = EventStream()
        outside = [one for one in (self.webhook, self.mail) if one is not None]
        self.alarms = Alarms([self.stream, *outside])
        self.calls = Calls(
            own.call_history_size,
            CallsFile(Path(own.call_log_file)) if own.call_log_file else None,
            OpenCalls(state / CALLS_FILE) if has_ends else None,
        )
        self.unknown = UnknownSourceCounter(
            UnknownSourceTable(own.unknown_sources_size),
            WindowCounter(own.unknown_requests_per_minute_alarm),
            [self.alarms],
        )
        self.conflicts = ConflictMonitor(state / FILE, [self.alarms])
        self.trunk_alarms = TrunkAlarms(self.alarms, own.unreachable_alarm_after)
        self._socket = state / SOCKET_FILE

    def restore(self, directory: Directory) -> None:
        """Take over the open alarms, and the posts that wait, of a former agent.

        Raises: StoreError.
        """
        if self.webhook is not None:
            self.webhook.restore(directory)  # before an alarm adds to its queue
        self.alarms.restore(directory)

    def receiver(self, notice_listeners: Sequence[NoticeListener] = ()) -> DecisionReceiver:
        """Make the socket of the edge's decision reports, with all their listeners."""
        tokens = WrongTokenAlarms(self.alarms)
        media = MediaAlarms(self.alarms)
        listeners: list[DecisionListener] = [
            *(self.calls, self.unknown, tokens, media),
            self.stream,
        ]
        call_listeners: list[CallListener] = [self.calls, CallAlarms(self.alarms), self.stream]
        return DecisionReceiver(
            self._socket,
            listeners,
            notice_listeners,
            [self.alarms, self.calls],
            call_listeners,
        )

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return the tasks that run as long as the agent, by name."""
        tasks = {
            "alarms": self.alarms.run(),
            "calls": self.calls.run(),
            "trunk alarms": self.trunk_alarms.run(),
            "conflicts": self.conflicts.run(),
        }
        if self.webhook is not None:
            tasks["webhook"] = self.webhook.run()
        if self.mail is not None:
            tasks["mail"] = self.mail.run()
        return tasks


def api_tls(own: MonitoringConfig) -> ApiTls | None:
    """Return the certificate of the API; None without one. Raises: OperatorError."""
    if not own.api_certificate:
        return None
    try:
        return ApiTls(own.api_certificate, own.api_key)
    except OSError as error:
        raise OperatorError(f"the certificate of the API cannot be read: {error}") from None


def _webhook(own: MonitoringConfig) -> Webhook:
    from whence.agent.monitoring.webhook import Webhook  # noqa: PLC0415 - its httpx is slow

    form = None
    if own.webhook_format == "alertmanager":
        form = partial(alertmanager.body, instance=socket.gethostname())
    return Webhook(own.webhook, own.webhook_token_file, form=form)


@dataclass(frozen=True)
class AgentParts:
    """An agent whose files and sockets are open."""

    own: MonitoringConfig
    observers: Observers
    directory: Directory
    receiver: DecisionReceiver
    bound: socket.socket
    """The socket of the API."""
    reload: Callable[[], Reloaded]
    """Raises: ConfigError or StoreError, which it has logged; then it changed nothing."""
    state: Path
    """The state directory."""
    tls: ApiTls | None = None
    """The certificate of the API."""

    @cached_property
    def verifier(self) -> TokenVerifier:
        """The verifier of the API's tokens."""
        return TokenVerifier(TokenFile(self.state))

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log."""
        return AuditLog(self.state)

    def reload_all(self) -> Reloaded:
        """Read the settings file again, and the certificate of the API.

        Raises: ConfigError or StoreError, which it has logged; then it changed nothing.
        """
        if self.tls is not None:
            self.tls.renew()
        return self.reload()

    @cached_property
    def reloads(self) -> ReloadResults[Reloaded]:
        """The reload, which notes its last result."""
        return ReloadResults(self.reload_all)

    @cached_property
    def store_monitor(self) -> StoreMonitor:
        """The monitor of the directory's disk."""
        return StoreMonitor(self.directory, self.observers.alarms)

    async def run(
        self,
        load_api: LoadApi,
        tasks: Mapping[str, Coroutine[Any, Any, None]],
        last: Callable[[], Awaitable[None]],
        reloaded: Callable[[], None] | None = None,
    ) -> None:
        """Receive decision reports, serve the API and run `tasks` until SIGINT or SIGTERM.

        `load_api` runs in a thread, after the `tasks` have started. SIGHUP reloads the file, and
        calls `reloaded` in any case.
        `last` runs at the end. The agent reads all reports before the tasks end: their alarms are
        stored.
        """

        async def end() -> None:
            self.receiver.drain()
            await last()
            self.observers.stream.close()  # the API ends when its last answer does

        def on_sighup() -> None:
            with suppress(ConfigError, StoreError):  # reload has logged it
                self.reloads()
            if reloaded is not None:
                reloaded()

        # Modules, settings and trunks stay until the end: no collection looks at them again.
        gc.freeze()
        gc.enable()
        self.receiver.start()
        all_tasks = {**tasks, **self.observers.tasks(), "store": self.store_monitor.run()}
        tls = None if self.tls is None else self.tls.context
        await run_until_signal(load_api, self.bound, all_tasks, on_sighup, end, tls)
        self.receiver.stop()
