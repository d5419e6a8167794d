"""The HTTP API of an agent, over real parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from testkit.api import whole
from tests.unit.agent.registration.edge import KEY, Edge
from tests.unit.agent.registration.node import Node
from whence.agent.access.audit import AuditLog
from whence.agent.access.tokens import TokenFile
from whence.agent.access.verifier import TokenVerifier
from whence.agent.api import actions, monitoring, outbound, provisioning, stream, users
from whence.agent.api.app import ApiParts, make
from whence.agent.api.models import Health, trunk_view
from whence.agent.api.monitoring import MonitoringParts
from whence.agent.api.security import ApiAccess
from whence.agent.config.to_core import LoadedSettings, node_settings
from whence.agent.kamailio.start import LOCATION_FILE
from whence.agent.monitoring.alarms import Alarms, WrongTokenAlarms
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.monitoring.metrics import (
    AlarmMetrics,
    BuildMetrics,
    ClientMetrics,
    ConflictMetrics,
    DecisionMetrics,
    RegistrationMetrics,
    StoreMetrics,
    registry,
)
from whence.agent.monitoring.outbound import CallsOut
from whence.agent.monitoring.store_monitor import StoreMonitor
from whence.agent.monitoring.stream import EventStream, StreamKind
from whence.agent.monitoring.trunk_alarms import TrunkAlarms
from whence.agent.monitoring.unknown_sources import UnknownSourceCounter, UnknownSources
from whence.agent.provisioning.provisioned import Provisioned
from whence.agent.provisioning.reload import Reload
from whence.agent.provisioning.runtime import RuntimeProvisioning
from whence.agent.registration.attempts import OrderAttempts
from whence.agent.registration.client import KamailioClient
from whence.agent.registration.keepalive import KeepAliveService
from whence.core.monitoring.unknown_sources import UnknownSourceTable, WindowCounter
from whence.core.registration.model import State
from whence.ipc.decisions import SOCKET_FILE
from whence.store.space import Space

NOW = 1_000_000.0
UNREACHABLE_S = 300.0
MD5 = "0123456789abcdef" * 2
FILE = f"""
[edge]
domain = "edge.example"

