"""As which user `whence run` runs, when root starts it.

Kamailio reads what unknown sources send. So neither it nor the agent runs as root, unless root asks
for that with `--user root`. Decision note 0043 has the reasons.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import stat

from whence.cli.service import console
from whence.errors import OperatorError

USER = "whence"
"""The user of a start without `--user`, if the state directory has no owner yet."""

STATE = "/var/lib/whence"
"""The state directory of a file that names none; `[agent] state_dir` has the same default."""

FILE_LIMIT = 64 << 20
"""The most bytes of a settings file that is read to find the state directory."""

_PR_SET_NO_NEW_PRIVS = 38


def become_user(file: str, name: str = "") -> None:
    """Become the user that runs Kamailio and the agent, for the rest of the process.

    `name`: the user that root asks for. Without it: the owner of the state directory that `file`
    names, if root gave it away. It is `whence` if root owns the directory or it does not exist.
    Another user than root stays itself.
    Raises: OperatorError.
    """
    if os.geteuid() != 0:
        _check_is(name)
        return
    user = _entry(name) if name else _default(file)
    if user.pw_uid == 0:
        return
    exists = os.access(file, os.F_OK)
    _drop_to(user)
    if exists and not os.access(file, os.R_OK):
        group = grp.getgrgid(user.pw_gid).gr_name
        raise OperatorError(
            f"{file} cannot be read by user {user.pw_name}, as whom whence run runs; let that user "
            f"read it and pass its directories: chgrp {group} {file} && chmod 640 {file}"
        )
    console.info(f"root started this; it runs as user {user.pw_name}")


def _check_is(name: str) -> None:
    if name and _entry(name).pw_uid != os.geteuid():
        raise OperatorError(
            f"only root can run this as user {name}; run it as that user: sudo -u {name} whence …"
        )


def _entry(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise OperatorError(
            f"there is no user {name}; make it: useradd --system --user-group --home-dir {STATE} "
            f"--shell /usr/sbin/nologin {name}"
        ) from None


def _default(file: str) -> pwd.struct_passwd:
    owner = _owner_of_state(file)
    if owner > 0:
        try:
            return pwd.getpwuid(owner)
        except KeyError:
            raise OperatorError(
                f"the state directory that {file} names belongs to user {owner}, who has no name; "
                "give it to a user, or write --user"
            ) from None
    try:
        return _entry(USER)
    except OperatorError as error:
        raise OperatorError(
            f"whence run does not run as root; {error}; or name a user: --user NAME (--user root "
            "is for containers)"
        ) from None


def _owner_of_state(file: str) -> int:
    """Return the owner of the state directory that a settings file names; 0: root, or no directory.

    A process of its own reads the file: a TOML parser would stay in the memory of this one. What it
    returns needs no trust. The user that it names checks the owner of file and directory again.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        owner = 0
        try:
            owner = _chosen_owner(file)
        except Exception:  # noqa: BLE001, S110 - the agent names the faults of the file
            pass
        finally:
            os.write(writing, str(owner).encode())
            os._exit(0)
    os.close(writing)
    answer = os.read(reading, 32)
    os.close(reading)
    os.waitpid(child, 0)
    return int(answer or 0)


def _chosen_owner(file: str) -> int:
    import tomllib
    from pathlib import Path

    from whence.trust.ownership import owner_chosen_by_root

    # Another user may have made the file: no FIFO and no device is waited for.
    opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        return 0
    with os.fdopen(opened, "rb") as text:
        tables = tomllib.loads(text.read(FILE_LIMIT).decode("utf-8-sig"))
    agent = tables.get("agent", {})
    return owner_chosen_by_root(Path(agent.get("state_dir", STATE)))


def _drop_to(user: pwd.struct_passwd) -> None:
    """Become a user, with its groups, and for good: no program regains rights (no_new_privs)."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)  # it clears the capabilities
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OperatorError("this kernel has no no_new_privs; run this as a user of its own")
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
