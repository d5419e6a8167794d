"""The log of the agent."""

from __future__ import annotations

import logging
import sys


def to_stderr() -> None:
    """Log to standard error, for a terminal or the journal."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s agent: %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
