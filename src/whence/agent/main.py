"""The agent: builds all parts, runs them in one task group, ends them in order.

A problem that the operator can mend is a OperatorError with one sentence; nothing is half-started.
"""

from __future__ import annotations

import logging
import socket
from contextlib import closing, suppress
from pathlib import Path

import uvloop

from whence.agent.api import actions, monitoring, users
from whence.agent.api.app import ApiParts, make
from whence.agent.api.models import Health
from whence.agent.api.monitoring import Happened
from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.dns.cache import DnsCache
from whence.agent.dns.resolver import SipResolver
from whence.agent.dns.siblings import SiblingService
from whence.agent.kamailio.config import LOCATION_FILE, write_tls_config
from whence.agent.monitoring.alarms import Alarms, WrongTokenAlarms
from whence.agent.monitoring.calls import Calls, CallsFile
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.monitoring.metrics import (
    AlarmMetrics,
    ClientMetrics,
    ConflictMetrics,
    DecisionMetrics,
    NoticeMetrics,
    RegistrationMetrics,
    registry,
)
from whence.agent.monitoring.notices import NoticeCounts
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.agent.monitoring.webhook import Webhook
from whence.agent.provisioning.reload import Reload
from whence.agent.registration.client import PATIENCE_S, KamailioClient
from whence.agent.registration.keepalive import KeepAliveService
from whence.agent.registration.service import RegistrationService
from whence.agent.registration.tls_probe import TlsProbe
from whence.agent.runtime.process import LOCK_FILE, alone, api_socket, prepare_state, run_until_told
from whence.core.monitoring.unknown_sources import UnknownSourceTable as KeptStrangers
from whence.core.monitoring.unknown_sources import WindowCounter
from whence.errors import ConfigError, LocationError, OperatorError, StoreError
from whence.ipc.decisions import SOCKET_FILE
from whence.store import location
from whence.store.directory import FILE, Directory
from whence.trust.paths import load_trusted

log = logging.getLogger(__name__)


def run(path: Path) -> None:
    """Run the agent on the file `path` until SIGINT or SIGTERM. SIGHUP reads the file again."""
    settings, doubts = load_trusted(path, load)
    for doubt in doubts:
        log.warning("%s", doubt)
    prepare_state(settings.state)
    with alone(settings.state / LOCK_FILE, "an agent"), api_socket(settings.agent) as bound:
        try:
            location.make(settings.state / LOCATION_FILE)
            write_tls_config(settings)
            with (
                closing(Directory(settings.state / FILE)) as directory,
                closing(DecisionReceiver(settings.state / SOCKET_FILE)) as hearing,
            ):
                uvloop.run(_serve(path, settings, directory, hearing, bound))
        except (StoreError, LocationError) as error:
            raise OperatorError(str(error)) from error


async def _serve(
    path: Path,
    settings: Config,
    directory: Directory,
    hearing: DecisionReceiver,
    bound: socket.socket,
) -> None:
    tls = settings.edge.tls
    kamailio = await KamailioClient.connect(
        settings.edge.inside,
        directory.new_inside_key(),
        settings.registration.answer + PATIENCE_S,
        TlsProbe(tls.certificate, tls.key, tls.ca).fault if settings.edge.has_tls else None,
    )
    sockets = [(own.transport, own.ip.version) for own in settings.edge.listen]
    resolver = SipResolver(DnsCache(settings.agent.nameserver_place), sockets)
    registrations = RegistrationService(directory, kamailio, resolver)
    own = settings.agent
    webhook = Webhook(own.webhook, own.webhook_token_file) if own.webhook else None
    events = Alarms([webhook] if webhook is not None else [])
    registrations.happened = events.happened
    keepalives = KeepAliveService(kamailio, registrations)
    registrations.watchers.append(keepalives)
    siblings = SiblingService(directory, resolver, settings, not_in_dns=events.not_in_dns)
    registrations.watchers.append(siblings)

    def apply(settings: Config) -> None:
        registrations.apply(settings)
        siblings.apply(settings)

    apply(settings)
    reload = Reload(path, settings, apply)
    calls = Calls(own.calls, CallsFile(Path(own.calls_file)) if own.calls_file else None)
    strangers = UnknownSources(
        directory,
        registrations,
        KeptStrangers(own.strangers),
        WindowCounter(own.strangers_alarm),
        events.too_many_strangers,
    )
    notices = NoticeCounts(strangers.kept, events.password_guessed)
    clashes = ConflictMonitor(directory.path, events.clash)
    directory.on_change = clashes.changed
    metrics = registry(
        RegistrationMetrics(directory, registrations),
        ClientMetrics(registrations, keepalives, kamailio),
        DecisionMetrics(hearing, calls, strangers, registrations),
        AlarmMetrics(events, webhook),
        NoticeMetrics(notices),
        ConflictMetrics(clashes),
    )

    async def health() -> Health:
        return Health(kamailio=await kamailio.lives(), directory=directory.can_write())

    parts = ApiParts(
        own.api_place[0],
        directory,
        registrations,
        keepalives.__getitem__,
        health,
        reload,
        clashes,
        metrics,
    )
    api = make(parts)
    actions.add(api, registrations, keepalives.__getitem__)
    users.add(
        api,
        directory,
        settings.state / LOCATION_FILE,
        settings.edge.domain,
        wrong_passwords=notices.users.__getitem__,
    )
    monitoring.add(api, Happened(directory, calls, strangers, events))

    def hang_up() -> None:
        with suppress(ConfigError, StoreError):  # it has been logged
            reload()

    log.info(
        "agent for %d trunks and %d users; API at http://%s",
        len(settings.trunk),
        len(settings.user),
        settings.agent.api,
    )
    hearing.start([calls.hear, strangers.hear, WrongTokenAlarms(events).hear], [notices.hear])
    keeping = {
        "registrations": registrations.run(),
        "keep-alives": keepalives.run(),
        "siblings": siblings.run(),
        "events": events.run(),
        "clashes": clashes.run(),
    }
    if webhook is not None:
        keeping["webhook"] = webhook.run()
    await run_until_told(api, bound, keeping, hang_up, registrations.stop)
    hearing.stop()
    kamailio.close()
    log.info("agent stopped")
