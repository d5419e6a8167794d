"""Raises `api_entry_left_out` while the agent runs without trunks, users or routes of the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from whence.agent.monitoring.alarms import Alarms
from whence.core.monitoring.alarms import Alarm, AlarmKind
from whence.errors import StoreError

NAMES = 10
"""How many entries the alarm names."""


class LeftOutAlarm:
    """The alarm of entries that the settings file contradicts, or that cannot be decrypted."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    @property
    def is_open(self) -> bool:
        """Whether the alarm is open."""
        return self._alarms.is_open(AlarmKind.API_ENTRY_LEFT_OUT, None)

    def check_again(self, find: Callable[[], Sequence[str]]) -> None:
        """Report again what `find` returns if the alarm is open. It may raise StoreError."""
        if self.is_open:
            with suppress(StoreError):  # the next change tries it again
                self.report(find())

    def report(self, names: Sequence[str]) -> None:
        """Raise the alarm for these entries (`trunk acme`), or clear it where there is none."""
        if not names:
            self._alarms.clear(
                AlarmKind.API_ENTRY_LEFT_OUT, None, "all entries of the API have effect"
            )
            return
        more = len(names) - NAMES
        named = ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
        message = (
            f"{named}: the API has it, but the agent started without it; the log has the reason: "
            "correct the settings file and reload it, or write or remove the entry with the API"
        )
        self._alarms.raise_alarm(Alarm(AlarmKind.API_ENTRY_LEFT_OUT, None, message))
