"""The key that encrypts the trunks' passwords in the directory, in a file beside it.

A copy of the database alone, as in a backup, then shows no password (docs/decisions/0035).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from whence.trust import paths

FILE = "credentials_key"

_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)


def make_key(folder: Path) -> str:
    """Return the key of a directory's folder, in hex. Make it if there is no valid one.

    Raises UntrustedError and OSError.
    """
    opened = paths.open_file(folder / FILE, os.O_RDWR | os.O_CREAT)
    with os.fdopen(opened, "r+", encoding="ascii", errors="replace") as file:
        os.fchmod(file.fileno(), 0o600)
        key = file.read()
        if _KEY.fullmatch(key):
            return key
        key = secrets.token_hex(32)
        file.seek(0)
        file.truncate()
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(folder: Path) -> str:
    """Return the key, in a worker of Kamailio. Raises OSError and ValueError without a valid one.

    The file must belong to root or to us, and no other user may read or write it.
    """
    opened = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(opened, encoding="ascii", errors="replace") as file:
        found = os.fstat(file.fileno())
        is_ours = found.st_uid in (0, os.geteuid()) and stat.S_ISREG(found.st_mode)
        if not is_ours or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise PermissionError(f"{folder / FILE} is not a file of this user alone, mode 0600")
        key = file.read()
    if not _KEY.fullmatch(key):
        raise ValueError(f"{folder / FILE} has no key; restart the agent, which makes one")
    return key
