"""Counts users' calls through trunks, in Kamailio's tables that all workers share."""

from __future__ import annotations

from urllib.parse import quote

from whence.core.outbound.limits import NO_CALLS, Counts
from whence.core.outbound.model import Limits
from whence.edge.ksr import Ksr

CALLS = "out_calls"
"""Table: key of a dialog → `user/trunk`, while the call lasts."""

BEGAN = "out_began"
"""Table: `user/NAME` or `trunk/ID` → its calls within a minute. Each item ends after a minute."""

_PART = "$var(whence_part)"
# The module htable names the two the other way round than one reads them: %~ is "begins with".
_OF_USER = f"$shtcv({CALLS}=>%~{_PART})"
_OF_TRUNK = f"$shtcv({CALLS}=>~%{_PART})"


class CallCounts:
    """The calls of users and trunks. Each is counted only where it has a limit."""

    def __init__(self, ksr: Ksr) -> None:
        self._ksr = ksr

    def of_user(self, name: str, limits: Limits) -> Counts:
        """Return the calls of a user."""
        return self._counts(limits, f"user/{name}", _OF_USER, f"{quote(name, safe='')}/")

    def of_trunk(self, id_: str, limits: Limits) -> Counts:
        """Return the calls of users through a trunk."""
        return self._counts(limits, f"trunk/{id_}", _OF_TRUNK, f"/{id_}")

    def begin(self, name: str) -> None:
        """Count a call that a user begins."""
        self._ksr.htable.sht_inc(BEGAN, f"user/{name}")

    def at_trunk(self, dialog: str, name: str, id_: str) -> None:
        """Count a user's call at a trunk. `dialog`: its key in the table of dialogs."""
        self._ksr.htable.sht_inc(BEGAN, f"trunk/{id_}")
        self._ksr.htable.sht_sets(CALLS, dialog, f"{quote(name, safe='')}/{id_}")

    def _counts(self, limits: Limits, key: str, variable: str, part: str) -> Counts:
        if not limits.concurrent and not limits.per_minute:
            return NO_CALLS
        concurrent = 0
        if limits.concurrent:
            self._ksr.pv.sets(_PART, part)
            concurrent = int(self._ksr.pv.get(variable) or 0)
        return Counts(concurrent, int(self._ksr.htable.sht_get(BEGAN, key) or 0))
