"""Run a program with the restrictions of a unit that a kernel can make without systemd.

    /usr/bin/python3 sandbox.py whence.service PROGRAM ARGUMENT…

It applies User, CapabilityBoundingSet, NoNewPrivileges, UMask, SystemCallFilter,
SystemCallErrorNumber, MemoryDenyWriteExecute and RestrictAddressFamilies. It runs on Debian's
Python, with python3-seccomp.
"""

import ctypes
import errno
import os
import pwd
import re
import socket
import subprocess
import sys

import seccomp  # type: ignore[import-not-found]  # Debian's package

_PROT_WRITE, _PROT_EXEC = 2, 4
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38


def settings(unit: str) -> dict[str, list[str]]:
    """Return key → values of the [Service] of a unit."""
    found: dict[str, list[str]] = {}
    with open(unit, encoding="utf-8") as file:  # noqa: PTH123 - Debian's Python, and short
        for key, value in re.findall(r"(?m)^(\w+)=(.*)$", file.read()):
            found.setdefault(key, []).append(value)
    return found


def calls_of(group: str) -> set[str]:
    """Return the system calls of a group of systemd."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager", group]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in shown.splitlines()[1:] if not line.strip().startswith("#")]
    result = set()
    for name in filter(None, names):
        result |= calls_of(name) if name.startswith("@") else {name}
    return result


def allowed(filters: list[str]) -> set[str]:
    """Return the system calls that the SystemCallFilter lines allow."""
    result = calls_of("@default")
    for words in filters:
        denies = words.startswith("~")
        for group in words.removeprefix("~").split():
            result = result - calls_of(group) if denies else result | calls_of(group)
    return result


def restrict(unit: dict[str, list[str]]) -> None:
    """Restrict this process for good."""
    user = pwd.getpwnam(unit["User"][0])
    os.umask(int(unit["UMask"][0], 8))
    libc = ctypes.CDLL(None)
    if unit["CapabilityBoundingSet"] == [""]:
        for capability in range(64):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if unit["NoNewPrivileges"] == ["yes"]:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = getattr(errno, unit["SystemCallErrorNumber"][0])
    seen = seccomp.SyscallFilter(defaction=seccomp.ERRNO(number))
    for call in sorted(allowed(unit["SystemCallFilter"])):
        try:
            known = seccomp.resolve_syscall(seccomp.Arch(), call) >= 0
        except ValueError:
            known = False
        if (
            known
            and call != "socket"
            and not (unit.get("MemoryDenyWriteExecute") and call in _MAPS)
        ):
            seen.add_rule(seccomp.ALLOW, call)
    for family in unit["RestrictAddressFamilies"][0].split():
        number_of_family = int(getattr(socket, family))
        seen.add_rule(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, number_of_family))
    if unit.get("MemoryDenyWriteExecute") == ["yes"]:
        for bits in (0, _PROT_WRITE, _PROT_EXEC):
            mask = _PROT_WRITE | _PROT_EXEC
            seen.add_rule(seccomp.ALLOW, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, mask, bits))
        for call in ("mprotect", "pkey_mprotect"):
            seen.add_rule(seccomp.ALLOW, call, seccomp.Arg(2, seccomp.MASKED_EQ, _PROT_EXEC, 0))
    seen.load()


_MAPS = ("mmap", "mprotect", "pkey_mprotect", "shmat")

restrict(settings(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
