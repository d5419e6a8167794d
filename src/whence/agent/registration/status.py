"""The interface for the states of all trunks, which the API, the metrics and `allow` use.

`service.RegistrationService` implements it for the agent's own registrations.
`dropin.monitor.RegistrationMonitor` implements it for those of `uac`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from whence.core.registration.model import Registration


class TrunkInfo(Protocol):
    """The settings of a trunk that are shown."""

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def aor(self) -> str:
        """`sip:user@domain`."""

    @property
    def target(self) -> str:
        """The target of its calls."""

    @property
    def numbers(self) -> Sequence[str]:
        """Its numbers, as the file has them."""

    @property
    def unmatched(self) -> Literal["accept", "refuse"]:
        """Whether a call that names no trunk is accepted or refused."""

    @property
    def fallback(self) -> bool:
        """Whether it gets calls that could belong to several candidates."""

    @property
    def enabled(self) -> bool:
        """Whether its calls are admitted."""


class RegistrationStatus(Protocol):
    """All trunks, by id, each with its registration."""

    @property
    def expirations(self) -> int:
        """How many grants ended without a refresh since the agent started."""

    def __iter__(self) -> Iterator[tuple[TrunkInfo, Registration]]: ...

    def __contains__(self, trunk_id: str) -> bool: ...

    def __getitem__(self, trunk_id: str) -> tuple[TrunkInfo, Registration]:
        """Return one trunk. Raises: UnknownTrunkError."""

    def must_be_enabled(self, trunk_id: str) -> None:
        """Raise UnknownTrunkError or DisabledTrunkError, if one fits."""
