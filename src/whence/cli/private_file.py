"""Write files with passwords: for their owner alone, and never half."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from pathlib import Path

from whence.errors import OperatorError


def write(path: Path, text: str, *, replace: bool = False) -> None:
    """Write a file with mode 0600. Without `replace`, a file of that name must not exist.

    The file appears with its whole content. A link is replaced, and not followed.

    Raises: OperatorError.
    """
    # SIGINT would leave the temporary file behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        _write(path, text.encode(), replace=replace)
    except FileExistsError:
        raise OperatorError(
            f"{path} exists already, and is not replaced; name another file, or move it away"
        ) from None
    except OSError as error:
        why = os.strerror(error.errno or errno.EIO)
        raise OperatorError(
            f"{path} cannot be written: {why}; name a file in a folder that you can write"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(name).rename(path)
        else:
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
