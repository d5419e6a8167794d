"""The decisions of one worker: valid until the generation changes, or an address expires.

The *generation* is eight bytes that every worker maps. A writer of the directory changes it before
and after each change that could change a decision. So a cached decision costs no query, and a
removed trunk gets no further call. The cache has identified calls only: an unknown source cannot
fill it.
"""

from __future__ import annotations

from typing import NamedTuple

from whence.core.identification.decision import Rule
from whence.store.generation import GenerationReader

LIMIT = 10_000
"""Decisions that a worker keeps, about a kilobyte each. One more empties the cache."""

LONGEST = 1_000
"""Characters of a key, so that long URIs cannot fill a worker's memory."""

LOOK_S = 1.0
"""How often the worker checks that its generation is still the file beside the directory."""


class CacheKey(NamedTuple):
    """All of a request that a decision depends on; its source as transport:ip:port."""

    source: str
    ruri: str
    to: str | None
    p_called_party_id: str | None
    others: str = ""
    """Further headers that some trunk has in its `number_headers`: `number_headers.text_of`."""


class CachedDecision(NamedTuple):
    """An identified call.

    `trunk`: the trunk's id. `rule`: why. `headers`: the lines that the edge adds to the call.
    `is_ours`: whether `target` is a local user. `until`: when it expires. `report`: the part of the
    decision report that all such calls share (ipc/decisions.py). `has_called_party`: whether a
    P-Called-Party-ID in `headers` replaces that of the request.
    """

    trunk: str
    rule: Rule
    headers: str
    target: str
    is_ours: bool
    until: float
    report: str
    has_called_party: bool = False


class DecisionCache:
    """The cached decisions of one worker."""

    def __init__(self, generation: GenerationReader) -> None:
        self._generation = generation
        self._seen: bytes | None = None
        self._look_at = 0.0
        self._decisions: dict[CacheKey, CachedDecision] = {}

    @property
    def seen(self) -> bytes | None:
        """Return the last generation that was read; None before the first."""
        return self._seen

    def get(self, key: CacheKey, now: float) -> CachedDecision | None:
        """Return a valid decision. Call this *before* the directory is read."""
        if not self.is_current(now):
            return None
        decision = self._decisions.get(key)
        return decision if decision is not None and now < decision.until else None

    def is_current(self, now: float) -> bool:
        """Return whether the directory is unchanged since the last call; else empty the cache."""
        if not self._look_at - LOOK_S <= now < self._look_at:  # also after the clock was set back
            self._look_at = now + LOOK_S
            self._generation.look()
        generation = self._generation.now()
        if generation is None or generation != self._seen:
            self._decisions.clear()
            self._seen = generation
            return False
        return True

    def generation(self) -> bytes | None:
        """Return the directory's generation; None while it has none."""
        return self._generation.now()

    def keep(self, key: CacheKey, decision: CachedDecision) -> None:
        """Keep a decision that was read from the directory after the last `get`.

        A key that is too long is not kept.
        """
        if self._seen is None or sum([len(text or "") for text in key]) > LONGEST:
            return
        if len(self._decisions) >= LIMIT:
            self._decisions.clear()
        self._decisions[key] = decision
