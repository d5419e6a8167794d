"""Counts the reports that a full queue has lost, by their serial numbers."""

from __future__ import annotations

_BITS = 32
"""Kamailio 5.6 counts in so many bits, and goes on with the lowest number."""


class SerialNumbers:
    """The serial numbers of the reports that were fetched from a queue.

    Several workers take a number and then add their report, so two may be in the wrong order. So a
    report is lost only if its number is missing at two calls of `lost` in a row.
    """

    def __init__(self) -> None:
        self._last = 0
        """The highest number that was fetched. The first report has the number 1."""
        self._accounted = 0
        """Reports that were fetched, or counted as lost."""
        self._missing = 0

    def fetched(self, serial: int) -> None:
        """Take the number of a report that was fetched."""
        half = 1 << (_BITS - 1)
        ahead = (serial - self._last + half) % (1 << _BITS) - half
        self._last += max(0, ahead)
        self._accounted += 1

    def lost(self) -> int:
        """Return how many more reports are lost."""
        missing = self._last - self._accounted
        lost = max(0, min(missing, self._missing))
        self._accounted += lost
        self._missing = missing - lost
        return lost
