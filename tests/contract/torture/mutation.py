"""Random mutations of messages, as attackers or faults make them."""

import re
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]

CONTROLS = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\r",
    b"\r\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r",
    b"\r\n\n",
    b"\n\r\n",
    b"\r\n ",
    b"\r\n\t\r\n",
    b"\n ",
    b"\r ",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x85",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xa9",
    b"\xff",
    b"\xa0",
    b"\t",
    b" ",
    b"\x7f",
    b"\x08",
)
"""What ends a line for somebody, or looks like nothing."""

WHENCE_HEADERS = (b"X-Whence-Trunk", b"X-Whence-Source", b"X-Whence-Mac", b"X-Whence-Next-Hop")
"""Names that only Whence writes."""

COMPACT = {
    b"via": b"v",
    b"from": b"f",
    b"to": b"t",
    b"call-id": b"i",
    b"contact": b"m",
    b"content-length": b"l",
    b"content-type": b"c",
    b"subject": b"s",
    b"supported": b"k",
}
_LONG = {short: name for name, short in COMPACT.items()}

NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"69",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"9" * 40,
    b"0" * 30 + b"1",
    b"1e3",
    b"0x10",
    b"",
)

HOSTS = (
    b"127.0.0.1",
    b"127.0.0.1:5080",
    b"192.0.2.9",
    b"255.255.255.255",
    b"0.0.0.0",
    b"0.0.0.0:0",
    b"[::1]",
    b"[::ffff:127.0.0.1]:5060",
    b"name.example.com",
    b"localhost",
    b"a" * 300,
    b"1.2.3.4.5",
    b"%00",
    b"127.1",
    b"2130706433",
)

JUNK = (b";", b",", b"<", b">", b'"', b":", b"@", b"=", b"?", b"%", b"\\", b"(", b";;,;,,", b"%00")

_HOST = re.compile(rb"(?<=[@/: ])(?:\d+\.\d+\.\d+\.\d+|[a-z0-9.-]+\.example(?:\.\w+)?)(?::\d+)?")
_NUMBER = re.compile(rb"\d+")


def flipped(data: bytes, dice: Random) -> bytes:
    """Change one octet."""
    at = dice.randrange(len(data))
    return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]


def cut(data: bytes, dice: Random) -> bytes:
    """Remove a piece."""
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.choice([1, 1, 2, 4, 20, 200]) :]


def truncated(data: bytes, dice: Random) -> bytes:
    """Remove the end."""
    return data[: dice.randrange(1, len(data) + 1)]


def doubled(data: bytes, dice: Random) -> bytes:
    """Repeat a piece."""
    at = dice.randrange(len(data))
    end = at + dice.choice([1, 2, 8, 50, 400])
    return data[:end] + data[at:end] + data[end:]


def with_control(data: bytes, dice: Random) -> bytes:
    """Insert a character that ends a line for some parsers."""
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(CONTROLS) + data[at:]


def with_other_line_end(data: bytes, dice: Random) -> bytes:
    """End a line in another way."""
    ends = [found.start() for found in re.finditer(rb"\r\n", data)]
    if not ends:
        return with_control(data, dice)
    at = dice.choice(ends)
    return data[:at] + dice.choice(CONTROLS) + data[at + 2 :]


def with_junk(data: bytes, dice: Random) -> bytes:
    """Insert delimiters that parsers use."""
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(JUNK) * dice.choice([1, 1, 2, 30]) + data[at:]


def with_whence_header(data: bytes, dice: Random) -> bytes:
    """Insert an X-Whence header in an unusual place and form."""
    name = dice.choice(WHENCE_HEADERS)
    name = dice.choice([name, name.lower(), name.upper(), name.replace(b"W", b"w")])
    gap = dice.choice([b"", b"", b" ", b"\t", b"  ", b"\r\n "])
    header = name + gap + b":" + dice.choice([b" ", b"", b"\r\n ", b"\0"]) + b"forged"
    before = dice.choice([*CONTROLS, b"\r\n", b"\r\n", b"\r\n", b""])
    after = dice.choice([*CONTROLS, b"\r\n", b"\r\n", b"\r\n", b""])
    ends = [found.start() for found in re.finditer(rb"\r\n", data)]
    at = dice.choice(ends) if ends and dice.random() < 0.8 else dice.randrange(len(data) + 1)
    rest = data[at:]
    if rest.startswith(b"\r\n") and dice.random() < 0.5:
        rest = rest[2:]
    return data[:at] + before + header + after + rest


