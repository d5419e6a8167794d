"""Background tasks. An exception of a task is logged, and ends no other task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """The background tasks of one part of the agent. `name` is what the log calls one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background."""
        task = asyncio.create_task(work)
        self._running.add(task)  # the loop keeps weak references only
        task.add_done_callback(self._done)

    async def over(self, patience_s: float) -> bool:
        """Wait until all tasks end. Return False where none ends within `patience_s` seconds."""
        while self._running:
            done, _ = await asyncio.wait(self._running, timeout=patience_s)
            if not done:
                return False
        return True

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", self._name, exc_info=error)
