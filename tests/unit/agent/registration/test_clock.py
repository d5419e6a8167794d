"""Test registrations, addresses and keep-alives after a step of the system clock."""

from __future__ import annotations

import pytest

from tests.unit.agent.registration.node import ACME, BELL, NOW, Node, run
from tests.unit.store.disk import broken
from whence.agent.monitoring.alarms import Alarms
from whence.agent.registration.keepalive import KeepAliveService
from whence.agent.runtime.clock import Clocks, ClockWatch
from whence.core.identification.address import GRACE_S
from whence.core.registration.model import State


class Scene:
    """A node whose system clock is set, beside a steady clock."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.steady = 0.0
        self.alarms = Alarms([], node.clock)
        clocks = Clocks(node.clock, lambda: self.steady, "boot-1")
        self.watch = ClockWatch(clocks, [node.registrations, self.alarms])

    def passes(self, seconds: float) -> None:
        self.node.clock.now += seconds
        self.steady += seconds

    def set_clock(self, step_s: float) -> None:
        self.node.clock.now += step_s
        self.watch.check()


@pytest.mark.parametrize("step_s", [-3600.0, 1200.0])
def test_clock_set_refreshes_all_trunks_at_once(node: Node, step_s: float) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        scene = Scene(node)
        node.registrar.take_received()
        scene.set_clock(step_s)
        await node.until(lambda: len(node.registrar.received) == 2)
        await node.until_quiet()
        now = node.clock.now
        assert {r.expires_at for r in node.of.values()} == {now + 3600}
        assert {ends_at for _, _, ends_at in node.addresses} == {now + 3600 + GRACE_S}
        (alarm,) = scene.alarms.since(0, 10)
        assert alarm.alarm.kind == "clock_stepped"
        events = [event.what for _, event in node.directory.events("acme")]
        assert events == ["registered", "clock_stepped"]

    run(story)


def test_clock_set_forward_before_a_check_ends_no_grant(node: Node) -> None:
    """The scheduler looks at its instants before the watch has compared the clocks."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        scene = Scene(node)
        node.check_clock = scene.watch.check
        node.clock.now += 7200
        await node.until_loop()
        events = [event.what for _, event in node.directory.events("acme")]
        assert events == ["registered", "clock_stepped"]

    run(story)


def test_clock_set_back_ends_the_addresses_in_their_time(node: Node) -> None:
    """The registrar is down: no address admits calls longer than it granted."""

    async def story() -> None:
        node.registrar.grants_s = 600
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        scene = Scene(node)
        scene.passes(100)
        node.registrar.silent = True
        scene.set_clock(-3600)
        ends_at = node.clock.now + 500
        assert node.addresses == [("acme", "192.0.2.1", ends_at + GRACE_S)]
        await node.until_all(State.WAITING)
        scene.passes(500)
        await node.until(lambda: node.registrations.expirations == 1)
        assert node.clock.now == NOW - 3600 + 600

    run(story)


def test_clock_set_forward_ends_no_grant(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        scene = Scene(node)
        scene.set_clock(100_000)
        await node.until_quiet()
        assert node.registrations.expirations == 0
        assert node.of["acme"].state is State.REGISTERED

    run(story)


def test_clock_set_back_keeps_the_rate_limit(node: Node) -> None:
    async def story() -> None:
        trunks = "".join(ACME.replace("acme", f"t{n}").replace("acct1", f"a{n}") for n in range(9))
        node.apply("[registration]\nrate_per_registrar = 4\n" + trunks)
        await node.until(lambda: len(node.registrar.received) >= 4)
        node.clock.now += 10
        await node.until_all(State.REGISTERED)
        scene = Scene(node)
        node.registrar.take_received()
        scene.set_clock(-3600)
        await node.until_loop()
        assert len(node.registrar.received) < 9
        assert node.registrations.rate_limited > 0

    run(story)


def test_clock_set_on_a_full_disk_is_corrected_later(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        scene, before = Scene(node), node.addresses
        with broken(node.directory.path, "UPDATE ON address"):
            scene.set_clock(-3600)
        assert (node.addresses, node.of["acme"].expires_at) == (before, NOW + 3600)
        scene.watch.check()
        assert node.of["acme"].expires_at == NOW

    run(story)


def test_clock_set_keeps_the_ends_of_pinned_addresses(node: Node) -> None:
    async def story() -> None:
        until = "2030-01-01T00:00:00Z"
        node.apply(ACME + f'networks = [{{network = "192.0.2.64/29", expires_at = {until}}}]\n')
        await node.until_all(State.REGISTERED)
        pinned = [end for _, ip, end in node.addresses if "/" in ip]
        Scene(node).set_clock(-3600)
        assert [end for _, ip, end in node.addresses if "/" in ip] == pinned
        assert [end for _, ip, end in node.addresses if "/" not in ip] == [NOW + GRACE_S]

    run(story)


def test_clock_set_back_moves_the_keep_alives(node: Node) -> None:
    async def story() -> None:
        keepalives = KeepAliveService(_NoOptions(), node.clock)
        node.observers.append(keepalives)
        node.agent()
        node.apply(ACME + "keepalive = 30\n")
        await node.until_all(State.REGISTERED)
        before = keepalives["acme"]
        keepalives.clock_stepped(-3600, None)
        after = keepalives["acme"]
        assert before is not None and after is not None
        assert after.next_at == before.next_at - 3600

    run(story)


class _NoOptions:
    async def keep_alive(self, target: object, within_s: float) -> None:
        raise AssertionError(target)
