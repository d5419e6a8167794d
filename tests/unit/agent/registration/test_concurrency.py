"""Who waits for a place, and for how long."""

import asyncio

from testkit.wait import PATIENCE_S
from whence.agent.registration.concurrency import ConcurrencyLimit

LONG_S = 60.0


async def _sit(places: ConcurrencyLimit, until: asyncio.Event, sat: list[str], name: str) -> None:
    async with places.take():
        sat.append(name)
        await until.wait()


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_more_than_the_limit_hold_a_place() -> None:
    async def story() -> None:
        places, done, sat = ConcurrencyLimit(2, LONG_S), asyncio.Event(), list[str]()
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(_sit(places, done, sat, name))
            await _turn()
            assert sat == ["a", "b"]
            done.set()
        assert sat == ["a", "b", "c"]

    asyncio.run(story())


def test_who_takes_long_holds_up_nobody() -> None:
    async def story() -> None:
        places, done, sat = ConcurrencyLimit(1, 0.01), asyncio.Event(), list[str]()
        async with asyncio.TaskGroup() as group:
            group.create_task(_sit(places, done, sat, "silent"))
            await _turn()
            async with asyncio.timeout(PATIENCE_S), places.take():
                sat.append("next")
            assert sat == ["silent", "next"]
            done.set()

    asyncio.run(story())


def test_a_place_is_given_back_once() -> None:
    async def story() -> None:
        places, done, sat = ConcurrencyLimit(1, 0.01), asyncio.Event(), list[str]()
        async with asyncio.TaskGroup() as group:
            silent = group.create_task(_sit(places, done, sat, "silent"))
            await _turn()
            async with asyncio.timeout(PATIENCE_S), places.take():
                done.set()
                await silent  # gives nothing back: it has no place any more
                last = group.create_task(_sit(places, done, sat, "last"))
                await _turn()
                assert sat == ["silent"]
            await last

    asyncio.run(story())
