"""A secret text, which no log, answer, exception or repr may show."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A password or an HA1. Only `reveal` returns it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """Return the text. Use it only for a hash."""
        return self._text

    def __str__(self) -> str:
        return "***"
