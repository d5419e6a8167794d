"""The log of `whence run` and `whence agent`."""

from __future__ import annotations

import logging
import sys


def to_stderr(who: str) -> None:
    """Log to standard error, for a terminal or the journal. `who`: the name of the process."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s {who}: %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
