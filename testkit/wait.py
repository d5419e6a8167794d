"""Wait for a condition: the only way to wait in tests, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02
PATIENCE_S = 60.0
"""How long the rig waits for what must happen. It is long enough for a busy machine.

Only a failure takes so long. That something did not happen in a shorter time proves nothing.
"""


def eventually(condition: Callable[[], T], within_s: float = PATIENCE_S, what: str = "") -> T:
    """Call *condition* until it returns a true value, and return that value.

    A condition that raises is not met yet. After *within_s*, the AssertionError has *what* and the
    result of the last try.
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
