"""Waiting for a condition: the one way to wait in tests. Never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02
PATIENCE_S = 60.0
"""How long the rig waits for what must come. Only a failure takes so long: it is long enough for a
machine that has other work. Nothing is proved by what does not come in a shorter time.
"""


def eventually(condition: Callable[[], T], within_s: float = PATIENCE_S, what: str = "") -> T:
    """Call *condition* until it returns something truthy, and return that.

    A condition that raises is not met yet. When *within_s* is over, the AssertionError says
    *what* was awaited and how the last try ended.
    """
    give_up_at = time.monotonic() + within_s
    while True:
        cause: Exception | None = None
        try:
            if value := condition():
                return value
            last = f"last value: {value!r}"
        except Exception as failure:
            cause = failure
            last = f"last try raised {failure!r}"
        if time.monotonic() >= give_up_at:
            raise AssertionError(
                f"not within {within_s:g} s: {what or repr(condition)} ({last})"
            ) from cause
        time.sleep(POLL_S)
