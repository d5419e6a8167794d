"""The state directory: made for this user alone, and checked before anything is written there."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from whence.agent.kamailio.start import CONFIG_FILE, LOCATION_FILE, TLS_FILE
from whence.agent.runtime.lock import LOCK_FILE, RUN_LOCK_FILE
from whence.errors import OperatorError, UntrustedError
from whence.ipc.decisions import SOCKET_FILE
from whence.store import look_out, provisioned
from whence.store.directory import FILE
from whence.store.schema import GENERATION_FILE
from whence.trust import paths
from whence.trust.ownership import DATABASE_SUFFIXES, ROOT, owner_chosen_by_root
from whence.trust.paths import Users, user_name

API_FILES = (
    *("api-tokens.json", "api-tokens.lock", "audit.json", "audit.json.1", "provisioned.key"),
    *(provisioned.FILE + suffix for suffix in DATABASE_SUFFIXES),
)
"""The files of agent.access, and of what the API provisioned."""

STATE_FILES = (
    *(FILE + suffix for suffix in DATABASE_SUFFIXES),
    *(LOCATION_FILE + suffix for suffix in DATABASE_SUFFIXES),
    *(GENERATION_FILE, look_out.FILE, CONFIG_FILE, TLS_FILE, LOCK_FILE, RUN_LOCK_FILE),
    *API_FILES,
)
"""Every file that is opened or made in a state directory, the sockets excepted."""


def prepare_state(state: Path) -> None:
    """Make the state directory for this user alone, and check each file in it.

    Another user may have placed a file or a link there.
    Raises: OperatorError where it cannot be made, or where another user can change its contents.
    """
    os.umask(0o077)
    try:
        with paths.directory(state, make=0o700) as opened:
            writable = _takes_files(opened)
            if writable:
                _check_state_files(state, opened)
    except UntrustedError as error:
        if _is_read_only(state):
            raise _cannot_be_written(state) from None
        raise _cannot_be_used(state, error) from None
    except OSError as error:
        us = user_name(os.geteuid())
        by = f": install -d -m 700 -o {us} {state}" if isinstance(error, PermissionError) else ""
        raise OperatorError(
            f"the state directory {state} cannot be made: {error.strerror}; make it for this "
            f"user{by}, or name another one as agent state_dir"
        ) from None
    if not writable:
        raise _cannot_be_written(state)


def state_doubt(state: Path, users: Users) -> str:
    """Check a state directory that another user may use, and change nothing.

    Returns an advice where it belongs to none of the expected `users`; else an empty text.
    Raises: OperatorError where a third user can change its contents.
    """
    try:
        owner = os.lstat(state).st_uid
    except OSError:
        owner = os.geteuid()
    try:
        with paths.directory(state, {*users, owner}):
            pass
    except UntrustedError as error:
        raise _cannot_be_used(state, error) from None
    except OSError:
        return ""  # missing, or not readable by us: the start reports it
    if owner in users or (os.geteuid() == ROOT and owner == owner_chosen_by_root(state)):
        return ""  # `whence run` of root becomes that owner
    name = user_name(owner)
    return (
        f"the state directory {state} belongs to user {name}; run Kamailio and the agent as that "
        "user, or name another one as agent state_dir"
    )


def _cannot_be_written(state: Path) -> OperatorError:
    us = os.geteuid()
    by = f": chown -R {user_name(us)}: {state}" if state.stat().st_uid != us else ""
    return OperatorError(
        f"the state directory {state} cannot be written; give it to this user{by}, or name another "
        "one as agent state_dir"
    )


def _is_read_only(state: Path) -> bool:
    try:
        return bool(os.statvfs(state).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _cannot_be_used(state: Path, error: UntrustedError) -> OperatorError:
    reason = error.why if error.path == state else f"cannot be used: {error.path} {error.why}"
    return OperatorError(f"the state directory {state} {reason}; {error.cure}")


def _check_state_files(state: Path, opened: int) -> None:
    try:
        paths.check_entries(STATE_FILES, state, opened)
        paths.check_entries((SOCKET_FILE, look_out.SOCKET_FILE), state, opened, sockets=True)
    except UntrustedError as error:
        raise OperatorError(
            f"{error.path} cannot be written: it {error.why}; {error.cure}"
        ) from None


def _takes_files(opened: int) -> bool:
    """Return whether files can be made there.

    os.access alone is not enough: it permits root to write on a read-only file system.
    """
    if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=opened):
        return False
    probe = f".probe.{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=opened))
        os.unlink(probe, dir_fd=opened)
    except OSError:
        return False
    return True


def become_owner(state: Path) -> None:
    """Run as the owner of a state directory, since Kamailio and the agent both write there.

    Root becomes that user for the rest of the process.
    Raises: OperatorError for another user, where the directory does not exist, and where a third
    user can change its contents.
    """
    try:
        owner = os.lstat(state).st_uid
        with paths.directory(state, {0, owner}) as opened:
            found = os.fstat(opened)
    except UntrustedError as error:
        raise _cannot_be_used(state, error) from None
    except OSError as error:
        raise OperatorError(
            f"the state directory {state} cannot be read: {error.strerror}; make it with: "
            f"whence drop-in {state.parent}"
        ) from None
    if found.st_uid == os.geteuid():
        return
    name = user_name(found.st_uid)
    if os.geteuid() != 0:
        raise OperatorError(
            f"the state directory {state} belongs to {name}, as whom Kamailio runs; run this as "
            f"that user: sudo -u {name} whence …"
        )
    try:  # not the directory's group: its owner may not be a member
        group = pwd.getpwuid(found.st_uid).pw_gid
    except KeyError:
        group = found.st_gid
    os.setgroups([])
    os.setgid(group)
    os.setuid(found.st_uid)
