"""Alarms for trunks that cannot register, and their all-clear, also after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.registration.node import ACME, BELL, NOW, Node
from tests.unit.store.disk import broken
from whence.agent.monitoring.alarms import Alarms, RaisedAlarm
from whence.agent.monitoring.trunk_alarms import TrunkAlarms
from whence.core.monitoring.alarms import KIND_LIMIT
from whence.core.registration.model import State
from whence.store.alarms import StoredAlarm
from whence.store.directory import FILE

UNREACHABLE_S = 300.0


class Receiver:
    """The receiver of alarms, as the webhook."""

    def __init__(self) -> None:
        self.seen: list[RaisedAlarm] = []

    def raised(self, raised: RaisedAlarm) -> None:
        self.seen.append(raised)

    @property
    def lines(self) -> list[tuple[str, str, str | None]]:
        return [(one.status, str(one.alarm.kind), one.alarm.trunk) for one in self.seen]


class Scene:
    """An agent with trunk alarms. `restart` begins another one on the same state."""

    def __init__(self, folder: Path) -> None:
        self.node = Node(folder)
        self.receiver = Receiver()
        self.restart()

    def restart(self) -> None:
        node = self.node
        self.alarms = Alarms([self.receiver], node.clock)
        self.trunk_alarms = TrunkAlarms(self.alarms, UNREACHABLE_S, node.clock)
        node.observers = [self.trunk_alarms]
        node.history_observers = [self.trunk_alarms]
        node.agent()
        self.alarms.restore(node.directory)

    def apply(self, text: str) -> None:
        self.node.apply(text)
        self.trunk_alarms.keep(self.node.registrations.__contains__)

    def wait_out(self, seconds: float) -> None:
        self.node.clock.now += seconds
        self.trunk_alarms.tick()
        self.alarms.tick()

    @property
    def open(self) -> list[tuple[str, str | None]]:
        return [(str(one.alarm.kind), one.alarm.trunk) for one in self.alarms.open]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.node.directory.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def running() -> None:
        await story()

    asyncio.run(running())


def test_auth_failed_is_a_warning_and_cleared_once_registered(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "whence")

    async def story() -> None:
        scene.node.registrar.status = 401
        scene.apply(ACME)
        await scene.node.until_all(State.AUTH_FAILED)
        assert scene.open == [("auth_failed", "acme")]
        (raised,) = scene.receiver.seen
        assert "401 Reason" in raised.alarm.message
        scene.node.registrar.status = 200
        scene.node.clock.now += 60
        scene.node.registrations.orders.want("acme")
        await scene.node.until_all(State.REGISTERED)
        assert scene.open == []
        _, cleared = scene.receiver.seen
        assert (cleared.status, cleared.key) == ("resolved", raised.key)
        assert cleared.cleared_at == raised.raised_at + 60
        assert cleared.cleared_message.startswith("registered again: granted 3600 s")
        assert cleared.id > raised.id

    run(story)
    lines = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert [line for line in lines if "alarm" in line[1]] == [
        (
            "WARNING",
            "alarm: trunk acme: auth_failed: no challenge that can be answered (none was sent) "
            "(401 Reason)",
        ),
        (
            "INFO",
            "alarm cleared: trunk acme: auth_failed: registered again: granted 3600 s by "
            "udp:192.0.2.1:5060",
        ),
    ]


def test_rejected_registration_is_an_alarm_at_once(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        assert scene.receiver.lines == [("firing", "registration_rejected", "acme")]

    run(story)


def test_unreachable_registrar_is_an_alarm_after_its_time(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.silent = True
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.wait_out(UNREACHABLE_S - 1)
        assert scene.open == []
        await scene.node.until_all(State.WAITING)
        scene.wait_out(1)
        assert scene.receiver.lines == [("firing", "registrar_unreachable", "acme")]

    run(story)


def test_registrar_back_before_its_time_is_no_alarm(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.silent = True
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.node.registrar.silent = False
        scene.wait_out(UNREACHABLE_S - 1)
        await scene.node.until_all(State.REGISTERED)
        scene.wait_out(UNREACHABLE_S)
        assert scene.receiver.lines == []

    run(story)


def test_expired_grant_is_an_alarm_until_registered_again(scene: Scene) -> None:
    async def story() -> None:
        scene.apply(ACME)
        await scene.node.until_all(State.REGISTERED)
        scene.node.registrar.silent = True
        scene.node.clock.now += 3600
        await scene.node.until(lambda: scene.node.registrations.expirations == 1)
        assert scene.open == [("registration_expired", "acme")]
        scene.node.registrar.silent = False
        scene.node.registrations.orders.want("acme")
        await scene.node.until_all(State.REGISTERED)
        assert scene.receiver.lines == [
            ("firing", "registration_expired", "acme"),
            ("resolved", "registration_expired", "acme"),
        ]

    run(story)


@pytest.mark.parametrize(("order", "done"), [("pause", "paused"), ("unregister", "unregistered")])
def test_suspended_trunk_clears_its_alarm_with_the_reason(
    scene: Scene, order: str, done: str
) -> None:
    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        getattr(scene.node.registrations.orders, order)("acme")
        await scene.node.until_quiet()
        assert scene.open == []
        assert scene.receiver.seen[-1].cleared_message == f"the operator {done} the trunk"

    run(story)


def test_paused_trunk_that_expires_raises_no_alarm(scene: Scene) -> None:
    async def story() -> None:
        scene.apply(ACME)
        await scene.node.until_all(State.REGISTERED)
        scene.node.registrations.orders.pause("acme")
        scene.node.clock.now += 3600
        await scene.node.until(lambda: scene.node.registrations.expirations == 1)
        scene.wait_out(UNREACHABLE_S)
        assert scene.receiver.lines == []

    run(story)


def test_trunk_paused_during_a_failing_attempt_raises_no_alarm(scene: Scene) -> None:
    async def story() -> None:
        node = scene.node
        node.registrar.status, node.registrar.open = 403, asyncio.Event()
        scene.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == 1)
        node.registrations.orders.pause("acme")
        node.registrar.open.set()
        await node.until_all(State.PAUSED)
        assert scene.receiver.lines == []

    run(story)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(f"{ACME}enabled = false", "disabled in the file"), (BELL, "removed")],
)
def test_disabled_or_removed_trunk_clears_its_alarm(scene: Scene, text: str, reason: str) -> None:
    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.apply(text)
        assert ("registration_rejected", "acme") not in scene.open
        cleared = next(one for one in scene.receiver.seen if one.status == "resolved")
        assert reason in cleared.cleared_message

    run(story)


# A restart of the agent.


def test_restart_does_not_repeat_an_open_alarm(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.status = 401
        scene.apply(ACME)
        await scene.node.until_all(State.AUTH_FAILED)
        (raised,) = scene.receiver.seen
        scene.restart()
        scene.apply(ACME)
        await scene.node.until_quiet()
        scene.node.registrations.orders.want("acme")
        await scene.node.until_quiet()
        assert scene.receiver.seen == [raised]
        assert scene.alarms.since(0, 10) == [raised]

    run(story)


@pytest.mark.parametrize("how", ["registered", "removed"])
def test_restart_keeps_the_all_clear_of_an_open_alarm(scene: Scene, how: str) -> None:
    async def story() -> None:
        scene.node.registrar.status = 401
        scene.apply(ACME)
        await scene.node.until_all(State.AUTH_FAILED)
        scene.restart()
        if how == "removed":
            scene.apply(BELL.replace("192.0.2.1", "192.0.2.5"))
        else:
            scene.node.registrar.status = 200
            scene.apply(ACME)
            scene.node.registrations.orders.want("acme")
            await scene.node.until_all(State.REGISTERED)
        assert ("resolved", "auth_failed", "acme") in scene.receiver.lines
        scene.restart()
        assert scene.open == []

    run(story)


def test_restart_continues_with_an_open_unreachable_alarm(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.silent = True
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.wait_out(UNREACHABLE_S)
        scene.restart()
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.wait_out(UNREACHABLE_S + 1)
        assert scene.receiver.lines == [("firing", "registrar_unreachable", "acme")]

    run(story)


def test_open_alarm_on_an_unwritable_directory_is_stored_later(
    scene: Scene, tmp_path: Path
) -> None:
    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply(ACME)
        with broken(tmp_path / FILE, "INSERT ON alarm"):
            await scene.node.until_all(State.WAITING)
            assert scene.receiver.lines == [("firing", "registration_rejected", "acme")]
            assert scene.node.directory.open_alarms() == []
        scene.alarms.tick()
        assert [one.trunk for one in scene.node.directory.open_alarms()] == ["acme"]

    run(story)


def test_restart_publishes_an_alarm_that_was_suppressed(scene: Scene) -> None:
    """The limits count anew. The alarm is open, and was not reported yet."""
    stored = StoredAlarm(7, "registration_rejected", "acme", NOW - 5, "403", published=False)

    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.node.directory.write_alarms([stored], [])
        scene.receiver.seen.clear()
        scene.restart()
        scene.apply(ACME)
        (raised,) = scene.receiver.seen
        assert (raised.id, raised.raised_at, raised.status) == (7, NOW - 5, "firing")
        scene.restart()
        assert len(scene.receiver.seen) == 1

    run(story)


def test_restore_of_an_unknown_kind_starts(scene: Scene) -> None:
    """A newer Whence may have raised an alarm that this one does not have."""
    scene.node.directory.write_alarms(
        [
            StoredAlarm(7, "of_a_newer_whence", "acme", NOW - 5, "text", published=True),
            StoredAlarm(8, "disk_full", None, NOW - 5, "text", published=True),
        ],
        [],
    )
    scene.restart()
    assert scene.open == [("disk_full", None)]


# Many trunks.


def trunks(count: int) -> str:
    return "".join(ACME.replace("acme", f"t{n}").replace("acct1", f"a{n}") for n in range(count))


def test_suppressed_alarm_that_ends_has_no_all_clear(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply("[registration]\nrate = 1000\nrate_per_registrar = 1000\n" + trunks(60))
        await scene.node.until_all(State.WAITING)
        assert len(scene.receiver.seen) == KIND_LIMIT
        assert len(scene.open) == 60
        scene.node.registrar.status = 200
        for n in range(60):
            scene.node.registrations.orders.want(f"t{n}")
        await scene.node.until_all(State.REGISTERED)
        resolved = [one.key for one in scene.receiver.seen if one.status == "resolved"]
        fired = [one.key for one in scene.receiver.seen if one.status == "firing"]
        assert sorted(resolved) == sorted(fired)
        assert scene.open == []

    run(story)


def test_suppressed_alarm_still_open_is_published_later(scene: Scene) -> None:
    async def story() -> None:
        scene.node.registrar.status = 403
        scene.apply(ACME)
        await scene.node.until_all(State.WAITING)
        scene.node.registrar.status = 200
        scene.node.registrations.orders.want("acme")
        await scene.node.until_all(State.REGISTERED)
        scene.node.registrar.status = 403
        scene.node.registrations.orders.want("acme")
        await scene.node.until_all(State.WAITING)
        assert scene.receiver.lines[-1][0] == "resolved"
        scene.wait_out(61)
        assert scene.receiver.lines[2:] == [("firing", "registration_rejected", "acme")]
        assert scene.node.directory.open_alarms()[0].published

    run(story)
