"""When an attempt to register may begin: limits per second, in total and for each registrar.

A cold start of a hundred thousand trunks must neither flood a provider nor exhaust Kamailio. Each
attempt takes the next free slot of both limits. A burst of one second's attempts may begin at once,
so a few trunks do not wait for one another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BURST_S = 1.0
"""The attempts of how many seconds may begin at once."""

REGISTRARS_LIMIT = 10_000
"""With more registrars than this, those without a future slot are removed."""


@dataclass(slots=True)
class RequestLimiter:
    """The limits, in attempts per second, and the next free slots."""

    total: float
    registrar: float
    _total_at: float = 0.0
    _registrar_at: dict[str, float] = field(default_factory=dict)

    def slot(self, registrar: str, now: float) -> float:
        """Take the next slot for an attempt at this registrar: an instant, `now` or later."""
        total_at = max(now, self._total_at)
        registrar_at = max(now, self._registrar_at.get(registrar, now))
        self._total_at = total_at + 1 / self.total
        self._registrar_at[registrar] = registrar_at + 1 / self.registrar
        if len(self._registrar_at) > REGISTRARS_LIMIT:
            self._registrar_at = {r: at for r, at in self._registrar_at.items() if at > now}
        return max(now, total_at - BURST_S, registrar_at - BURST_S)
