"""What the owner of a directory implements to learn of changes."""

from __future__ import annotations

from typing import Protocol


class DirectoryObserver(Protocol):
    """Acts on changes of the directory. It must not wait, nor raise."""

    def directory_changed(self) -> None:
        """A change that could change an answer has been written."""
