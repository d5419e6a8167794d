"""A string that must never be seen: not in a log, an answer, an exception or a repr."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """Holds a password or HA1; `reveal` is the one way to it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The text itself, for a hash and for nothing else."""
        return self._text

    def __str__(self) -> str:
        return "***"
