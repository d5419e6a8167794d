"""Checks the owner of a database before a worker of Kamailio opens it.

The agent checks the whole path when it starts (paths.py). A worker of another user, as Kamailio as
root, would follow links that the directory's owner makes. So a worker accepts only files of its own
user or of root.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

ROOT = 0

DATABASE_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files of an SQLite database."""


def owner_chosen_by_root(directory: Path) -> int:
    """Return the owner of a directory that root made or gave away; 0: root, or another case.

    Only root can have placed it: each directory above it is root's, and no other user may write
    there. In /tmp another user could have made it. Raises OSError.
    """
    found = directory.lstat()
    for above in directory.absolute().parents:
        one = above.lstat()
        if one.st_uid != ROOT or one.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return ROOT
    return found.st_uid if stat.S_ISDIR(found.st_mode) else ROOT


def refuse_others(path: Path) -> None:
    """Check a database, its directory and the files that SQLite adds.

    Each must belong to root or to us, and may not be a symbolic link. Others may not write to it.
    Raises PermissionError.
    """
    us = os.geteuid()
    for place in (
        path.parent,
        *(path.with_name(path.name + suffix) for suffix in DATABASE_SUFFIXES),
    ):
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
