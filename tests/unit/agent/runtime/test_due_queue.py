"""The due queue: compared with a simple model, and while it sleeps."""

import asyncio
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.wait import PATIENCE_S
from whence.agent.runtime import due_queue
from whence.agent.runtime.due_queue import DueQueue

INSTANTS = st.integers(0, 20).map(float)
ITEMS = st.sampled_from("abcdef")
OPERATIONS = st.one_of(
    st.tuples(st.just("schedule"), ITEMS, INSTANTS),
    st.tuples(st.just("cancel"), ITEMS, st.just(0.0)),
    st.tuples(st.just("due"), st.just(""), INSTANTS),
)


class Clock:
    """A wall clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@given(st.lists(OPERATIONS, max_size=60), st.integers(0, 3))
def test_queue_agrees_with_a_list_of_items(
    operations: list[tuple[str, str, float]], stale: int
) -> None:
    """The model: (instant, item) in the order of scheduling, sorted by the instant alone."""
    queue, model = DueQueue[str](Clock()), list[tuple[float, str]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(due_queue, "STALE_LEAST", stale)
        for operation, item, at in operations:
            if operation == "due":
                expected = sorted(model, key=lambda pair: pair[0])
                expected = [pair for pair in expected if pair[0] <= at]
                assert list(queue.due(at)) == [item for _, item in expected]
                model = [pair for pair in model if pair not in expected]
            else:
                model = [pair for pair in model if pair[1] != item]
            if operation == "schedule":
                queue.schedule(item, at)
                model.append((at, item))
            elif operation == "cancel":
                queue.cancel(item)
            assert queue.next_at == min((at for at, _ in model), default=None)
            assert len(queue) == len(model)
            assert {item: queue.at(item) for item in "abcdef"} == dict.fromkeys("abcdef") | {
                item: at for at, item in model
            }


def test_due_yields_an_item_scheduled_meanwhile(clock: Clock) -> None:
    queue = DueQueue[str](clock)
    queue.schedule("first", 1)
    yielded = []
    for item in queue.due(5):
        yielded.append(item)
        if item == "first":
            queue.schedule("second", 5)
            queue.schedule("later", 6)
    assert yielded == ["first", "second"]


def test_queue_after_rescheduling_keeps_its_heap_bounded(clock: Clock) -> None:
    queue = DueQueue[int](clock)
    for at in range(20 * due_queue.STALE_LEAST):
        queue.schedule(at % 10, 1e6 + random.random())
    assert len(queue._heap) <= 2 * 10 + due_queue.STALE_LEAST


# The sleep. The clock does not move unless a test moves it.


async def ends(waiting: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await waiting


async def sleeps(waiting: asyncio.Task[None]) -> None:
    """Let the other tasks run, and check that the sleep continues."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()


async def cancelled(waiting: asyncio.Task[None]) -> None:
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("until", [None, 2000.0])
def test_wait_ends_when_an_earlier_item_comes(clock: Clock, until: float | None) -> None:
    async def story() -> None:
        queue = DueQueue[str](clock)
        queue.schedule("far", clock.now + 500)
        await queue.wait()  # schedule itself woke the queue
        waiting = asyncio.create_task(queue.wait(until))
        await sleeps(waiting)
        queue.schedule("farther", clock.now + 600)
        await sleeps(waiting)
        queue.schedule("near", clock.now + 100)
        await ends(waiting)

    asyncio.run(story())


def test_wait_ends_at_the_earliest_instant(clock: Clock) -> None:
    async def story() -> None:
        for item_at, until in ((0.01, None), (0.01, 500.0), (500.0, 0.01), (None, 0.01)):
            queue = DueQueue[str](clock)
            if item_at is not None:
                queue.schedule("it", clock.now + item_at)
                await queue.wait()
            await ends(
                asyncio.create_task(queue.wait(None if until is None else clock.now + until))
            )

    asyncio.run(story())


def test_wake_ends_the_wait_under_way_or_the_next_one(clock: Clock) -> None:
    async def story() -> None:
        queue = DueQueue[str](clock)
        waiting = asyncio.create_task(queue.wait())
        await sleeps(waiting)
        queue.wake()
        await ends(waiting)
        queue.wake()
        await ends(asyncio.create_task(queue.wait()))
        waiting = asyncio.create_task(queue.wait())
        await sleeps(waiting)
        await cancelled(waiting)

    asyncio.run(story())


@pytest.mark.parametrize("until", [None, 0.0, 1000.0])
def test_wait_with_a_due_item_lets_other_tasks_run(clock: Clock, until: float | None) -> None:
    """A loop whose item is always due must not block the program."""

    async def story() -> None:
        queue, turns = DueQueue[str](clock), 0

        async def loop() -> None:
            nonlocal turns
            while True:
                turns += 1
                queue.schedule("always", clock.now)
                await queue.wait(until)

        looping = asyncio.create_task(loop())
        async with asyncio.timeout(PATIENCE_S):
            while turns < 5:
                await asyncio.sleep(0)
        await cancelled(looping)

    asyncio.run(story())


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_queue_after_a_clock_jump_yields_within_a_nap(
    clock: Clock, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the jump, the clock decides when the item is due, not the length of the sleep."""
    monkeypatch.setattr(due_queue, "NAP_S", 0.01)

    async def story() -> None:
        queue = DueQueue[str](clock)
        queue.schedule("it", clock.now + 1800)

        async def loop() -> None:
            while not list(queue.due(clock.now)):
                await queue.wait()

        looping = asyncio.create_task(loop())
        await sleeps(looping)
        clock.now += jump_s
        if jump_s < 0:
            await sleeps(looping)
            clock.now += 1800 - jump_s
        await ends(looping)

    asyncio.run(story())
