"""SIGHUP, on which the agent reads the file again. One that arrives early waits, and is not lost.

The default action of SIGHUP ends a program that has just started. Ignoring it is wrong, too: the
program may have read the file before the change. So it is blocked until a handler exists. This
module imports almost nothing, since it must run before the slow imports.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable


def block() -> None:
    """Block SIGHUP. Child processes inherit that; Kamailio ignores SIGHUP anyway."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def handle(loop: AbstractEventLoop, handler: Callable[[], None]) -> None:
    """Call `handler` in the loop at each SIGHUP from now on, and once for blocked ones."""
    loop.add_signal_handler(signal.SIGHUP, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
