"""The file `call_log_file`: one line of JSON for each call, when it is over."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

from whence.agent.monitoring.call_record import CallRecord, as_json
from whence.errors import UntrustedError
from whence.trust.paths import open_file

log = logging.getLogger(__name__)

FILE_LIMIT = 64 * 1024 * 1024
"""The size at which `call_log_file` is renamed. Both files take twice that at most."""


class CallsFile:
    """Calls as lines of JSON, in a file of bounded size."""

    def __init__(self, path: Path, limit: int = FILE_LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._failed = False
        self.errors = 0
        """Calls that could not be written."""

    def write(self, call: CallRecord) -> None:
        """Append one line. Where that fails, count it, and log the first failure."""
        line = json.dumps(as_json(call)).encode("ascii") + b"\n"
        try:
            size = self._append(line)
            if size >= self._limit:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        except (OSError, UntrustedError) as error:
            self.errors += 1
            if not self._failed:
                why = error.strerror if isinstance(error, OSError) else error
                log.error("%s: calls are not written: %s", self._path, why)  # noqa: TRY400
            self._failed = True
        else:
            if self._failed:
                log.info("%s: calls are written again", self._path)
            self._failed = False

    def _append(self, line: bytes) -> int:
        """Append a whole line or none; return the size of the file. Raises: OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # Without a buffer: a full disk takes the start of a line, and the rest would follow later.
        with os.fdopen(open_file(self._path, flags), "ab", buffering=0) as file:
            before = file.tell()
            written = file.write(line)
            if written != len(line):
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return before + written
