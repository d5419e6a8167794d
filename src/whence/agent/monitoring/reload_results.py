"""The result of the last reload of the settings file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ReloadResults(Generic[T]):
    """A reload that notes whether its last call succeeded."""

    def __init__(self, reload: Callable[[], T], clock: Callable[[], float] = time.time) -> None:
        """`reload`: applies the settings file again, or raises."""
        self._reload = reload
        self._clock = clock
        self.succeeded = True
        """Whether the last reload succeeded; without one, the start did."""
        self.succeeded_at = clock()

    def __call__(self) -> T:
        """Reload. Raises what `reload` raises."""
        self.succeeded = False
        result = self._reload()
        self.succeeded = True
        self.succeeded_at = self._clock()
        return result
