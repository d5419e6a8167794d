"""SIGHUP, which reads the file again: one that comes before it can be heard waits, and is not lost.

Its default would end a program that has hardly begun. Blocked is better than ignored: the file may
have been read before it was changed. It imports next to nothing, to be in time.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable


def block() -> None:
    """Let SIGHUPs wait. What we start inherits that; to Kamailio they are nothing anyway."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def handle(loop: AbstractEventLoop, then: Callable[[], None]) -> None:
    """Call `then` in the loop at each SIGHUP from now on, and once for those that waited."""
    loop.add_signal_handler(signal.SIGHUP, then)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
