"""Reports of `whence run` that it starts Kamailio again: one message each, which may be lost."""

from __future__ import annotations

from whence.core.text import escape_untrusted
from whence.errors import InvalidReportError

PREFIX = b"r1\x1f"
"""The start of a report. A message of decisions begins with its own version."""

REASON_LIMIT = 200


def message(reason: str) -> bytes:
    """Write one message. `reason` says how Kamailio ended."""
    return PREFIX + reason[:REASON_LIMIT].encode("utf-8", "replace")


def read(data: bytes) -> str:
    """Return the reason, escaped. Raises InvalidReportError if this version did not write it."""
    if not data.startswith(PREFIX):
        raise InvalidReportError("another version wrote it")
    try:
        return escape_untrusted(data[len(PREFIX) :].decode()[:REASON_LIMIT])
    except UnicodeDecodeError as error:
        raise InvalidReportError(str(error)[:REASON_LIMIT]) from None
