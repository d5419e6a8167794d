"""Kamailio under callgrind, which counts the instructions of each process."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.M)

_WRAPPER = """#!/bin/sh
case " $* " in
*" -DD "*) exec {valgrind} --tool=callgrind --quiet --callgrind-out-file={out}/%p {kamailio} "$@" ;;
esac
exec {kamailio} "$@"
"""


class MissingError(Exception):
    """A program is not installed; the message says which package has it."""


@contextmanager
def counted(home: Path) -> Iterator[Path]:
    """Let each Kamailio that starts in this context write its counts into the yielded folder.

    Each process writes one file when it ends. A Kamailio that only checks a configuration does not.
    """
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    valgrind, kamailio = shutil.which("valgrind"), shutil.which("kamailio", path=path)
    if valgrind is None:
        raise MissingError("valgrind is not installed; install it: apt-get install valgrind")
    if kamailio is None:
        raise MissingError("Kamailio is not installed; install it: apt-get install kamailio")
    programs, out = home / "programs", home / "counts"
    programs.mkdir()
    out.mkdir()
    wrapper = programs / "kamailio"
    wrapper.write_text(_WRAPPER.format(valgrind=valgrind, kamailio=kamailio, out=out), "utf-8")
    wrapper.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{path}"
    try:
        yield out
    finally:
        os.environ["PATH"] = before


def busiest(counts: Iterable[str]) -> int:
    """Return the largest number of instructions of a process, from the files of callgrind.

    Raises: ValueError if a process wrote no total, or if there is no process.
    """
    totals = [_TOTAL.findall(text) for text in counts]
    if not totals or not all(totals):
        raise ValueError(f"of {len(totals)} processes {sum(not t for t in totals)} wrote no total")
    return max(int(found[-1]) for found in totals)
