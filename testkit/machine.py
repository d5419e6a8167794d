"""A copy of this machine's file system, in which packages can be installed.

It is an overlay: this machine is below, and each change is in memory. It needs root. Network and
processes are those of this machine, so a program inside reaches the rig's programs.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.process import Process
from testkit.wait import eventually

_MOUNT = """
set -e
cd "$1"
mkdir changes merged
mount -t tmpfs none changes
mkdir changes/upper changes/work
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes/upper,workdir=$1/changes/work" merged
for place in dev sys; do mount --rbind "/$place" "merged/$place"; done
mount -t proc proc merged/proc
for place in run tmp; do mount -t tmpfs none "merged/$place"; done
touch ready
exec sleep infinity
"""

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}


class Machine:
    """The copy. It ends with `close()`, with all programs that were started inside."""

    def __init__(self, folder: Path) -> None:
        """`folder`: an empty folder for its mounts and logs."""
        self._folder = folder
        self._programs: list[Process] = []
        command = ["unshare", "--mount", "--propagation", "private", "--"]
        self._holder = Process(
            "machine", [*command, "sh", "-c", _MOUNT, "sh", folder], folder / "machine.log"
        )
        eventually(self._is_ready, what="the copy of this machine")

    def _is_ready(self) -> bool:
        assert self._holder.running, self._holder.log
        return (self._folder / "ready").exists()

    def enter(self, *command: str) -> list[str]:
        """Return the command that runs this one inside."""
        inside = ["nsenter", "--target", str(self._holder.pid), "--mount", "--"]
        return [*inside, "chroot", str(self._folder / "merged"), *command]

    def run(self, *command: str, stdin: bytes = b"", status: int = 0) -> str:
        """Run a command inside to its end; return its output, with its errors."""
        done = subprocess.run(
            self.enter(*command),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        assert done.returncode == status, f"{command} ended with {done.returncode}:\n{output}"
        return output

    def read(self, path: str) -> bytes:
        """Return the content of a file inside."""
        return subprocess.run(self.enter("cat", path), check=True, capture_output=True).stdout

    def put(self, content: bytes, path: str) -> None:
        """Write a file inside; an existing one keeps its owner and mode."""
        self.run("sh", "-c", 'cat >"$0"', path, stdin=content)

    def start(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a program inside."""
        log = self._folder / f"{name}.log"
        process = Process(name, self.enter(*command), log, env=env, stop_within_s=60)
        self._programs.append(process)
        return process

    def changed(self) -> set[str]:
        """Return the paths that were made or changed inside, from / on."""
        upper = f"{self._folder}/changes/upper"
        command = ["nsenter", "--target", str(self._holder.pid), "--mount", "--"]
        # A character device is how the overlay notes a removed file.
        found = subprocess.run(
            [*command, "find", upper, "!", "-type", "c", "-printf", "/%P\\0"],
            check=True,
            capture_output=True,
        )
        return set(found.stdout.decode().split("\0")) - {"", "/"}

    def close(self) -> None:
        for program in reversed(self._programs):
            program.stop()
        self._holder.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
