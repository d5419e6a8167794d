"""Background tasks: they are kept alive, and their exceptions are logged."""

import asyncio
import gc
import logging

import pytest

from whence.agent.runtime.tasks import Tasks


def test_tasks_keep_a_started_task_alive() -> None:
    async def story() -> None:
        tasks, done = Tasks("it"), asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0)
            done.set()

        tasks.start(work())
        gc.collect()
        assert await tasks.over(5)
        assert done.is_set()

    asyncio.run(story())


def test_tasks_log_an_exception_and_continue(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        tasks = Tasks("a keep-alive")

        async def fails() -> None:
            raise RuntimeError("a bug")

        tasks.start(fails())
        tasks.start(asyncio.sleep(0))
        assert await tasks.over(5)

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    (record,) = caplog.records
    assert record.getMessage() == "a keep-alive failed"
    assert "a bug" in str(record.exc_info)


def test_tasks_over_with_an_endless_task_returns_false() -> None:
    async def story() -> None:
        tasks = Tasks("it")

        async def never() -> None:
            await asyncio.Event().wait()

        tasks.start(never())
        assert not await tasks.over(0.01)

    asyncio.run(story())
