"""Test keep-alives with real registrations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.agent.registration.node import ACME, BELL, REGISTRAR, Node, run
from whence.agent.registration.keepalive import KeepAliveService
from whence.core.registration.keepalive import (
    STREAM_INTERVAL_S,
    KeepAliveTarget,
    OptionsReply,
)
from whence.core.registration.model import State
from whence.core.sip.transport_address import TransportAddress

WITH_KEEPALIVE = ACME + "keepalive = 30\n"
LISTEN = '[edge]\nlisten = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]\n'
BY_TCP = LISTEN + ACME.replace("192.0.2.1", "192.0.2.1;transport=tcp")


class Server:
    """The servers that granted: they answer OPTIONS with `status`, or not at all."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.source = REGISTRAR
        self.received: list[KeepAliveTarget] = []

    async def keep_alive(self, target: KeepAliveTarget, within_s: float) -> OptionsReply | None:
        assert 0 < within_s <= 4
        self.received.append(target)
        return None if self.status is None else OptionsReply(self.status, self.source)


class Kept:
    """A node with keep-alives, which run together with its registrations."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.server = Server()
        self.keepalives = KeepAliveService(self.server, node.clock)
        node.observers.append(self.keepalives)
        node.agent()

    async def until(self, condition: Callable[[], bool]) -> None:
        running = asyncio.create_task(self.keepalives.run(self.node.registrations))
        try:
            await self.node.until(condition)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def interval(self, seconds: float = 30) -> None:
        """Let an interval pass, and run the work that is due in it."""
        self.node.clock.now += seconds
        turns = iter(range(30))
        await self.until(lambda: next(turns, None) is None)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    node = Node(tmp_path)
    yield Kept(node)
    node.directory.close()


def test_options_is_sent_each_interval_only_if_configured(kept: Kept) -> None:
    async def story() -> None:
        kept.node.apply(WITH_KEEPALIVE + BELL)
        await kept.node.until_all(State.REGISTERED)
        for count in (1, 2, 3):
            await kept.interval()
            assert len(kept.server.received) == count
        (target, *_) = kept.server.received
        assert target.account.aor == "sip:acct1@192.0.2.1"
        assert (str(target.next_hop), str(target.socket)) == (
            "udp:192.0.2.1:5060",
            "udp:127.0.0.1:5060",
        )
        assert kept.keepalives["bell"] is None
        results = kept.keepalives["acme"]
        assert results is not None and (results.missed, results.last_status) == (0, 200)

    run(story)


def test_options_over_tcp_is_sent_unless_switched_off(kept: Kept) -> None:
    async def story() -> None:
        off = BELL.replace("192.0.2.1", "192.0.2.1;transport=tcp") + "keepalive = 0\n"
        kept.node.apply(BY_TCP + off)
        await kept.node.until_all(State.REGISTERED)
        for asked in (1, 2, 3):
            await kept.interval(STREAM_INTERVAL_S)
            assert len(kept.server.received) == asked
        assert {str(target.next_hop) for target in kept.server.received} == {"tcp:192.0.2.1:5060"}
        assert kept.keepalives["acme"] is not None
        assert kept.keepalives["bell"] is None

    run(story)


def test_options_of_the_default_unanswered_change_nothing(kept: Kept) -> None:
    """Some servers grant, but never answer OPTIONS. The operator did not ask for any."""

    async def story() -> None:
        kept.server.status = None
        kept.node.apply(BY_TCP)
        await kept.node.until_all(State.REGISTERED)
        for _ in range(6):
            await kept.interval(STREAM_INTERVAL_S)
        assert len(kept.server.received) == 6
        assert len(kept.node.registrar.received) == 1
        assert kept.keepalives.outcomes == {}
        whats = [event.what for _, event in kept.node.directory.events("acme")]
        assert whats == ["registered"]

    run(story)


def test_options_with_error_status_counts_as_answered(kept: Kept) -> None:
    async def story() -> None:
        kept.server.status = 405
        kept.node.apply(WITH_KEEPALIVE)
        await kept.node.until_all(State.REGISTERED)
        for _ in range(5):
            await kept.interval()
        assert len(kept.node.registrar.take_received()) == 1
        assert kept.keepalives.outcomes == {"answered": 5}

    run(story)


def test_refresh_is_sent_once_after_three_misses(kept: Kept) -> None:
    async def story() -> None:
        kept.node.apply(WITH_KEEPALIVE)
        await kept.node.until_all(State.REGISTERED)
        kept.server.status = None
        sent = []
        for _ in range(6):
            await kept.interval()
            sent.append(len(kept.node.registrar.received))
        assert sent == [1, 1, 2, 2, 2, 2]
        assert kept.node.of["acme"].state is State.REGISTERED
        whats = [event.what for _, event in kept.node.directory.events("acme")]
        assert whats == ["registered", "keepalive_failed"]

    run(story)


def test_options_stop_with_unregister_or_removal(kept: Kept) -> None:
    async def story() -> None:
        kept.node.apply(WITH_KEEPALIVE + BELL + "keepalive = 30\n")
        await kept.node.until_all(State.REGISTERED)
        kept.node.registrations.orders.unregister("acme")
        await kept.node.until_quiet()
        kept.node.apply(WITH_KEEPALIVE)
        assert kept.keepalives["acme"] is None
        assert kept.keepalives["bell"] is None
        await kept.interval()
        assert kept.server.received == []

    run(story)


def test_options_follow_a_new_interval_and_a_restart(kept: Kept) -> None:
    async def story() -> None:
        kept.node.apply(ACME)
        await kept.node.until_all(State.REGISTERED)
        await kept.interval()
        assert kept.server.received == []
        kept.node.apply(WITH_KEEPALIVE)
        await kept.interval()
        assert len(kept.server.received) == 1
        kept.node.agent()
        again = Kept(kept.node)
        kept.node.apply(WITH_KEEPALIVE)
        await again.interval()
        assert len(again.server.received) == 1

    run(story)


def test_options_during_a_register_is_skipped(kept: Kept) -> None:
    async def story() -> None:
        kept.node.apply(WITH_KEEPALIVE)
        await kept.node.until_all(State.REGISTERED)
        kept.node.registrar.open = asyncio.Event()
        kept.node.registrations.orders.want("acme")
        await kept.node.until(lambda: kept.node.of["acme"].in_flight is not None)
        await kept.interval()
        results = kept.keepalives["acme"]
        assert kept.server.received == []
        assert results is not None and results.missed == 0

    run(story)


@pytest.mark.parametrize(("more", "counts"), [("", False), ('networks = ["192.0.2.66"]\n', True)])
def test_options_answered_by_unexpected_source_is_a_miss(
    kept: Kept, more: str, counts: bool
) -> None:
    async def story() -> None:
        kept.node.apply(WITH_KEEPALIVE + more)
        await kept.node.until_all(State.REGISTERED)
        kept.server.source = TransportAddress.parse("udp:192.0.2.66:5060")
        for _ in range(3):
            await kept.interval()
        assert kept.keepalives.outcomes == {"answered" if counts else "unanswered": 3}
        whats = [event.what for _, event in kept.node.directory.events("acme")]
        assert ("keepalive_failed" in whats) != counts

    run(story)
