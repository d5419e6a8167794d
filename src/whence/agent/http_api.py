"""Builds the HTTP API of both agents over their parts.

The import takes longer than that of all other parts together. So the agent imports this module
when the registrations have started, or at the first connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client.registry import Collector

from whence.agent.access.metrics import AccessMetrics
from whence.agent.api import monitoring as monitoring_api
from whence.agent.api import provisioning as provisioning_api
from whence.agent.api import stream as stream_api
from whence.agent.api.app import Api, ApiParts, make
from whence.agent.api.models import Health, trunk_view
from whence.agent.api.monitoring import MonitoringParts, alarm_view
from whence.agent.api.security import ApiAccess
from whence.agent.monitoring.call_metrics import CallMetrics
from whence.agent.monitoring.metrics import (
    AlarmMetrics,
    BuildMetrics,
    ConflictMetrics,
    DecisionMetrics,
    RegistrationMetrics,
    StoreMetrics,
    registry,
)
from whence.agent.monitoring.node_metrics import NodeMetrics
from whence.agent.monitoring.stream import StreamKind
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.agent.parts import AgentParts
from whence.agent.provisioning.provisioned import Provisioned
from whence.agent.provisioning.reload import Reload
from whence.agent.provisioning.runtime import RuntimeProvisioning
from whence.agent.registration.status import RegistrationStatus
from whence.core.registration.keepalive import KeepAlive

log = logging.getLogger(__name__)


def build(
    parts: AgentParts,
    registrations: RegistrationStatus,
    keepalive: Callable[[str], KeepAlive | None],
    kamailio_lives: Callable[[], Awaitable[bool]],
    metrics: Sequence[Collector] = (),
) -> Api:
    """Build the API with the paths and metrics of both agents, and with further `metrics`."""
    observers, directory = parts.observers, parts.directory
    unknown = UnknownSources(directory, registrations, observers.unknown.table)
    store = parts.store_monitor

    async def health() -> Health:
        state = store.state
        return Health(
            kamailio=await kamailio_lives(),
            directory=state.is_writable,
            disk=not state.space.is_low,
        )

    access = ApiAccess(
        parts.verifier, parts.audit, parts.own.api_needs_token, parts.own.api_behind_proxy
    )
    if access.required and not parts.verifier.has_tokens:
        log.warning("the API needs a token, and there is none; create one: whence token create")
    collectors = registry(
        BuildMetrics(),
        RegistrationMetrics(directory, registrations),
        DecisionMetrics(parts.receiver, observers.calls, unknown, registrations),
        CallMetrics(observers.calls, registrations),
        NodeMetrics(parts.reloads, observers.started_at),
        AlarmMetrics(observers.alarms, observers.webhook, observers.mail),
        ConflictMetrics(observers.conflicts),
        StoreMetrics(store, directory),
        AccessMetrics(parts.verifier.wrong),
        *metrics,
    )
    api = make(
        ApiParts(
            parts.own.api_names,
            access,
            directory,
            registrations,
            keepalive,
            health,
            parts.reloads,
            observers.conflicts,
            collectors,
            parts.receiver.drain,
        )
    )
    monitoring_api.add(api, MonitoringParts(directory, observers.calls, unknown, observers.alarms))
    stream_api.add(
        api,
        observers.stream,
        {
            StreamKind.TRUNK: lambda id_: (
                trunk_view(*registrations[id_], keepalive(id_)) if id_ in registrations else None
            ),
            StreamKind.ALARM: lambda id_: next(
                map(alarm_view, observers.alarms.since(int(id_) - 1, 1)), None
            ),
        },
    )
    return api


def add_provisioning(api: Api, provisioned: Provisioned, reload: Reload) -> None:
    """Add the paths that change trunks, users and routes."""
    provisioning_api.add(api, RuntimeProvisioning(provisioned, reload))
