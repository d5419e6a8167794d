"""The audit log: a line for each change, in the agent's log and in a file."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from whence.agent.runtime.instants import rfc3339
from whence.core.text import escape_untrusted
from whence.errors import UntrustedError
from whence.trust.paths import open_file

log = logging.getLogger(__name__)

FILE = "audit.json"
FILE_LIMIT = 16 * 1024 * 1024
"""The size at which the file is renamed to `….1`, which replaces the former one."""

KEPT = 1000
"""How many entries are kept in memory for the API."""

Value = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who made it, what changed, and the values before and after."""

    serial: int
    at: float
    caller: str
    role: str
    source: str
    """The address of the caller."""
    action: str
    """The operation, as the API names it: put_trunk."""
    target: str
    """What it changed: `acme`."""
    before: Value = None
    after: Value = None


class AuditLog:
    """The audit log of a state directory. It contains no secret: the callers leave them out."""

    def __init__(self, state: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = state / FILE
        self._clock = clock
        self._serial = 0
        self._failed = False
        self._entries: deque[AuditEntry] = deque(maxlen=KEPT)
        self._read: tuple[int, int] | None = None
        self.refresh()

    @property
    def entries(self) -> Sequence[AuditEntry]:
        """The last entries, the oldest first, also those of `whence token`."""
        self.refresh()
        return self._entries

    def refresh(self) -> None:
        """Read the file again if another process has written it."""
        if self._identity() == self._read:
            return
        self._entries.clear()
        for line in self._last_lines():
            self._restore(line)
        self._read = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.lstat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size

    def record(
        self,
        *,
        caller: str,
        role: str,
        source: str,
        action: str,
        target: str,
        before: Value = None,
        after: Value = None,
    ) -> None:
        """Record one change. A fault of the file loses no change: the log has its line."""
        self.refresh()
        self._serial += 1
        entry = AuditEntry(
            self._serial, self._clock(), caller, role, source, action, target, before, after
        )
        self._entries.append(entry)
        line = _line(entry)
        log.info("audit: %s", escape_untrusted(line))
        self._append(line)

    def _append(self, line: str) -> None:
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            with os.fdopen(open_file(self._path, flags), "ab", buffering=0) as file:
                file.write(line.encode() + b"\n")
                os.fsync(file.fileno())
                size = file.tell()
            if size >= FILE_LIMIT:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._failed = False
            self._read = self._identity()
        except (OSError, UntrustedError) as error:
            if not self._failed:
                log.error("%s cannot be written: %s", self._path, error)  # noqa: TRY400
            self._failed = True

    def _last_lines(self) -> list[bytes]:
        try:
            with os.fdopen(open_file(self._path, os.O_RDWR), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 4 * 1024 * 1024))
                return file.read().splitlines()[-KEPT:]
        except (OSError, UntrustedError):
            return []

    def _restore(self, line: bytes) -> None:
        try:
            read = json.loads(line)
            read["at"] = datetime.fromisoformat(read["at"]).timestamp()
            entry = AuditEntry(**read)
        except (ValueError, TypeError, LookupError):
            return  # a line that a power cut left, or of another version
        self._serial = max(self._serial, entry.serial)
        self._entries.append(entry)


def _line(entry: AuditEntry) -> str:
    return json.dumps(
        {
            "serial": entry.serial,
            "at": rfc3339(entry.at),
            "caller": entry.caller,
            "role": entry.role,
            "source": entry.source,
            "action": entry.action,
            "target": entry.target,
            "before": entry.before,
            "after": entry.after,
        }
    )
