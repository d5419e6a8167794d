"""The log of the agent."""

from __future__ import annotations

import logging
import sys

from whence.agent.runtime import log_form


class _Lines(logging.Formatter):
    """Writes records in the form of all processes of Whence."""

    def format(self, record: logging.LogRecord) -> str:
        return log_form.line("agent", record.levelname, super().format(record))


def to_stderr() -> None:
    """Log to standard error, for a terminal or the journal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
