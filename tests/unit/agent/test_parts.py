"""The parts of both agents, connected as in an agent."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.network import Network
from testkit.wait import PATIENCE_S
from tests.unit.agent.monitoring.reports import identified, record, send_messages
from whence.agent.config.models import MonitoringConfig
from whence.agent.parts import Observers, acquire_agent_lock
from whence.core.identification.address import Address, Origin
from whence.core.monitoring.alarms import AlarmKind
from whence.core.sip.transport_address import Transport, canonical_ip
from whence.errors import LocationError, OperatorError, StoreError
from whence.ipc.decisions import SOCKET_FILE, message
from whence.store.directory import FILE
from whence.store.uac import SharedDirectory


@pytest.fixture
def own() -> Iterator[MonitoringConfig]:
    with Network() as network:
        yield MonitoringConfig(
            api_listen=f"{network.ip('api')}:8088", unknown_requests_per_minute_alarm=1
        )


def test_agent_lock_of_another_agent_raises(own: MonitoringConfig, tmp_path: Path) -> None:
    with acquire_agent_lock(tmp_path, own), pytest.raises(OperatorError, match="already runs"):
        acquire_agent_lock(tmp_path, own).__enter__()
    with acquire_agent_lock(tmp_path, own):
        pass


@pytest.mark.parametrize("kind", [StoreError, LocationError])
def test_agent_lock_with_a_failed_store_raises(
    own: MonitoringConfig, tmp_path: Path, kind: type[Exception]
) -> None:
    with pytest.raises(OperatorError, match="the disk is full"), acquire_agent_lock(tmp_path, own):
        raise kind("the disk is full")
    with acquire_agent_lock(tmp_path, own):
        pass


def test_observers_make_no_file(own: MonitoringConfig, tmp_path: Path) -> None:
    Observers(own, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_decision_reaches_calls_unknown_sources_and_alarms(
    own: MonitoringConfig, tmp_path: Path
) -> None:
    observers = Observers(own, tmp_path)
    records = [record(identified(), call_id="a"), *(record(call_id=id_) for id_ in "bc")]
    with closing(observers.receiver()) as receiver:
        send_messages(tmp_path / SOCKET_FILE, message(records))
        receiver.drain()
    assert len(observers.calls.last(10)) == 3
    (unknown,) = observers.unknown.table
    assert unknown.requests == 2
    assert [event.alarm.kind for event in observers.alarms.since(0, 10)] == [
        AlarmKind.MANY_UNKNOWN_REQUESTS
    ]


def test_directory_change_raises_a_new_conflict(own: MonitoringConfig, tmp_path: Path) -> None:
    observers = Observers(own, tmp_path)
    there = Address(canonical_ip("192.0.2.2"), None, Transport.UDP, Origin.PINNED, "", 0.0, None)

    async def story(directory: SharedDirectory) -> None:
        searching = asyncio.create_task(observers.conflicts.run())
        numbers = {id_: frozenset({"+442071234567"}) for id_ in ("acme", "bell")}
        directory.install_numbers(numbers)
        for id_ in numbers:
            directory.pin(id_, there)
        async with asyncio.timeout(PATIENCE_S):
            while not observers.alarms.since(0, 10):
                await asyncio.sleep(0.01)
        searching.cancel()

    with closing(SharedDirectory(tmp_path / FILE, [observers.conflicts])) as directory:
        asyncio.run(story(directory))
    (event,) = observers.alarms.since(0, 10)
    assert event.alarm.kind is AlarmKind.CONFLICT
