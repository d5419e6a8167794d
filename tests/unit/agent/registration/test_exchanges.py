"""Test the requests in flight: one timer sends them again, and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from testkit.wait import PATIENCE_S
from whence.agent.registration.exchanges import Exchange, Exchanges

LONG_S = 3600.0
SHORT_S = 0.01


def exchange(wait_s: float = LONG_S) -> Exchange:
    answer = asyncio.get_running_loop().create_future()
    return Exchange("call-1", 1, "REGISTER", answer, wait_s=wait_s)


Story = Callable[[], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """A function that runs a story in one kind of event loop. The agent uses uvloop."""

    def running(story: Story) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await story()

        request.param(bounded())

    return running


def test_timeout_is_kept_beside_a_longer_one(run: Run) -> None:
    async def story() -> None:
        sent: list[bytes] = []
        exchanges = Exchanges(sent.append)
        long = asyncio.create_task(exchanges.ask("a", exchange(), b"long", LONG_S))
        await asyncio.sleep(0)
        assert await exchanges.ask("b", exchange(), b"short", SHORT_S) is None
        assert not long.done()
        assert sent == [b"long", b"short"]
        long.cancel()

    run(story)


def test_retransmissions_go_on_after_another_request_ends(run: Run) -> None:
    async def story() -> None:
        sent: list[bytes] = []
        exchanges = Exchanges(sent.append)
        ended = asyncio.create_task(exchanges.ask("a", exchange(SHORT_S), b"ended", LONG_S))
        kept = asyncio.create_task(exchanges.ask("b", exchange(SHORT_S), b"kept", LONG_S))
        await asyncio.sleep(0)
        ended.cancel()
        while sent.count(b"kept") < 3:
            await asyncio.sleep(SHORT_S)
        assert exchanges.get("a") is None
        assert exchanges.get("b") is not None
        kept.cancel()

    run(story)


def test_timer_that_is_due_is_followed_by_another(run: Run) -> None:
    async def story() -> None:
        exchanges = Exchanges(lambda _: None)
        asked = [exchanges.ask(branch, exchange(), b"request", 0.0) for branch in "abc"]
        assert await asyncio.gather(*asked) == [None, None, None]

    run(story)


def test_request_is_unknown_after_it_ended(run: Run) -> None:
    async def story() -> None:
        exchanges = Exchanges(lambda _: None)
        assert await exchanges.ask("a", exchange(), b"request", 0.0) is None
        assert exchanges.get("a") is None

    run(story)
