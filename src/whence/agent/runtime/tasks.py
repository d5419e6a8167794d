"""Work that goes on by itself: nobody waits for it, and whatever it raises is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """The tasks of one part of the agent; `what` they are, for the log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it run."""
        task = asyncio.create_task(work)
        self._running.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._done)

    async def over(self, patience_s: float) -> bool:
        """Wait until all are; False where for `patience_s` seconds none has come to its end."""
        while self._running:
            done, _ = await asyncio.wait(self._running, timeout=patience_s)
            if not done:
                return False
        return True

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", self._what, exc_info=error)
