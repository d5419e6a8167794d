"""What Kamailio's look-out acknowledges: the generation for which Kamailio answers calls itself.

The look-out is the process of Kamailio that publishes the generation to its workers
(edge/look_out.py). It writes what it has published into a file beside the directory, and holds a
lock on that file. The agent reads it before it says that a trunk or an address is gone.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from whence.store.schema import GENERATION_BYTES
from whence.trust import paths

FILE = "look-out"
"""The file of the acknowledgement, beside the directory."""

SOCKET_FILE = "look-out.sock"
"""The socket of the look-out. A datagram of any content wakes it."""

PUBLISHED_S = 2
"""How long a published generation is valid in Kamailio at most, if it is not published again."""

PENDING = bytes(GENERATION_BYTES)
"""Written instead of a generation: a new one is published, and not acknowledged yet."""

_MARGIN_S = 0.5
_FORMAT = f"={GENERATION_BYTES}sQ"
"""The generation, and when it was published: nanoseconds of the monotonic clock."""


class Acknowledgement:
    """The file, open in the look-out. Only one process has it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, and lock it. Raises UntrustedError and OSError."""
        self._descriptor = paths.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self.close()
            raise

    def write(self, generation: bytes) -> None:
        """Say that a generation was published now, and that no other one is valid in Kamailio.

        `generation`: PENDING until that is true. Raises OSError.
        """
        os.pwrite(self._descriptor, struct.pack(_FORMAT, generation, time.monotonic_ns()), 0)

    def close(self) -> None:
        """Close the file, which ends the lock."""
        os.close(self._descriptor)


def is_acknowledged(path: Path, generation: bytes) -> bool:
    """Return whether no other generation than this one is valid in Kamailio.

    Either the look-out has acknowledged it, or no look-out runs and what the last one published has
    expired. Raises OSError if the file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        written = os.pread(descriptor, struct.calcsize(_FORMAT), 0)
        if len(written) < struct.calcsize(_FORMAT):
            acknowledged, at_ns = b"", 0
        else:
            acknowledged, at_ns = struct.unpack(_FORMAT, written)
        return acknowledged == generation or (_is_free(descriptor) and _is_over(at_ns))
    finally:
        os.close(descriptor)


def wake(path: Path) -> None:
    """Wake the look-out whose socket is at `path`, if there is one. It also wakes by itself."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(b"", str(path))


def _is_free(descriptor: int) -> bool:
    """Return whether no look-out holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _is_over(at_ns: int) -> bool:
    """Return whether what was published then has expired. The clock begins anew at each boot."""
    now_ns = time.monotonic_ns()
    return not 0 <= now_ns - at_ns <= (PUBLISHED_S + _MARGIN_S) * 1e9
