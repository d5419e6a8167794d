"""Paths that no other user can change: the one place that says which paths Whence may use.

The files of Whence hold keys, and decide whose a call is. Root starts Whence in many places. So a
path counts only if nobody but root and ourselves (the effective user) decides what is found there:

- Each directory on the way belongs to root or to us, and nobody else may write to it. An exception
  is a directory with the sticky bit, as /tmp: there nobody can replace an entry of ours. The
  directory itself must not be one, and no link in one is followed.
- A symbolic link on the way is followed only where it is root's or ours, and nobody else could have
  put it there. The directory itself must be none.
- A file is a regular one, root's or ours, has one name, and nobody else may write to it.

Everything is looked at through descriptors (O_PATH, O_NOFOLLOW), from / on. Where a directory
passes, no other user can put anything into it: its entries are safe to use by name, which SQLite
and Kamailio need.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from whence.errors import UntrustedError

OF_DATABASE = ("", "-wal", "-shm", "-journal")
"""What SQLite adds to the name of a database for the files that it keeps beside it."""

LINKS_LIMIT = 40
"""How many symbolic links a path may have on its way (Linux)."""

Users = Collection[int]
"""The ids of the users who may decide."""


def root_and_us() -> frozenset[int]:
    """Give who is trusted: root, and the effective user."""
    return frozenset({0, os.geteuid()})


def owner_too(file: Path) -> frozenset[int]:
    """Give root, us, and the owner of a file: for who looks at what another user runs."""
    with suppress(OSError):
        return root_and_us() | {file.stat().st_uid}
    return root_and_us()


def user_name(uid: int) -> str:
    """Give the name of a user, or the id where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# Directories.


@contextmanager
def directory(path: Path, users: Users | None = None, make: int | None = None) -> Iterator[int]:
    """Open a trusted directory, and close it at the end.

    `users`: who may decide; None: root and we. `make`: the mode in which what is missing is made.
    Yields a descriptor, for use as `dir_fd`. UntrustedError, or OSError where it cannot be opened.
    """
    walked = _walk(path, root_and_us() if users is None else users, make=make)
    try:
        if not stat.S_ISDIR(walked.found.st_mode):
            kind = errno.ENOTDIR if make is None else errno.EEXIST
            raise OSError(kind, os.strerror(kind), str(path))
        if _others_write(walked.found):
            raise UntrustedError(path, *_writable(path, walked.found, "700"))
        yield walked.fd
    finally:
        os.close(walked.fd)


@dataclass(frozen=True, slots=True)
class _Walked:
    """Where a path led. `shared`: others may add entries to the directory that it is in.
    `hidden`: some directory on the way does not let all users through.
    """

    fd: int
    found: os.stat_result
    shared: bool
    hidden: bool


def _walk(path: Path, users: Users, make: int | None = None, follow: bool = False) -> _Walked:
    """Go from / to `path`, and check each directory on the way.

    `follow`: whether `path` itself may be a symbolic link.
    """
    _, *parts = path.absolute().parts
    todo, here, links = deque(parts), Path("/"), 0
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found, shared, hidden = os.fstat(fd), False, False
        _check_owner(here, found, users)
        while todo:
            name = todo.popleft()
            shared = _check_on_the_way(here, found)
            hidden |= not found.st_mode & stat.S_IXOTH
            child = _open_child(name, fd, make)
            entry = os.fstat(child)
            if stat.S_ISLNK(entry.st_mode):
                links += 1
                try:
                    _check_link(here / name, shared, follow=follow or bool(todo), links=links)
                    _check_owner(here / name, entry, users, on_the_way=True)
                    target = Path(os.readlink("", dir_fd=child))
                finally:
                    os.close(child)
                todo.extendleft(reversed(target.relative_to(target.anchor).parts))
                if target.is_absolute():
                    os.close(fd)
                    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                    here, found = Path("/"), os.fstat(fd)
                continue
            os.close(fd)
            fd, here, found = child, here / name, entry
            if todo and not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(  # noqa: TRY301 - what is open is closed below
                    errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)
                )
            _check_owner(here, found, users, on_the_way=bool(todo))
    except BaseException:
        os.close(fd)
        raise
    return _Walked(fd, found, shared, hidden)


def _open_child(name: str, parent: int, make: int | None) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if make is None:
            raise
    with suppress(FileExistsError):  # somebody was faster; who it was is checked
        os.mkdir(name, make, dir_fd=parent)
        os.chmod(name, make, dir_fd=parent)  # whatever our umask is
    return os.open(name, flags, dir_fd=parent)


def _check_owner(
    path: Path, found: os.stat_result, users: Users, *, on_the_way: bool = False
) -> None:
    if found.st_uid in users:
        return
    owner, us, at = user_name(found.st_uid), user_name(os.geteuid()), shlex.quote(str(path))
    give = f"chown {us}:{_group_name(os.geteuid())} {at}"
    if not on_the_way:
        give += f" && chmod {'700' if stat.S_ISDIR(found.st_mode) else '600'} {at}"
    raise UntrustedError(
        path,
        f"belongs to user {owner}, who can change what is there",
        f"name another path, run this as user {owner}, or look at what is there and give it to "
        f"{us}: {give}",
    )


