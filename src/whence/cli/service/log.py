"""Where the program's own log goes."""

from __future__ import annotations

import logging
import sys


def to_stderr(who: str) -> None:
    """Log to standard error, a line a change, for a terminal or the journal."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s {who}: %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
