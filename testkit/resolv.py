"""Run a program with another /etc/resolv.conf."""

import os
from collections.abc import Sequence
from pathlib import Path

_RUN = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'


def with_nameserver(argv: Sequence[str | Path], ip: str, folder: Path) -> list[str]:
    """Return the command that runs *argv* with this name server, in a mount namespace."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {ip}\n")
    namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    return [*namespace, "sh", "-c", _RUN, "sh", str(file), *map(str, argv)]