def _group_name(uid: int) -> str:
    try:
        return grp.getgrgid(pwd.getpwuid(uid).pw_gid).gr_name
    except KeyError:
        return ""  # chown then takes the group that the user logs in with


def _check_on_the_way(path: Path, found: os.stat_result) -> bool:
    """Say whether others may add entries to a directory; refuse it where they may replace ours."""
    if not _others_write(found):
        return False
    if not found.st_mode & stat.S_ISVTX:
        raise UntrustedError(path, *_writable(path, found, "go-w"))
    return True


def _check_link(path: Path, shared: bool, *, follow: bool, links: int) -> None:
    if links > LINKS_LIMIT:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if shared:
        raise UntrustedError(
            path,
            "is a symbolic link in a directory that other users may write",
            "remove it, or name the path that it leads to",
        )
    if not follow:
        raise UntrustedError(
            path, "is a symbolic link", "remove it, or name the path that it leads to"
        )


def _others_write(found: os.stat_result) -> bool:
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _writable(path: Path, found: os.stat_result, mode: str) -> tuple[str, str]:
    return (
        f"may be written by other users (mode {stat.S_IMODE(found.st_mode):04o})",
        f"look at what is in it, and then: chmod {mode} {shlex.quote(str(path))}",
    )


# Files that Whence writes, in a directory that has passed.

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def check_entries(
    names: Iterable[str],
    place: Path,
    dir_fd: int,
    users: Users | None = None,
    *,
    sockets: bool = False,
) -> None:
    """Check the files of these names in the directory `place`, which is open as `dir_fd`.

    `sockets`: they are sockets. UntrustedError names the first that another user can change; what
    is not there is no fault.
    """
    for name in names:
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            _check_file(place / name, found, users, socket=sockets)


def _check_no_directory(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _check_file(
    path: Path, found: os.stat_result, users: Users | None = None, *, socket: bool = False
) -> None:
    """Check a file that is written to."""
    if stat.S_ISLNK(found.st_mode):
        raise UntrustedError(path, "is a symbolic link", "look where it leads, and remove it")
    if not (stat.S_ISSOCK if socket else stat.S_ISREG)(found.st_mode):
        raise UntrustedError(
            path,
            f"is no {'socket' if socket else 'regular file'}",
            "look at what it is, and remove it",
        )
    _check_owner(path, found, root_and_us() if users is None else users)
    if found.st_nlink > 1:
        raise UntrustedError(
            path,
            f"has {found.st_nlink} names (hard links)",
            "look at what it is, and remove it or put a copy in its place",
        )
    if _others_write(found) and not socket:
        raise UntrustedError(path, *_writable(path, found, "600"))


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file to write to it, and make it with this mode where `flags` say so.

    It must be a regular one, root's or ours, with one name, and nobody else's to write:
    UntrustedError, and nothing of it has been changed. OSError where it cannot be opened.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path)  # before it is opened: to open a device may do something
        _check_no_directory(path, found)
        _check_file(path, found)
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    try:
        _check_file(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_database(path: Path) -> None:
    """Make an empty SQLite database for us alone, where there is none, and check its files.

    SQLite follows links, so they are checked before it sees them. What is there is not opened:
    the end of a second descriptor would end the locks of the first. UntrustedError, OSError.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, _NEW, 0o600))
    for suffix in OF_DATABASE:
        file = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            found = os.lstat(file)
            _check_no_directory(file, found)
            _check_file(file, found)
    path.chmod(0o600)


def write_whole(path: Path, text: str, mode: int = 0o600, dir_fd: int | None = None) -> None:
    """Write a file whole, or not at all; another one in its place is replaced, never followed.

    `dir_fd`: its directory, where that is open.
    """
    name = str(path) if dir_fd is None else path.name
    unfinished = str(Path(name).with_name(f".{path.name}.{os.getpid()}"))
    with suppress(FileNotFoundError):
        os.unlink(unfinished, dir_fd=dir_fd)
    try:
        opened = os.open(unfinished, _NEW, 0o600, dir_fd=dir_fd)
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        os.replace(unfinished, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=dir_fd)


# Files that Whence reads.


def read_doubt(path: Path, users: Users | None = None, *, secret: bool = False) -> str:
    """Check a file that decides what Whence does; UntrustedError where another user writes it.

    `secret`: it holds a secret. Returns why it is none, or nothing. OSError where it is not there.
    """
    walked = _walk(path, root_and_us() if users is None else users, follow=True)
    os.close(walked.fd)
    found = walked.found
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedError(path, "is no regular file", "write a file of its own")
    if _others_write(found):
        raise UntrustedError(path, *_writable(path, found, "go-w"))
    if walked.shared and found.st_nlink > 1:
        raise UntrustedError(
            path, f"has {found.st_nlink} names (hard links)", "put a copy in its place"
        )
    if secret and found.st_mode & stat.S_IROTH and not walked.hidden:
        mode = stat.S_IMODE(found.st_mode)
        return (
            f"{path} holds a secret, and all users may read it (mode {mode:04o}); "
            f"chmod o-r {shlex.quote(str(path))}"
        )
    return ""
