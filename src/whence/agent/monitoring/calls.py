"""Keeps the last decisions of the edge, and counts all of them.

Decisions on trunks' addresses and on unknown sources have a queue each. So a flood of unknown
sources evicts no call of a trunk. A decision is kept as its record of some hundred bytes, and
parsed when the API reads it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from whence.core.text import escape_untrusted
from whence.errors import UntrustedError
from whence.ipc import decisions
from whence.ipc.decisions import DecisionKind, DecisionReport
from whence.trust.paths import open_file

log = logging.getLogger(__name__)

FILE_LIMIT = 64 * 1024 * 1024
"""The size at which `call_log_file` is renamed. Both files take twice that at most."""

SAME_LIMIT = 20
"""How many decisions with one Call-ID are returned."""


@dataclass
class Calls:
    """The last decisions, at most `limit` of trunks' sources and as many of unknown sources."""

    limit: int
    file: CallsFile | None = None
    decisions: Counter[tuple[DecisionKind, str, str]] = field(default_factory=Counter)
    """(kind, rule, trunk or an empty text) → the number of decisions."""
    last_call_at: dict[str, float] = field(default_factory=dict)
    """Trunk id → when its last call arrived."""

    def __post_init__(self) -> None:
        self._known: deque[bytes] = deque(maxlen=self.limit)
        self._unknown_sources: deque[bytes] = deque(maxlen=self.limit)

    def receive(self, report: DecisionReport, record: bytes) -> None:
        """Count one decision, and keep it."""
        trunk = report.trunk or ""
        self.decisions[report.kind, report.rule or "", trunk] += 1
        if trunk and report.method == "INVITE":
            self.last_call_at[trunk] = report.at
        if report.method == "OPTIONS" and report.kind is not DecisionKind.UNKNOWN:
            return  # a provider's check every few seconds is no call
        (self._unknown_sources if report.kind is DecisionKind.UNKNOWN else self._known).append(
            record
        )
        if self.file is not None and report.kind is not DecisionKind.UNKNOWN:
            self.file.write(report)

    def last(self, limit: int) -> list[DecisionReport]:
        """Return the last `limit` decisions, the newest first."""
        newest = [
            decisions.read(data)
            for kept in (self._known, self._unknown_sources)
            for _, data in zip(range(limit), reversed(kept), strict=False)
        ]
        return sorted(newest, key=lambda one: one.at, reverse=True)[:limit]

    def of(self, call_id: str) -> list[DecisionReport]:
        """Return the last decisions on requests with this Call-ID, the oldest first.

        `call_id` is as it was sent, or escaped.
        """
        cut = decisions.bounded_call_id(call_id)
        found = [decisions.read(data) for data in self._with(cut)]
        return sorted(found, key=lambda one: one.at)[-SAME_LIMIT:]

    def _with(self, call_id: str) -> Iterator[bytes]:
        ending = call_id.encode("utf-8", "replace")
        for data in chain(self._known, self._unknown_sources):
            if data.endswith(ending) or b"\\" in ending:
                sent = decisions.call_id_of(data)
                if call_id in (sent, escape_untrusted(sent)):
                    yield data


class CallsFile:
    """Decisions on what trunks' addresses sent, as lines of JSON, in a file of bounded size."""

    def __init__(self, path: Path, limit: int = FILE_LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._failed = False
        self.errors = 0
        """Decisions that could not be written."""

    def write(self, report: DecisionReport) -> None:
        """Append one line. Where that fails, count it, and log the first failure."""
        line = json.dumps(as_json(report)).encode("ascii") + b"\n"
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


def as_json(report: DecisionReport) -> dict[str, object]:
    """Return a decision in the API's names, with its texts escaped."""
    called = report.p_called_party_id
    return {
        "at": report.at,
        "call_id": escape_untrusted(report.call_id),
        "method": escape_untrusted(report.method),
        "source": str(report.source),
        "ruri": escape_untrusted(report.ruri),
        "to": escape_untrusted(report.to) if report.to is not None else None,
        "p_called_party_id": escape_untrusted(called) if called is not None else None,
        "headers": [escape_untrusted(line) for line in report.headers.split("\n") if line],
        "decision": str(report.kind),
        "trunk": report.trunk,
        "rule": report.rule,
        "reason": report.reason,
        "message": report.message,
        "named": list(report.named),
        "from_cache": report.from_cache,
    }