[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
domain = "provider.example"
user = "acct1"
password = "hunter2"
target = "sip:alice@edge.example"
numbers = ["+442071234567"]

[[trunk]]
id = "bell"
registrar = "sip:192.0.2.1"
user = "acct2"
ha1 = {{ md5 = "{MD5}" }}
target = "sip:pbx@192.0.2.9"

[[trunk]]
id = "idle"
registrar = "sip:192.0.2.7"
user = "acct3"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
enabled = false

[[user]]
name = "alice"
password = "topsecret"

[[user]]
name = "bob"
ha1 = {{ md5 = "{MD5}" }}
"""
SECRETS = ("hunter2", "topsecret", MD5, KEY)


class Agent:
    """The API over real parts. `edge` is the other end of the agent socket."""

    def __init__(self, node: Node, edge: Edge, kamailio: KamailioClient) -> None:
        self.node, self.edge = node, edge
        self.location = node.folder / LOCATION_FILE
        settings = node.settings(FILE)
        keepalives = KeepAliveService(kamailio, node.clock)
        self.calls = Calls(100)
        self.alarms = Alarms(clock=node.clock)
        node.observers.append(keepalives)
        self.trunk_alarms = TrunkAlarms(self.alarms, UNREACHABLE_S, clock=node.clock)
        node.observers.append(self.trunk_alarms)
        node.history_observers.append(self.trunk_alarms)
        self.stream = EventStream()
        node.observers.append(self.stream)
        self.attempts = OrderAttempts(node.clock)
        node.observers.append(self.attempts)
        self.space = Space(10_000_000, 100_000_000)
        node.agent()
        self.alarms.restore(node.directory)
        self.store = StoreMonitor(
            node.directory, self.alarms, node.clock, space=lambda _path: self.space
        )
        node.provisioning.apply(node_settings(settings))
        table = UnknownSourceTable(100)
        self.counter = UnknownSourceCounter(table, WindowCounter(50), [self.alarms])
        self.unknown_sources = UnknownSources(node.directory, node.registrations, table, node.clock)
        self.receiver = DecisionReceiver(
            node.folder / SOCKET_FILE, [self.calls, self.counter, WrongTokenAlarms(self.alarms)]
        )
        conflicts = ConflictMonitor(node.directory.path, [self.alarms], node.clock)

        async def health() -> Health:
            state = self.store.check()
            return Health(
                kamailio=await kamailio.lives(),
                directory=state.is_writable,
                disk=not state.space.is_low,
            )

        self.tokens = TokenFile(node.folder)
        self.audit = AuditLog(node.folder, node.clock)
        self.access = ApiAccess(TokenVerifier(self.tokens, node.clock), self.audit, required=False)
        file = node.folder / "whence.toml"
        self.provisioned = Provisioned(file, node.folder)
        self.reload = Reload(
            file, LoadedSettings.of(settings), node.provisioning.apply, self.provisioned.load
        )
        parts = ApiParts(
            hosts=["127.0.0.1"],
            access=self.access,
            directory=node.directory,
            registrations=node.registrations,
            keepalive=keepalives.__getitem__,
            health=health,
            reload=self.reload,
            conflicts=conflicts,
            metrics=registry(
                BuildMetrics(),
                RegistrationMetrics(node.directory, node.registrations, clock=node.clock),
                ClientMetrics(node.registrations, keepalives, kamailio),
                DecisionMetrics(
                    self.receiver, self.calls, self.unknown_sources, node.registrations
                ),
                AlarmMetrics(self.alarms, None),
                ConflictMetrics(conflicts),
                StoreMetrics(self.store, node.directory),
            ),
            drain=self.receiver.drain,
        )
        self.api = api = make(parts, clock=node.clock)
        views: dict[StreamKind, stream.View] = {
            StreamKind.TRUNK: lambda id_: trunk_view(*node.registrations[id_], None)
        }
        stream.add(api, self.stream, views)
        self.runtime = RuntimeProvisioning(self.provisioned, self.reload, node.clock)
        provisioning.add(api, self.runtime)
        actions.add(api, node.registrations, self.attempts)
        outbound.add(
            api,
            CallsOut(node.directory, settings.edge.domain, settings.edge.own_hosts),
            clock=node.clock,
        )
        users.add(api, node.directory, self.location, settings.edge.domain, clock=node.clock)
        parts_of_monitoring = MonitoringParts(
            node.directory, self.calls, self.unknown_sources, self.alarms
        )
        monitoring.add(api, parts_of_monitoring, clock=node.clock)

    async def ask(
        self,
        path: str,
        body: object = None,
        host: str = "127.0.0.1:8088",
        headers: dict[str, str] | None = None,
        method: str = "",
        is_raised: bool = True,
    ) -> httpx.Response:
        """Send a request: a POST with a body, a GET without, or the named method.

        `is_raised`: whether an exception of the API is raised here, too.
        """
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=is_raised)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            method = method or ("GET" if body is None else "POST")
            answer = await client.request(method, path, json=body, headers=headers)
        assert not any(secret in answer.text for secret in SECRETS)
        return answer

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET, with instants as numbers, and lists as lists."""
        answer = await self.ask(path)
        assert answer.status_code == 200, answer.text
        return whole(path, lambda _: answer.json())

    async def explain(self, source: str, ruri: str, **more: str | None) -> Any:
        answer = await self.ask("/v1/explain", {"source": source, "ruri": ruri, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def registered(self) -> None:
        """Wait until all enabled trunks are registered."""
        of = self.node.registrations
        await self.node.until(
            lambda: all((r.state is State.REGISTERED) == t.enabled for t, r in of)
        )


Story = Callable[[Agent], Awaitable[None]]
