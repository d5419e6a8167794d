"""The drop-in's files: the include for an existing kamailio.cfg, and its directory."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from whence.agent.directory import FILE, Directory, DirectoryError
from whence.agent.drop_in_settings import FILE as SETTINGS_FILE
from whence.agent.drop_in_settings import DropIn
from whence.agent.edge_config import SCRIPT
from whence.agent.faults import ProblemError
from whence.agent.shared_directory import SharedDirectory
from whence.core.address import GRACE_S

TEMPLATE = "drop_in.cfg.j2"
INCLUDE_FILE = "whence.cfg"
STATE = "state"

MODULES = ("kemix", "app_python3")
"""What the include needs and an ordinary kamailio.cfg has not loaded, in this order."""


@dataclass(frozen=True, slots=True)
class Theirs:
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


def render(folder: Path, theirs: Theirs) -> str:
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


def prepare(folder: Path, theirs: Theirs, user: str | None = None) -> None:
    """Make the folder, the include file and the directory; what is there of the last one stays.

    `user`: as whom Kamailio runs; the directory is this user's alone. ProblemError says what to do.
    """
    state = folder / STATE
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o755)  # Kamailio's user reads the include, whatever our umask is
        _give(state, user)
        with acting_as(user):
            state.chmod(0o700)
            Directory(state / FILE).close()
        _replace(folder / INCLUDE_FILE, render(folder, theirs))
    except DirectoryError as error:
        raise ProblemError(str(error)) from error
    except OSError as error:
        raise ProblemError(
            f"{error.filename or folder} cannot be written: {error.strerror}; run this as a user "
            "that may, or name another folder"
        ) from None


def example(folder: Path, user: str | None) -> bool:
    """Write drop-in.toml where it is not there yet, for this user alone; whether it was written."""
    file = folder / SETTINGS_FILE
    try:
        with file.open("x", encoding="utf-8") as new:  # nor through a link
            os.fchmod(new.fileno(), 0o600)  # the path of a webhook is often a secret
            new.write((files("whence") / "kamailio" / SETTINGS_FILE).read_text())
            if user is not None and os.geteuid() == 0:
                known = pwd.getpwnam(user)
                os.fchown(new.fileno(), known.pw_uid, known.pw_gid)
    except FileExistsError:
        return False
    except OSError as error:
        raise ProblemError(
            f"{file} cannot be written: {error.strerror}; run this as a user that may, or name "
            "another folder"
        ) from None
    return True


def install(folder: Path, user: str | None, settings: DropIn) -> dict[str, int | None]:
    """Make the numbers those of the file. Returns what has registered: l_uuid → for how many
    seconds it was granted last, None where nothing is.
    """
    try:
        with acting_as(user):
            directory = SharedDirectory(folder / STATE / FILE)
            try:
                directory.install_numbers(settings.spellings(), settings.permits(time.time()))
                stored = directory.registrations()
            finally:
                directory.close()
    except DirectoryError as error:
        raise ProblemError(str(error)) from error
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
        raise ProblemError(f"there is no user {user}; name the one that Kamailio runs as") from None


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


def _give(state: Path, user: str | None) -> None:
    """Make the state directory, and make it this user's: what root made there goes along."""
    if not state.is_symlink() and not state.exists():
        state.mkdir(mode=0o700)
    if state.is_symlink() or not state.is_dir():
        raise ProblemError(f"{state} is no folder of its own; remove it, or name another DIR")
    wanted = pwd.getpwnam(user).pw_uid if user is not None else os.geteuid()
    owner = state.stat().st_uid
    if owner == wanted:
        return
    if os.geteuid() != 0 or owner != 0:
        raise ProblemError(
            f"{state} belongs to user {_name(owner)}, and not to {_name(wanted)}; name as --user "
            "as whom Kamailio runs, or another DIR"
        )
    group = pwd.getpwuid(wanted).pw_gid
    for path in (*state.iterdir(), state):
        os.chown(path, wanted, group, follow_symlinks=False)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _replace(path: Path, text: str) -> None:
    """Write a file that Kamailio reads: whole, or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("x", encoding="utf-8") as file:
            file.write(text)
        unfinished.chmod(0o644)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
