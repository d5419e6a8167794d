"""Notices of unknown sources, besides decisions: one message each, which may be lost.

The reasons: a message that cannot be parsed, a flood, a wrong password, too many connections. The
agent counts notices (`whence unknown`, metrics) and logs a bounded number. The separator is that of
`ipc/decisions.py`. Text of the sender is the last field and cut; the reader has to escape it.
"""

from __future__ import annotations

from dataclasses import dataclass

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.sip.transport_address import TransportAddress
from whence.errors import InvalidReportError

PREFIX = b"n1\x1f"
"""The start of a notice. A message of decisions begins with its own version."""

DETAIL_LIMIT = 64
COUNT_LIMIT = 1 << 50

_SEPARATOR = "\x1f"
_FIELDS = 9


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice of one source. `at` in seconds since the epoch.

    `count`: how many times, since the last notice of it. `blocked_s`: for how many seconds the
    source is blocked now; 0: it is not. `detail`: of a wrong password the user.
    `left_out`: how many notices that process did not send before this one.
    """

    at: float
    reason: NoticeReason
    source: TransportAddress
    count: int = 1
    blocked_s: int = 0
    left_out: int = 0
    detail: str = ""


def message(notice: Notice) -> bytes:
    """Write one message."""
    source = notice.source
    fields = (
        str(int(notice.at * 1000)),
        notice.reason,
        source.transport,
        source.ip_text,
        str(source.port),
        str(notice.count),
        str(notice.blocked_s),
        str(notice.left_out),
        notice.detail[:DETAIL_LIMIT],
    )
    return PREFIX + _SEPARATOR.join(fields).encode("utf-8", "replace")


def read(data: bytes) -> Notice:
    """Read one message. Raises InvalidReportError if this version did not write it."""
    try:
        if not data.startswith(PREFIX):
            raise InvalidReportError("another version wrote it")
        fields = data[len(PREFIX) :].decode().split(_SEPARATOR, _FIELDS - 1)
        at_ms, reason, transport, ip, port, count, blocked_s, left_out, detail = fields
        return Notice(
            _count(at_ms) / 1000,
            NoticeReason(reason),
            TransportAddress.parse(f"{transport}:{f'[{ip}]' if ':' in ip else ip}:{port}"),
            _count(count),
            _count(blocked_s),
            _count(left_out),
            detail,
        )
    except ValueError as error:  # also UnicodeDecodeError, and unpacking a wrong number of fields
        raise InvalidReportError(str(error)[:200]) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 16 or int(text) > COUNT_LIMIT:
        raise InvalidReportError("a field is not a count")
    return int(text)
