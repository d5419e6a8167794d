"""Selects the lines of Kamailio's log that are shown, so that unknown sources cannot flood it.

Kamailio's parsers write up to fourteen lines for one broken message, with bytes of it. Only the
line that names the source is shown, at most once a second and ten times a minute. Other places in
Kamailio's code may write twenty lines a minute each. The omitted lines are counted, and the counts
are shown after the minute, so no fault is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

WINDOW_S = 60.0
MESSAGE_LINES = 10
"""How many lines on messages are shown in a window; at most one a second."""

PLACE_LINES = 20
"""How many lines of one place in the code are shown in a window."""

PLACES_LIMIT = 200
"""How many places have their own count in a window. All others share one count."""

HEAD = re.compile(
    rb"\s*\d+\((?P<pid>\d{1,9})\) (?P<level>[A-Z]+): "
    rb"(?:\{(?P<source>[a-z]+:[0-9A-Fa-f.:\[\]]+:\d+)\} )?"
    rb"(?P<place><?\w+>? \[[\w./-]+:\d+\])?"
)
"""The start of a line of Kamailio: process, level, source of the message (log_prefix), place."""

OF_MESSAGES = re.compile(
    rb"<core> \[core/(?:parser/|receive\.c|msg_translator\.c|tcp_read\.c)"
    rb"|(?:sanity|maxfwd|kemix|registrar|auth|rr|siputils|textops|nathelper|pv) \["
    rb"|sl \[sl_funcs\.c|tm \[t_lookup\.c"
)
"""Places that write because of what the sender of a message wrote in it."""

PARSING_FAILED = b"receive_msg(): core parsing of SIP message failed"
"""The line with the source in its text: the parser failed before log_prefix had it."""

QUOTED = re.compile(rb"[\[<\"']")
"""The characters after which a line has bytes of the sender."""

OURS = re.compile(rb"core/kemi\.c")
"""The place of all lines that the edge itself logs. Their texts are counted separately."""

OURS_LENGTH = 60
"""How many characters of such a text distinguish it from others."""

UNANSWERED = re.compile(rb"receive_msg\(\): (?:required headers not found|no via found) in request")
"""Messages that Kamailio drops before any route of kamailio.cfg."""


def level_of(line: bytes) -> str:
    """Return the level that a line of Kamailio names; INFO where it names none."""
    head = HEAD.match(line)
    return head["level"].decode("ascii") if head is not None else "INFO"


class LogFilter:
    """Decides for each line whether it is shown. Instants are seconds of a monotonic clock.

    It is no dataclass: that import would take a tenth of the memory of `whence run`.
    """

    def __init__(self, is_kamailio: Callable[[int], bool] = lambda _pid: True) -> None:
        """`is_kamailio`: returns whether a pid is Kamailio's.

        A sender's bytes may imitate the start of a line.
        """
        self.is_kamailio = is_kamailio
        self.unreadable: list[str] = []
        """Sources, `transport:ip:port`, of messages that only the log names. The caller empties it.
        """
        self._begun_at: float | None = None
        self._shown_at = float("-inf")
        self._messages = 0
        self._left_out = 0
        self._places: dict[bytes, int] = {}
        self._shows_rest = True
        """Whether lines without a start are shown: they continue the last line with one."""

    def shown(self, line: bytes, now: float) -> bytes | None:
        """Return the part of a line that is shown; None if the line is omitted."""
        if self._begun_at is None:
            self._begun_at = now
        head = HEAD.match(line)
        if head is None or not self.is_kamailio(int(head["pid"])):
            return line if self._shows_rest else None
        place = head["place"] or b""
        if OF_MESSAGES.match(place):
            self._shows_rest = False
            return self._of_message(line, head, now)
        self._shows_rest = self._has_room(line, head, place)
        return line if self._shows_rest else None

    def _has_room(self, line: bytes, head: re.Match[bytes], place: bytes) -> bool:
        key = place
        if OURS.search(place):
            key += line[head.end() :][:OURS_LENGTH]
        key = key if len(self._places) < PLACES_LIMIT or key in self._places else b""
        count = self._places[key] = self._places.get(key, 0) + 1
        return count <= PLACE_LINES

    def _of_message(self, line: bytes, head: re.Match[bytes], now: float) -> bytes | None:
        if head["source"] and UNANSWERED.search(line):
            self.unreadable.append(head["source"].decode("ascii"))
        names_source = head["source"] or PARSING_FAILED in line
        if not names_source or self._messages >= MESSAGE_LINES or now - self._shown_at < 1.0:
            self._left_out += 1
            return None
        self._messages += 1
        self._shown_at = now
        return line[: head.end()] + QUOTED.split(line[head.end() :], maxsplit=1)[0]

    def over(self, now: float) -> Iterator[str]:
        """Yield the counts of a window that is over, and begin the next window."""
        if self._begun_at is None or now - self._begun_at < WINDOW_S:
            return
        if self._left_out:
            yield f"{self._left_out} lines on messages that cannot be read were left out"
        for place, count in self._places.items():
            if count > PLACE_LINES:
                where = place.decode("ascii", "replace") or "other places"
                yield f"{count - PLACE_LINES} more lines of {where} were left out"
        self._begun_at = now
        self._messages = self._left_out = 0
        self._places.clear()
