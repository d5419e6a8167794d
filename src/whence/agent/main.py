"""The registering agent. It builds all parts, runs them in one task group, and ends them in order.

A problem that the operator can repair raises an OperatorError with one sentence. Then no part runs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import uvloop

from whence.agent.config.to_core import LoadedSettings, sibling_settings
from whence.agent.dns.cache import DnsCache
from whence.agent.dns.resolver import SipResolver
from whence.agent.dns.siblings import SiblingService
from whence.agent.kamailio.config import write_tls_config
from whence.agent.kamailio.start import LOCATION_FILE
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.monitoring.left_out import LeftOutAlarm
from whence.agent.monitoring.notices import NoticeCounts
from whence.agent.monitoring.store_monitor import StoreMonitor
from whence.agent.parts import AgentParts, Observers, acquire_agent_lock, api_tls
from whence.agent.provisioning.apply import Provisioning
from whence.agent.provisioning.provisioned import Provisioned, load_with_api
from whence.agent.provisioning.reload import Reload
from whence.agent.registration.attempts import OrderAttempts
from whence.agent.registration.client import PATIENCE_S, KamailioClient
from whence.agent.registration.keepalive import KeepAliveService
from whence.agent.registration.service import RegistrationService
from whence.agent.registration.tls_connection import TlsConnections
from whence.agent.runtime import log_form
from whence.agent.runtime.clock import ClockObserver, Clocks, ClockWatch
from whence.agent.runtime.process import AsgiApp
from whence.core.clock import ClockOffset
from whence.core.settings import NodeSettings
from whence.core.sip.transport_address import WEBSOCKETS
from whence.store import location
from whence.store.directory import FILE, Directory
from whence.trust.settings import load_trusted

log = logging.getLogger(__name__)

UP_TRY_S = 0.5
"""How long one question at the start waits for Kamailio."""

UP_PAUSE_S = 0.05
"""The time between two questions at the start."""


def run(path: Path) -> None:
    """Run the agent with the file `path` until SIGINT or SIGTERM. SIGHUP reads the file again."""
    run_loaded(path, LoadedSettings.of(*load_trusted(path, load_with_api)))


def run_loaded(
    path: Path,
    loaded: LoadedSettings,
    up: Callable[[], None] | None = None,
    reloaded: Callable[[], None] | None = None,
) -> None:
    """Run the agent with the settings of the file `path`.

    `up` is called when Kamailio answers and the directory can be written, and `reloaded` after each
    SIGHUP.
    """
    log_form.choose(loaded.config.agent.log_format)
    for doubt in loaded.doubts:
        log.warning("%s", doubt)
    settings = loaded.config
    with acquire_agent_lock(settings.state, settings.agent) as bound:
        location.make(settings.state / LOCATION_FILE)
        write_tls_config(settings)
        observers = Observers(settings.agent, settings.state)
        notices = NoticeCounts(observers.unknown.table, [observers.alarms])
        with (
            closing(Directory(settings.state / FILE, [observers.conflicts])) as directory,
            closing(observers.receiver([notices])) as receiver,
        ):
            observers.restore(directory)
            uvloop.run(
                _serve(path, loaded, observers, notices, directory, receiver, bound, up, reloaded)
            )


async def _serve(
    path: Path,
    loaded: LoadedSettings,
    observers: Observers,
    notices: NoticeCounts,
    directory: Directory,
    receiver: DecisionReceiver,
    bound: socket.socket,
    up: Callable[[], None] | None,
    reloaded: Callable[[], None] | None,
) -> None:
    settings = loaded.config
    tls = settings.edge.tls
    kamailio = await KamailioClient.connect(
        settings.edge.agent_socket,
        directory.new_agent_key(),
        settings.registration.response_timeout + PATIENCE_S,
        TlsConnections(tls.certificate, tls.key, tls.ca) if settings.edge.has_tls else None,
    )
    resolver = SipResolver(
        DnsCache(settings.agent.nameserver_place),
        [
            (own.transport, own.ip.version)
            for own in settings.edge.listen
            if own.transport not in WEBSOCKETS
        ],
    )
    alarms, trunk_alarms = observers.alarms, observers.trunk_alarms
    keepalives = KeepAliveService(kamailio)
    attempts = OrderAttempts()
    siblings = SiblingService(directory, resolver, sibling_settings(settings), observers=[alarms])
    registrations = RegistrationService(
        directory,
        kamailio,
        resolver,
        observers=[keepalives, siblings, trunk_alarms, attempts, observers.stream],
        history_observers=[trunk_alarms],
    )

    provisioning = Provisioning(directory, registrations, [siblings])
    watch = _clock_watch(directory, [provisioning, registrations, keepalives, siblings, alarms])
    provisioning.begin(loaded.node)

    def apply(changed: NodeSettings) -> None:
        """Apply settings. Then read the reports of calls that a removed trunk still got."""
        provisioning.apply(changed)
        receiver.drain()
        left_out.check_again(lambda: provisioned.left_out(changed))

    provisioned = Provisioned(path, settings.state)
    left_out = LeftOutAlarm(alarms)
    left_out.report(provisioned.left_out(loaded.node, settings.route))
    reload = Reload(path, loaded, apply, provisioned.load)
    parts = AgentParts(
        settings.agent,
        observers,
        directory,
        receiver,
        bound,
        reload,
        settings.state,
        api_tls(settings.agent),
    )

    def load_api() -> Callable[[], AsgiApp]:
        from whence.agent import http_api  # noqa: PLC0415 - slow
        from whence.agent.api import actions, outbound, users  # noqa: PLC0415
        from whence.agent.monitoring.metrics import ClientMetrics, NoticeMetrics  # noqa: PLC0415
        from whence.agent.monitoring.node_metrics import edge_metrics  # noqa: PLC0415
        from whence.agent.monitoring.outbound import CallsOut  # noqa: PLC0415

        def build() -> AsgiApp:
            provisioning.finish()
            metrics = [
                ClientMetrics(registrations, keepalives, kamailio),
                NoticeMetrics(notices),
                *edge_metrics(settings.state / LOCATION_FILE, tls.certificate),
            ]
            api = http_api.build(
                parts, registrations, keepalives.__getitem__, kamailio.lives, metrics
            )
            outbound.add(api, CallsOut(directory, settings.edge.domain, settings.edge.own_hosts))
            actions.add(api, registrations, attempts)
            http_api.add_provisioning(api, provisioned, reload)
            users.add(
                api,
                directory,
                settings.state / LOCATION_FILE,
                settings.edge.domain,
                wrong_passwords=notices.users.__getitem__,
            )
            return api

        return build

    log.info(
        "agent for %d trunks and %d users; API at %s",
        len(loaded.node.trunks),
        len(loaded.node.users),
        settings.agent.api_url,
    )

    async def add_trunks() -> None:
        await provisioning.add_first()
        gc.freeze()  # they stay as long as the modules
        trunk_alarms.keep(registrations.__contains__)

    async def unregister() -> None:
        provisioning.finish()  # a trunk that is not added yet may be registered
        await registrations.stop()

    tasks = {
        "registrations": registrations.run(watch.check),
        "first trunks": add_trunks(),
        "advertised names": registrations.follow_names(),
        "keep-alives": keepalives.run(registrations),
        "siblings": siblings.run(),
        "clock": watch.run(),
    }
    if up is not None:
        tasks["up"] = _report_up(kamailio, parts.store_monitor, up)
    await parts.run(load_api, tasks, unregister, reloaded)
    kamailio.close()
    log.info("agent stopped")


def _clock_watch(directory: Directory, observers: Sequence[ClockObserver]) -> ClockWatch:
    clocks = Clocks()
    watch = ClockWatch(clocks, observers, ClockOffset.parse(directory.clock_offset()))
    watch.check()  # the clock may have been set while no agent ran
    directory.set_clock_offset(str(clocks.offset()))
    return watch


async def _report_up(
    kamailio: KamailioClient, store: StoreMonitor, report: Callable[[], None]
) -> None:
    """Report once that Kamailio answers and the directory can be written, also on a full disk."""
    while not (await kamailio.lives(UP_TRY_S) and store.state.is_writable):
        await asyncio.sleep(UP_PAUSE_S)
    report()
