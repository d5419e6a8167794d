"""When a source that guesses phones' passwords is blocked, and for how long."""

from __future__ import annotations

FIRST_BLOCK_S = 60
LONGEST_BLOCK_S = 3600

COUNTED_S = 600
"""For how long after the last failure failures are counted on."""

REMEMBERED_S = 7200
"""For how long after a block the next one of that source is longer."""


def is_too_many(failures: int, blocks: int, limit: int) -> bool:
    """Whether a source with so many `failures` is blocked. `blocks`: how often it was before.

    A source that was blocked before has a third of the tries. `limit` 0: never.
    """
    allowed = limit if not blocks else max(1, limit // 3)
    return limit > 0 and failures >= allowed


def lasts_s(blocks: int) -> int:
    """Return how long the block with this number (1: the first) lasts: doubled each time."""
    return int(min(FIRST_BLOCK_S * 2 ** min(blocks - 1, 16), LONGEST_BLOCK_S))