def _lines(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return the first line, the header lines, and all from the empty line on."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, lines, end + body


def _of_lines(data: bytes, change: Callable[[list[bytes]], None]) -> bytes:
    first, lines, rest = _lines(data)
    if not lines:
        return data
    change(lines)
    return b"\r\n".join([first, *lines]) + rest


def reordered(data: bytes, dice: Random) -> bytes:
    """Shuffle the headers."""
    return _of_lines(data, dice.shuffle)


def repeated(data: bytes, dice: Random) -> bytes:
    """Write a header again, once or very often."""

    def change(lines: list[bytes]) -> None:
        line = dice.choice(lines)
        at = dice.randrange(len(lines) + 1)
        lines[at:at] = [line] * dice.choice([1, 1, 1, 2, 60, 300])

    return _of_lines(data, change)


def dropped(data: bytes, dice: Random) -> bytes:
    """Remove a header."""
    return _of_lines(data, lambda lines: lines.remove(dice.choice(lines)))


def renamed(data: bytes, dice: Random) -> bytes:
    """Write a header's name in another way: compact, long, in other letters, with blanks."""

    def change(lines: list[bytes]) -> None:
        at = dice.randrange(len(lines))
        name, colon, value = lines[at].partition(b":")
        key = name.strip().lower()
        other = COMPACT.get(key) or _LONG.get(key) or key
        name = dice.choice([other, name.upper(), name.lower(), name.swapcase(), name + b" \t"])
        lines[at] = name + colon + value

    return _of_lines(data, change)


def folded(data: bytes, dice: Random) -> bytes:
    """Write a header in two lines."""

    def change(lines: list[bytes]) -> None:
        at = dice.randrange(len(lines))
        cut_at = dice.randrange(len(lines[at]) + 1)
        fold = dice.choice([b"\r\n ", b"\r\n\t", b"\r\n \r\n ", b"\r\n" + b" " * 200])
        lines[at] = lines[at][:cut_at] + fold + lines[at][cut_at:]

    return _of_lines(data, change)


def joined(data: bytes, dice: Random) -> bytes:
    """Make one line of two: as one value, as a list, or without anything between."""

    def change(lines: list[bytes]) -> None:
        at = dice.randrange(len(lines))
        lines[at : at + 2] = [dice.choice([b", ", b"", b";", b" "]).join(lines[at : at + 2])]

    return _of_lines(data, change)


def swapped(data: bytes, dice: Random) -> bytes:
    """Give a header the value of another."""

    def change(lines: list[bytes]) -> None:
        at = dice.randrange(len(lines))
        other = dice.choice(lines).partition(b":")[2]
        lines[at] = lines[at].partition(b":")[0] + b":" + other

    return _of_lines(data, change)


def lengthened(data: bytes, dice: Random) -> bytes:
    """Make a value, or a name, very long."""
    at = dice.randrange(len(data) + 1)
    what = dice.choice([b"a", b"%41", b"\t", b" ", b"(", b'"', b";x", b",", b"\xff", b"<"])
    return data[:at] + what * dice.choice([50, 300, 1200, 6000]) + data[at:]


def with_number(data: bytes, dice: Random) -> bytes:
    """Replace a number by one at a limit, such as 2**31."""
    return _replaced(data, _NUMBER, NUMBERS, dice)


def with_host(data: bytes, dice: Random) -> bytes:
    """Put another host in a host's place."""
    return _replaced(data, _HOST, HOSTS, dice)


def _replaced(data: bytes, what: re.Pattern[bytes], by: tuple[bytes, ...], dice: Random) -> bytes:
    found = list(what.finditer(data))
    if not found:
        return data
    start, end = dice.choice(found).span()
    return data[:start] + dice.choice(by) + data[end:]


MUTATIONS: tuple[Mutation, ...] = (
    flipped,
    cut,
    truncated,
    doubled,
    with_control,
    with_other_line_end,
    with_junk,
    with_whence_header,
    with_whence_header,
    with_whence_header,
    reordered,
    repeated,
    dropped,
    renamed,
    folded,
    joined,
    swapped,
    lengthened,
    with_number,
    with_host,
)

LONGEST = 40_000
"""Octets: a datagram of UDP has no more than 65 507."""


def mutated(data: bytes, dice: Random) -> bytes:
    """Apply one to four mutations to a message."""
    for _ in range(dice.choice([1, 1, 1, 2, 2, 3, 4])):
        data = dice.choice(MUTATIONS)(data, dice)[:LONGEST] or b"\0"
    return data
