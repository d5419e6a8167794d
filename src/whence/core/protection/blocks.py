"""When the edge blocks a source that guesses phones' passwords, and for how long."""

from __future__ import annotations

FIRST_BLOCK_S = 60
LONGEST_BLOCK_S = 3600

COUNTED_S = 600
"""How long failures are counted after the last one."""

REMEMBERED_S = 7200
"""How long after a block the next block of that source is a longer one."""


def is_too_many(failures: int, blocks: int, limit: int) -> bool:
    """Return whether a source with so many `failures` is blocked.

    `blocks`: how often it was blocked before; then a third of the `limit` is enough. `limit` 0: it
    is never blocked.
    """
    allowed = limit if not blocks else max(1, limit // 3)
    return limit > 0 and failures >= allowed


def lasts_s(blocks: int) -> int:
    """Return the length of the block with this number (1: the first). Each one doubles it."""
    return int(min(FIRST_BLOCK_S * 2 ** min(blocks - 1, 16), LONGEST_BLOCK_S))
