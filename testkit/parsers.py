"""Readers of a SIP message's headers, each with another idea of where a line ends.

RFC 3261 7.3.1 has one way: CR LF. Targets are not so strict, and each in its own way. What an
attacker hides behind a line end that only some readers know, the edge may let pass as a part of a
value, and the target takes for a header of its own. So what reaches a target is given to all these.

A reader returns the fields in their order, names and values without the blanks around them. All of
them pass over line ends before the start line (RFC 3261 7.5).
"""

import re
from collections.abc import Callable, Iterator

from aiosipua.message import SipMessage

Field = tuple[str, str]
Reader = Callable[[bytes], list[Field]]


def fields(reader: Reader, data: bytes, name: str) -> list[str]:
    """Return the values of the headers of this name, as a reader sees them."""
    seen = reader(data.lstrip(b"\r\n"))
    return [value for header, value in seen if header.lower() == name.lower()]


def prefixed(reader: Reader, data: bytes, prefix: str) -> list[Field]:
    """Return the headers whose names begin so, as a reader sees them."""
    seen = reader(data.lstrip(b"\r\n"))
    return [field for field in seen if field[0].lower().startswith(prefix.lower())]


def strict(data: bytes) -> list[Field]:
    """RFC 3261: CR LF alone ends a line, blanks at its begin continue the one before."""
    return _folded(_head(data, b"\r\n\r\n").decode("latin-1").split("\r\n"))


def lf(data: bytes) -> list[Field]:
    """Each LF ends a line, a CR before it is left out; the first empty line ends the headers."""
    lines = (line.removesuffix("\r") for line in data.decode("latin-1").split("\n"))
    return _folded(_to_empty(lines))


def lf_with_crs(data: bytes) -> list[Field]:
    """Each LF ends a line, and CRs anywhere count for nothing."""
    return _folded(_to_empty(data.decode("latin-1").replace("\r", "").split("\n")))


def cr(data: bytes) -> list[Field]:
    """Each CR ends a line, an LF after it is left out."""
    lines = (line.removeprefix("\n") for line in data.decode("latin-1").split("\r"))
    return _folded(_to_empty(lines))


def either(data: bytes) -> list[Field]:
    """CR LF, CR or LF: each ends a line."""
    text = data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    return _folded(_to_empty(text.split("\n")))


def controls(data: bytes) -> list[Field]:
    """Whatever Python's `splitlines` knows ends a line, and so does a NUL; as Latin-1."""
    return _folded(_head(data, b"\r\n\r\n").decode("latin-1").replace("\0", "\n").splitlines())


def unicode_controls(data: bytes) -> list[Field]:
    """The same as UTF-8, which has two line ends more."""
    text = _head(data, b"\r\n\r\n").decode("utf-8", "replace")
    return _folded(text.replace("\0", "\n").splitlines())


def unfolded(data: bytes) -> list[Field]:
    """CR LF ends each line, and a line that begins with blanks is a header like any other."""
    return _each(_head(data, b"\r\n\r\n").decode("latin-1").split("\r\n"))


def unfolded_controls(data: bytes) -> list[Field]:
    """Both: any line end, and no folding."""
    return _each(_head(data, b"\r\n\r\n").decode("latin-1").replace("\0", "\n").splitlines())


def aiosipua(data: bytes) -> list[Field]:
    """Read with the library `aiosipua`; a message that it refuses has no headers."""
    try:
        message = SipMessage.parse(data)
    except ValueError:
        return []
    return [(name, value) for name, values in message.headers.items() for value in values]


def to_nul(data: bytes) -> list[Field]:
    """As in C: a NUL ends all."""
    return strict(data.partition(b"\0")[0])


def to_blank(data: bytes) -> list[Field]:
    """A line of blanks counts as empty, and ends the headers."""
    lines = data.decode("latin-1").split("\r\n")
    return _folded(_to_empty("" if not line.strip() else line for line in lines))


def to_empty_control(data: bytes) -> list[Field]:
    """Any line end, and two of them end the headers."""
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
"""Readers that may end before, or refuse a message: a header that stands further on they miss."""

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
    """Make fields of the lines after the start line; a line that begins with a blank continues."""
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
