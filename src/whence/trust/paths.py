"""Checks that other users cannot change a path. All rules about trusted paths are in this file.

The files of Whence hold keys, and decide to which trunk a call belongs. Many installations start
Whence as root. So a path is trusted only if root and we (the effective user) alone decide its
content:

- Each directory on the path belongs to root or to us, and other users may not write to it.
- An exception is a directory with the sticky bit, as /tmp. In it, other users cannot replace our
  entries. But links in it are not followed. The trusted directory itself may not be one.
- A symbolic link on the path must belong to root or to us. Other users may not write to its
  directory. The trusted directory itself may not be a link.
- A file is a regular file of root or us. It has one name, and other users may not write to it.

Each component is opened with O_PATH and O_NOFOLLOW, from / on, and checked through its descriptor.
Other users cannot add entries to a trusted directory. So SQLite and Kamailio can safely open its
entries by name.
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
from whence.trust.ownership import DATABASE_SUFFIXES

LINKS_LIMIT = 40
"""Most symbolic links on one path, as in Linux."""

Users = Collection[int]
"""Ids of the users whose files are trusted."""


def root_and_us() -> frozenset[int]:
    """Return the ids of root and of the effective user."""
    return frozenset({0, os.geteuid()})


def owner_too(file: Path) -> frozenset[int]:
    """Return the ids of root, of us, and of the owner of `file`.

    For a command that only reads the settings of another user.
    """
    with suppress(OSError):
        return root_and_us() | {file.stat().st_uid}
    return root_and_us()


def user_name(uid: int) -> str:
    """Return the name of a user, or the id if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# Directories.


@contextmanager
def directory(path: Path, users: Users | None = None, make: int | None = None) -> Iterator[int]:
    """Open a trusted directory, and close it at the end.

    `users`: whose files are trusted; None: of root and us. `make`: missing directories are made
    with this mode. Yields a descriptor, for use as `dir_fd`. Raises UntrustedError and OSError.
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
    """The end of a path, open as `fd`.

    `shared`: other users may add entries to its directory. `hidden`: some directory on the path
    does not let all users pass.
    """

    fd: int
    found: os.stat_result
    shared: bool
    hidden: bool


def _walk(path: Path, users: Users, make: int | None = None, follow: bool = False) -> _Walked:
    """Open each component from / to `path`, and check each directory.

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
                raise NotADirectoryError(  # noqa: TRY301 - the descriptor is closed below
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
    with suppress(FileExistsError):  # another process made it; the caller checks its owner
        os.mkdir(name, make, dir_fd=parent)
        os.chmod(name, make, dir_fd=parent)  # mkdir obeys our umask
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
        f"belongs to user {owner}, who can change its content",
        f"write another path, run this as user {owner}, or check its content and give it to "
        f"{us}: {give}",
    )


def _group_name(uid: int) -> str:
    try:
        return grp.getgrgid(pwd.getpwuid(uid).pw_gid).gr_name
    except KeyError:
        return ""  # chown then uses the login group of the user


def _check_on_the_way(path: Path, found: os.stat_result) -> bool:
    """Return whether others may add entries to a directory.

    Raises UntrustedError if they may also replace our entries.
    """
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
            "remove it, or write the path to which it leads",
        )
    if not follow:
        raise UntrustedError(
            path, "is a symbolic link", "remove it, or write the path to which it leads"
        )


def _others_write(found: os.stat_result) -> bool:
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _writable(path: Path, found: os.stat_result, mode: str) -> tuple[str, str]:
    return (
        f"may be written by other users (mode {stat.S_IMODE(found.st_mode):04o})",
        f"check its content, and then: chmod {mode} {shlex.quote(str(path))}",
    )


# Files that Whence writes into a trusted directory.

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

    `sockets`: they are sockets. A missing file is not a fault. Raises UntrustedError at the first
    file that another user can change.
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
        raise UntrustedError(path, "is a symbolic link", "check where it leads, and remove it")
    if not (stat.S_ISSOCK if socket else stat.S_ISREG)(found.st_mode):
        raise UntrustedError(
            path,
            f"is not a {'socket' if socket else 'regular file'}",
            "check what it is, and remove it",
        )
    _check_owner(path, found, root_and_us() if users is None else users)
    if found.st_nlink > 1:
        raise UntrustedError(
            path,
            f"has {found.st_nlink} names (hard links)",
            "check what it is, and remove it or replace it by a copy",
        )
    if _others_write(found) and not socket:
        raise UntrustedError(path, *_writable(path, found, "600"))


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file to write to it. It is made with `mode` if `flags` has O_CREAT.

    It must be a regular file of root or us, with one name, to which other users may not write.
    Raises UntrustedError without changing it, and OSError.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path)  # before opening it: opening a device can have effects
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
    """Make an empty SQLite database with mode 0600 if it is missing, and check its files.

    SQLite follows links, so the files are checked before SQLite opens them. An existing file is not
    opened: closing a second descriptor would release the locks of the first one (POSIX). Raises
    UntrustedError and OSError.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, _NEW, 0o600))
    for suffix in DATABASE_SUFFIXES:
        file = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            found = os.lstat(file)
            _check_no_directory(file, found)
            _check_file(file, found)
    path.chmod(0o600)


def write_whole(path: Path, text: str, mode: int = 0o600, dir_fd: int | None = None) -> None:
    """Write a file atomically. An existing file or link of this name is replaced, not followed.

    `dir_fd`: the descriptor of its directory, if that is open. Raises OSError.
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
    """Check a file that decides what Whence does.

    `secret`: it holds a secret. Returns a sentence if all users may read the secret, else an empty
    text. Raises UntrustedError if another user can change the file, and OSError.
    """
    walked = _walk(path, root_and_us() if users is None else users, follow=True)
    os.close(walked.fd)
    found = walked.found
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedError(path, "is not a regular file", "write the path of a regular file")
    if _others_write(found):
        raise UntrustedError(path, *_writable(path, found, "go-w"))
    if walked.shared and found.st_nlink > 1:
        raise UntrustedError(
            path, f"has {found.st_nlink} names (hard links)", "replace it by a copy"
        )
    if secret and found.st_mode & stat.S_IROTH and not walked.hidden:
        mode = stat.S_IMODE(found.st_mode)
        return (
            f"{path} holds a secret, and all users may read it (mode {mode:04o}); "
            f"chmod o-r {shlex.quote(str(path))}"
        )
    return ""
