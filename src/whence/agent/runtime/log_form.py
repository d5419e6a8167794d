"""The form of log lines: for a terminal, for the journal of systemd, or as JSON.

Each process of Whence writes its own lines in the same form. `whence run` stays in memory, so this
file imports little.
"""

from __future__ import annotations

import os
import time

STDERR = 2

PRIORITIES = {
    "DEBUG": 7,
    "INFO": 6,
    "NOTICE": 5,
    "WARNING": 4,
    "WARN": 4,
    "ERROR": 3,
    "CRITICAL": 2,
    "BUG": 2,
    "ALERT": 1,
    "EMERG": 0,
}
"""Level, as Python or Kamailio names it → priority of the journal."""

_chosen = {"json": False}


def choose(log_format: str) -> None:
    """Choose the form for all further lines. `log_format`: `text` or `json`."""
    _chosen["json"] = log_format == "json"


def line(program: str, level: str, text: str, *, has_head: bool = True) -> str:
    """Return one line of the log, or several if the text has several.

    `has_head`: whether a line for a terminal shows time and level; those of Kamailio do not.
    """
    if _chosen["json"]:
        shown = _as_json(program, level, text)
    elif is_journal():  # it has the time and the level of its own
        shown = f"{program}: {text}"
    elif has_head:
        shown = f"{time.strftime('%H:%M:%S')} {program}: {level} {text}"
    else:
        shown = f"{program}: {text}"
    if not is_journal():
        return shown
    priority = f"<{PRIORITIES.get(level, 6)}>"
    return priority + shown.replace("\n", f"\n{priority}")  # each line is an entry of its own


def is_journal() -> bool:
    """Return whether standard error is the journal of systemd (systemd.exec(5), JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        found = os.fstat(STDERR)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _as_json(program: str, level: str, text: str) -> str:
    import json  # noqa: PLC0415 - most logs are text

    now = time.time()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return json.dumps(
        {
            "at": f"{at}.{int(now * 1000) % 1000:03d}Z",
            "level": level.lower(),
            "program": program,
            "message": text,
        }
    )
