"""Test the limit of requests in flight."""

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


def test_limit_bounds_the_places() -> None:
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


def test_limit_frees_a_place_after_its_time() -> None:
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


def test_limit_frees_a_place_only_once() -> None:
    async def story() -> None:
        places, done, sat = ConcurrencyLimit(1, 0.01), asyncio.Event(), list[str]()
        async with asyncio.TaskGroup() as group:
            silent = group.create_task(_sit(places, done, sat, "silent"))
            await _turn()
            async with asyncio.timeout(PATIENCE_S), places.take():
                done.set()
                await silent  # releases nothing: its place was freed before
                last = group.create_task(_sit(places, done, sat, "last"))
                await _turn()
                assert sat == ["silent"]
            await last

    asyncio.run(story())
