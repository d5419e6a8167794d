"""The log of the process of `whence run`, on standard error.

It has the form of the agent's log. Python's `logging` would take a tenth of this process's memory.
"""

from __future__ import annotations

import sys

from whence.agent.runtime import log_form


def info(text: str) -> None:
    """Write a line of what happened."""
    _write("INFO", text)


def warning(text: str) -> None:
    """Write a line that an operator should read."""
    _write("WARNING", text)


def _write(level: str, text: str) -> None:
    print(log_form.line("run", level, text), file=sys.stderr, flush=True)
