"""How the trunks stand, whoever registers them: what the API, the metrics and `allow` ask.

`service.RegistrationService` answers from what it does itself, `dropin.monitor.RegistrationMonitor`
from what another registrar client has written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from whence.core.registration.model import Registration


class TrunkInfo(Protocol):
    """What is told of a trunk, wherever it is written."""

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def aor(self) -> str:
        """`sip:user@domain`."""

    @property
    def target(self) -> str:
        """Where its calls go."""

    @property
    def numbers(self) -> Sequence[str]:
        """As they are written in the file."""

    @property
    def unmatched(self) -> Literal["accept", "refuse"]:
        """What becomes of a call that names no trunk."""

    @property
    def fallback(self) -> bool:
        """Whether it takes what could be several trunks' call."""

    @property
    def enabled(self) -> bool:
        """Whether its calls are let in."""


class RegistrationStatus(Protocol):
    """All trunks, by id, each with how its registration stands."""

    @property
    def expirations(self) -> int:
        """How many grants ended without a refresh, since the agent's start."""

    def __iter__(self) -> Iterator[tuple[TrunkInfo, Registration]]: ...

    def __contains__(self, trunk_id: str) -> bool: ...

    def __getitem__(self, trunk_id: str) -> tuple[TrunkInfo, Registration]:
        """One of them; UnknownTrunkError where there is none with this id."""

    def must_be_enabled(self, trunk_id: str) -> None:
        """UnknownTrunkError where there is none, DisabledTrunkError where it takes no calls."""
