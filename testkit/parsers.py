"""Readers of the headers of a SIP message. Each accepts other line ends.

RFC 3261 7.3.1 allows one line end: CR LF. Targets are less strict, each in its own way. An attacker
hides a header behind a line end that only some readers know. The edge may relay it as a part of a
value, and the target may read it as a header. So tests give what reaches a target to all readers.

A reader returns the fields in their order. Names and values have no blanks around them. Each reader
skips line ends before the start line (RFC 3261 7.5).
"""

import re
from collections.abc import Callable, Iterator

from aiosipua.message import SipMessage

Field = tuple[str, str]
Reader = Callable[[bytes], list[Field]]


def fields(reader: Reader, data: bytes, name: str) -> list[str]:
    """Return the values of the headers with this name, as a reader sees them."""
    seen = reader(data.lstrip(b"\r\n"))
    return [value for header, value in seen if header.lower() == name.lower()]


def prefixed(reader: Reader, data: bytes, prefix: str) -> list[Field]:
    """Return the headers whose names have this prefix, as a reader sees them."""
    seen = reader(data.lstrip(b"\r\n"))
    return [field for field in seen if field[0].lower().startswith(prefix.lower())]


def strict(data: bytes) -> list[Field]:
    """Read as RFC 3261: only CR LF ends a line; a line that begins with a blank continues."""
    return _folded(_head(data, b"\r\n\r\n").decode("latin-1").split("\r\n"))


def lf(data: bytes) -> list[Field]:
    """Read with LF as line end, without a CR before it. The first empty line ends the headers."""
    lines = (line.removesuffix("\r") for line in data.decode("latin-1").split("\n"))
    return _folded(_to_empty(lines))


def lf_with_crs(data: bytes) -> list[Field]:
    """Read with LF as line end, and drop each CR."""
    return _folded(_to_empty(data.decode("latin-1").replace("\r", "").split("\n")))


def cr(data: bytes) -> list[Field]:
    """Read with CR as line end, without an LF after it."""
    lines = (line.removeprefix("\n") for line in data.decode("latin-1").split("\r"))
    return _folded(_to_empty(lines))


def either(data: bytes) -> list[Field]:
    """Read with CR LF, CR and LF as line ends."""
    text = data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    return _folded(_to_empty(text.split("\n")))


def controls(data: bytes) -> list[Field]:
    """Read Latin-1 with NUL and the line ends of Python's `splitlines`."""
    return _folded(_head(data, b"\r\n\r\n").decode("latin-1").replace("\0", "\n").splitlines())


def unicode_controls(data: bytes) -> list[Field]:
    """Read UTF-8 with NUL and the line ends of `splitlines`; UTF-8 has two more."""
    text = _head(data, b"\r\n\r\n").decode("utf-8", "replace")
    return _folded(text.replace("\0", "\n").splitlines())


def unfolded(data: bytes) -> list[Field]:
    """Read with CR LF as line end; a line that begins with a blank is a header too."""
    return _each(_head(data, b"\r\n\r\n").decode("latin-1").split("\r\n"))


def unfolded_controls(data: bytes) -> list[Field]:
    """Read with NUL and the line ends of `splitlines`, without continued lines."""
    return _each(_head(data, b"\r\n\r\n").decode("latin-1").replace("\0", "\n").splitlines())


def aiosipua(data: bytes) -> list[Field]:
    """Read with the library `aiosipua`; a message that it refuses has no headers."""
    try:
        message = SipMessage.parse(data)
    except ValueError:
        return []
    return [(name, value) for name, values in message.headers.items() for value in values]


def to_nul(data: bytes) -> list[Field]:
    """Read to the first NUL, as C does."""
    return strict(data.partition(b"\0")[0])


def to_blank(data: bytes) -> list[Field]:
    """Read to the first line of blanks, which counts as empty."""
    lines = data.decode("latin-1").split("\r\n")
    return _folded(_to_empty("" if not line.strip() else line for line in lines))


def to_empty_control(data: bytes) -> list[Field]:
    """Read to the first two line ends of any kind."""
    return _folded(_to_empty(data.decode("latin-1").replace("\0", "\n").splitlines()))


WHOLE: dict[str, Reader] = {
    "strict": strict,
    "LF": lf,
    "LF, no CR": lf_with_crs,
    "CR": cr,
    "CR or LF": either,
    "controls": controls,
    "controls in UTF-8": unicode_controls,
    "unfolded": unfolded,
    "unfolded, controls": unfolded_controls,
}
"""Readers that read the header part to its end."""

SHORT: dict[str, Reader] = {
    "aiosipua": aiosipua,
    "to a NUL": to_nul,
    "to a blank line": to_blank,
    "to two controls": to_empty_control,
}
"""Readers that may stop before the end, or refuse a message: they may miss a header."""

READERS = WHOLE | SHORT


def _head(data: bytes, end: bytes) -> bytes:
    return data.partition(end)[0]


def _to_empty(lines: "Iterator[str] | list[str]") -> Iterator[str]:
    for line in lines:
        if not line:
            return
        yield line


_LEADING = re.compile(r"[ \t]")


def _folded(lines: "Iterator[str] | list[str]") -> list[Field]:
    """Return the fields after the start line; a line that begins with a blank continues."""
    joined: list[str] = []
    for line in lines:
        if joined and _LEADING.match(line):
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return _each(joined)


def _each(lines: list[str]) -> list[Field]:
    parts = (line.partition(":") for line in lines[1:])
    return [(name.strip(), value.strip()) for name, colon, value in parts if colon]
