"""The files of a drop-in: the include, drop-in.toml, and the directory."""

from __future__ import annotations

import json
import os
import pwd
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from whence.agent.dropin.config import FILE as SETTINGS_FILE
from whence.agent.dropin.config import DropInConfig
from whence.agent.kamailio.config import SCRIPT
from whence.core.identification.address import GRACE_S
from whence.errors import OperatorError, StoreError
from whence.store.directory import FILE, Directory
from whence.store.uac import SharedDirectory
from whence.trust import paths
from whence.trust.paths import user_name

TEMPLATE = "drop_in.cfg.j2"
INCLUDE_FILE = "whence.cfg"
STATE = "state"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

MODULES = ("kemix", "app_python3")
"""Modules that the include loads, in this order, unless the operator's kamailio.cfg does."""


@dataclass(frozen=True, slots=True)
class ExistingKamailio:
    """What the include depends on in the operator's kamailio.cfg."""

    modules: frozenset[str] = frozenset()
    """Names of the modules that it loads, as `app_python3`."""
    own_event_route: bool = False
    """Whether it has an event_route[tm:local-request]."""
    failover: bool = False
    """Whether tm asks another server after a failure, and the file has no onsend_route."""


def script() -> Path:
    """Return the Python file that Kamailio runs. It stays in the installed package."""
    return Path(str(files("whence"))) / "kamailio" / SCRIPT


def render(folder: Path, existing: ExistingKamailio) -> str:
    """Return the text of the include file for a drop-in whose files are in `folder`."""
    kamailio = files("whence") / "kamailio"
    environment = Environment(  # noqa: S701 - it makes no HTML
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((kamailio / TEMPLATE).read_text()).render(
        file=folder.absolute() / INCLUDE_FILE,
        settings=json.dumps(
            {"directory": str(folder.absolute() / STATE / FILE), "grace_s": GRACE_S}
        ),
        modules=[module for module in MODULES if module not in existing.modules],
        script=script(),
        own_event_route=existing.own_event_route,
        failover=existing.failover,
    )


def prepare(folder: Path, existing: ExistingKamailio, user: str | None = None) -> None:
    """Make the folder, the include file and the directory. An existing directory is kept.

    `user`: as whom Kamailio runs. The directory belongs to this user alone.

    Raises: OperatorError: it says what to do.
    """
    state = folder / STATE
    text = render(folder, existing)  # as our own user: `user` may have no access to the package
    try:
        with _open(folder, user) as opened:
            _give(state, opened, user)
            with acting_as(user):
                state.chmod(0o700)
                Directory(state / FILE).close()
            paths.write_whole(folder / INCLUDE_FILE, text, 0o644, opened)
    except StoreError as error:
        raise OperatorError(str(error)) from error
    except OSError as error:
        raise OperatorError(
            f"{error.filename or folder} cannot be written: {error.strerror}; run this as a user "
            "that may, or name another folder"
        ) from None


def example(folder: Path, user: str | None) -> bool:
    """Write drop-in.toml for this user alone, unless it exists; return whether it was written."""
    file = folder / SETTINGS_FILE
    text = (files("whence") / "kamailio" / SETTINGS_FILE).read_text()
    try:
        with (
            _open(folder, user) as opened,
            os.fdopen(os.open(SETTINGS_FILE, _NEW, 0o600, dir_fd=opened), "w") as new,
        ):
            os.fchmod(new.fileno(), 0o600)  # the URL of a webhook is often a secret
            new.write(text)
            if user is not None and os.geteuid() == 0:
                known = pwd.getpwnam(user)
                os.fchown(new.fileno(), known.pw_uid, known.pw_gid)
    except FileExistsError:
        return False
    except OSError as error:
        raise OperatorError(
            f"{file} cannot be written: {error.strerror}; run this as a user that may, or name "
            "another folder"
        ) from None
    return True


def install(folder: Path, user: str | None, settings: DropInConfig) -> dict[str, int | None]:
    """Store the numbers, headers and networks of the file in the directory.

    Returns the accounts that have registered: l_uuid → the last grant in seconds; None: no grant.
    """
    try:
        with acting_as(user):
            directory = SharedDirectory(folder / STATE / FILE)
            try:
                permits = settings.permits(time.time())
                directory.install_numbers(settings.spellings(), settings.number_headers, permits)
                stored = directory.registrations()
            finally:
                directory.close()
    except StoreError as error:
        raise OperatorError(str(error)) from error
    return {id_: one.registration.granted_s for id_, one in stored.items()}


def kamailios_user(user: str | None) -> str | None:
    """Return the user as whom Kamailio runs; None: as the user of this process.

    `user` None: the one of Debian's service if this process is root's.

    Raises: OperatorError: there is no such user.
    """
    if user is None and os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user or "kamailio").pw_name
    except KeyError:
        if user is None:
            return None
        raise OperatorError(
            f"there is no user {user}; write as --user the one that Kamailio runs as"
        ) from None


@contextmanager
def acting_as(user: str | None) -> Iterator[None]:
    """Drop privileges in the context, so symlinks of this user cannot redirect root.

    Without root, or with `user` None, it does nothing.
    """
    if user is None or os.geteuid() != 0:
        yield
        return
    known, groups = pwd.getpwnam(user), os.getgroups()
    os.setgroups([])
    os.setegid(known.pw_gid)
    os.seteuid(known.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextmanager
def _open(folder: Path, user: str | None) -> Iterator[int]:
    """Open the folder, or make it; yields its descriptor.

    A folder of Kamailio's user is written as that user.

    Raises: UntrustedError: a third user could change the files, and Kamailio would run them.
    """
    try:
        is_users = user is not None and os.lstat(folder).st_uid == pwd.getpwnam(user).pw_uid
    except OSError:
        is_users = False
    with (
        acting_as(user if is_users else None),
        # Kamailio's user reads the include.
        paths.directory(folder, make=0o755) as opened,
    ):
        yield opened


def _give(state: Path, folder: int, user: str | None) -> None:
    """Make the state directory, and give it to the user, with the files that root made in it."""
    with suppress(FileExistsError):
        os.mkdir(STATE, 0o700, dir_fd=folder)
    found = os.stat(STATE, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        raise OperatorError(f"{state} is no folder; remove it, or name another DIR")
    wanted = pwd.getpwnam(user).pw_uid if user is not None else os.geteuid()
    owner = found.st_uid
    if owner == wanted:
        return
    if os.geteuid() != 0 or owner != 0:
        raise OperatorError(
            f"{state} belongs to user {user_name(owner)}, and not to {user_name(wanted)}; write as "
            "--user the one that Kamailio runs as, or name another DIR"
        )
    group = pwd.getpwuid(wanted).pw_gid
    with paths.directory(state) as opened:
        names = [path.name for path in state.iterdir()]
        for name in names:
            is_socket = stat.S_ISSOCK(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode)
            paths.check_entries((name,), state, opened, sockets=is_socket)
        for name in names:
            os.chown(name, wanted, group, dir_fd=opened, follow_symlinks=False)
    os.chown(STATE, wanted, group, dir_fd=folder, follow_symlinks=False)
