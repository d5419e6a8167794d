"""The drop-in's files: the include for an existing kamailio.cfg, and its directory."""

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
"""What the include needs and an ordinary kamailio.cfg has not loaded, in this order."""


@dataclass(frozen=True, slots=True)
class ExistingKamailio:
    """What the include must know of the kamailio.cfg that it is for."""

    modules: frozenset[str] = frozenset()
    """Modules that are loaded there, as `app_python3`."""
    own_event_route: bool = False
    """Whether there is an event_route[tm:local-request]."""
    failover: bool = False
    """Whether tm asks another server where one fails, and no onsend_route of theirs is there."""


def script() -> Path:
    """The Python file that Kamailio runs; it stays in the installed package."""
    return Path(str(files("whence"))) / "kamailio" / SCRIPT


def render(folder: Path, theirs: ExistingKamailio) -> str:
    """Write the include file for a drop-in whose files are in `folder`."""
    kamailio = files("whence") / "kamailio"
    environment = Environment(  # noqa: S701 - it makes no HTML
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((kamailio / TEMPLATE).read_text()).render(
        file=folder.absolute() / INCLUDE_FILE,
        settings=json.dumps(
            {"directory": str(folder.absolute() / STATE / FILE), "grace_s": GRACE_S}
        ),
        modules=[module for module in MODULES if module not in theirs.modules],
        script=script(),
        own_event_route=theirs.own_event_route,
        failover=theirs.failover,
    )


def prepare(folder: Path, theirs: ExistingKamailio, user: str | None = None) -> None:
    """Make the folder, the include file and the directory; what is there of the last one stays.

    `user`: as whom Kamailio runs; the directory is this user's alone. OperatorError says what
    to do.
    """
    state = folder / STATE
    text = render(folder, theirs)  # before we are another user, who may not reach our package
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
    """Write drop-in.toml where it is not there yet, for this user alone; whether it was written."""
    file = folder / SETTINGS_FILE
    text = (files("whence") / "kamailio" / SETTINGS_FILE).read_text()
    try:
        with (
            _open(folder, user) as opened,
            os.fdopen(os.open(SETTINGS_FILE, _NEW, 0o600, dir_fd=opened), "w") as new,
        ):
            os.fchmod(new.fileno(), 0o600)  # the path of a webhook is often a secret
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
    """Make the numbers those of the file. Returns what has registered: l_uuid → for how many
    seconds it was granted last, None where nothing is.
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
    """As whom Kamailio runs: `user`, or as Debian starts it where we are root; None: as we do."""
    if user is None and os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user or "kamailio").pw_name
    except KeyError:
        if user is None:
            return None
        raise OperatorError(
            f"there is no user {user}; name the one that Kamailio runs as"
        ) from None


@contextmanager
def acting_as(user: str | None) -> Iterator[None]:
    """Be this user while inside, where we are root: a link that he made leads root nowhere."""
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
    """Open the folder, and make it where there is none; yields its descriptor.

    What belongs to Kamailio's user is written as that user. UntrustedError where a third one could
    change what is there: Kamailio would run it.
    """
    try:
        is_theirs = user is not None and os.lstat(folder).st_uid == pwd.getpwnam(user).pw_uid
    except OSError:
        is_theirs = False
    with (
        acting_as(user if is_theirs else None),
        # Kamailio's user reads the include.
        paths.directory(folder, make=0o755) as opened,
    ):
        yield opened


def _give(state: Path, folder: int, user: str | None) -> None:
    """Make the state directory, and make it this user's: what root made there goes along."""
    with suppress(FileExistsError):
        os.mkdir(STATE, 0o700, dir_fd=folder)
    found = os.stat(STATE, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        raise OperatorError(f"{state} is no folder of its own; remove it, or name another DIR")
    wanted = pwd.getpwnam(user).pw_uid if user is not None else os.geteuid()
    owner = found.st_uid
    if owner == wanted:
        return
    if os.geteuid() != 0 or owner != 0:
        raise OperatorError(
            f"{state} belongs to user {user_name(owner)}, and not to {user_name(wanted)}; name as "
            "--user as whom Kamailio runs, or another DIR"
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
