"""The interface of objects that are notified of changes of the directory."""

from __future__ import annotations

from typing import Protocol


class DirectoryObserver(Protocol):
    """Acts on changes of the directory. It must neither block nor raise."""

    def directory_changed(self) -> None:
        """Act on a committed change that could change a decision."""
