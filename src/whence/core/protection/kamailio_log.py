"""Which of Kamailio's log lines are shown: unknown sources cause a bounded number of them.

Kamailio's parsers write up to fourteen lines for one broken message, with its bytes in them. Of
those only the one that names the source is shown, and of these at most one a second and ten a
minute. Of any other place in Kamailio's code at most twenty lines a minute are shown. What was left
out is counted, and the counts are told when the minute is over; so a fault is never hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

WINDOW_S = 60.0
MESSAGE_LINES = 10
"""Lines on messages that are shown in a window; at most one in each second of it."""

PLACE_LINES = 20
"""Lines of one place in the code that are shown in a window."""

PLACES_LIMIT = 200
"""How many places are told apart in a window; the lines of others count together."""

HEAD = re.compile(
    rb"\s*\d+\((?P<pid>\d{1,9})\) [A-Z]+: (?:\{(?P<source>[a-z]+:[0-9A-Fa-f.:\[\]]+:\d+)\} )?"
    rb"(?P<place><?\w+>? \[[\w./-]+:\d+\])?"
)
"""How a line of Kamailio begins: process, level, source of the message (log_prefix), place."""

OF_MESSAGES = re.compile(
    rb"<core> \[core/(?:parser/|receive\.c|msg_translator\.c|tcp_read\.c)"
    rb"|(?:sanity|maxfwd|kemix|registrar|auth|rr|siputils|textops|nathelper) \["
    rb"|sl \[sl_funcs\.c|tm \[t_lookup\.c"
)
"""Places that write about the message at hand, where its sender made it so."""

PARSING_FAILED = b"receive_msg(): core parsing of SIP message failed"
"""The line that names its source by itself: it is not known before."""

QUOTED = re.compile(rb"[\[<\"']")
"""What begins the bytes of a sender, behind the place."""

OURS = re.compile(rb"core/kemi\.c")
"""Where all that the edge itself logs comes from: what it says tells it apart."""

OURS_LENGTH = 60

UNANSWERED = re.compile(rb"receive_msg\(\): (?:required headers not found|no via found) in request")
"""Messages that no route of kamailio.cfg sees."""


@dataclass
class LogFilter:
    """Decides on each line in turn. Instants are seconds of a monotonic clock."""

    is_kamailio: Callable[[int], bool] = lambda _pid: True
    """Whether a process is Kamailio's: the bytes of a sender may look like the head of a line."""
    unreadable: list[str] = field(default_factory=list)
    """Sources, `transport:ip:port`, of messages that only the log told of; the caller takes them.
    """
    _begun_at: float | None = None
    _shown_at: float = float("-inf")
    _messages: int = 0
    _left_out: int = 0
    _places: dict[bytes, int] = field(default_factory=dict)
    _shows_rest: bool = True
    """Whether lines without a head are shown: they belong to the last one that had one."""

    def shown(self, line: bytes, now: float) -> bytes | None:
        """Return what is shown of a line; None where it is left out."""
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
        """Yield what is to be told of a window that is over, and begin the next one."""
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
