"""Whose files a worker opens: those of its own user, or root's.

The agent checks all of the path when it starts (paths.py). A worker of another user
would follow links that the directory's owner lays: Kamailio as root, for example.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

OF_DATABASE = ("", "-wal", "-shm", "-journal")
"""What SQLite adds to the name of a database for the files that it keeps beside it."""


def refuse_others(path: Path) -> None:
    """Check a database and its directory before it is opened.

    PermissionError where one of them, or a file of SQLite beside it, belongs to another user than
    root or ours, may be written by others, or is a symbolic link.
    """
    us = os.geteuid()
    for place in (path.parent, *(path.with_name(path.name + suffix) for suffix in OF_DATABASE)):
        try:
            found = place.lstat()
        except FileNotFoundError:
            continue
        if (
            found.st_uid not in (0, us)
            or stat.S_ISLNK(found.st_mode)
            or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        ):
            raise PermissionError(
                f"{place} is not of user {us} alone (owner {found.st_uid}, mode "
                f"{stat.S_IMODE(found.st_mode):04o}); run Kamailio and the agent as one user"
            )
