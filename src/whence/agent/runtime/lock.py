"""Locks, by which one process at a time uses a state directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from whence.errors import OperatorError
from whence.trust.paths import open_file

LOCK_FILE = "agent.lock"
RUN_LOCK_FILE = "run.lock"


@contextmanager
def alone(path: Path, program: str, pid: int | None = None) -> Iterator[int]:
    """Hold the lock at `path` in the context. `program` names this one in the message.

    `pid`: the process that will hold the lock; None: this one. Yields the descriptor that holds it.
    Raises: OperatorError where another process holds the lock, or where it cannot be written.
    """
    with ExitStack() as holding:
        try:
            opened = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            file = holding.enter_context(os.fdopen(opened, "a+b", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(pid or os.getpid()).encode())
        except BlockingIOError:
            file.seek(0)
            raise OperatorError(
                f"{program} already runs on the state directory {path.parent}, as process "
                f"{file.read().decode().strip() or 'unknown'}; stop it, or name another "
                "agent state_dir"
            ) from None
        except OSError as error:
            raise OperatorError(
                f"{path} cannot be written: {error.strerror}; repair that, or name another "
                "agent state_dir"
            ) from None
        yield file.fileno()
