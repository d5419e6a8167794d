"""The drop-in's files: the include for an existing kamailio.cfg, and its directory."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from whence.agent.directory import FILE, Directory, DirectoryError
from whence.agent.edge_config import SCRIPT
from whence.agent.faults import ProblemError
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
        script=kamailio / SCRIPT,
        own_event_route=theirs.own_event_route,
    )


def prepare(folder: Path, theirs: Theirs, user: str | None = None) -> None:
    """Make the folder, the include file and the directory; what is there of the last one stays.

    `user`: as whom Kamailio runs; the directory is this user's alone. ProblemError says what to do.
    """
    state = folder / STATE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        state.chmod(0o700)
        directory = Directory(state / FILE)
        directory.close()
        (folder / INCLUDE_FILE).write_text(render(folder, theirs))
        if user is not None:
            _give(state, user)
    except DirectoryError as error:
        raise ProblemError(str(error)) from error
    except OSError as error:
        raise ProblemError(
            f"{error.filename or folder} cannot be written: {error.strerror}; run this as a user "
            "that may, or name another folder"
        ) from None


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


def _give(state: Path, user: str) -> None:
    for path in (state, *state.iterdir()):
        shutil.chown(path, user)
