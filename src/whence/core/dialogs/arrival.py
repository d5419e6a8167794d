"""The arrival of an INVITE, which names its call in all reports.

One process of Kamailio handles one message at a time. So the microsecond of the arrival and the
process name a message. The ids of its dialogs contain both.
"""

from __future__ import annotations

from typing import NamedTuple

MICROSECONDS = 1_000_000


class Arrival(NamedTuple):
    """When a request arrived, and in which process of Kamailio."""

    at_us: int
    """In microseconds since the epoch."""
    process: int = 0

    @classmethod
    def of(cls, at: float, process: int = 0) -> Arrival:
        """Return the arrival at an instant in seconds. 0 is no process of Kamailio."""
        return cls(round(at * MICROSECONDS), process)

    @property
    def at(self) -> float:
        """The instant in seconds since the epoch."""
        return self.at_us / MICROSECONDS
