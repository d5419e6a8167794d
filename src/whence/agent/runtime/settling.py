"""Waits until Kamailio decides all calls by the last change of the directory."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from whence.errors import NotSettledError

PATIENCE_S = 5.0
"""How long an order waits. The look-out needs some milliseconds if it runs."""

_LOOK_S = 0.002


class Settling(Protocol):
    """The directory, as far as this module needs it."""

    def wake_look_out(self) -> None:
        """Have Kamailio's look-out read the generation now."""

    def is_settled(self) -> bool:
        """Return whether Kamailio decides all calls by the last change. Raises StoreError."""


async def settle(directory: Settling, patience_s: float = PATIENCE_S) -> None:
    """Return when Kamailio decides all calls by the last change of the directory.

    Raises NotSettledError after `patience_s`, and StoreError. The change is stored then.
    """
    give_up_at = time.monotonic() + patience_s
    while not directory.is_settled():
        if time.monotonic() > give_up_at:
            raise NotSettledError
        directory.wake_look_out()
        await asyncio.sleep(_LOOK_S)
