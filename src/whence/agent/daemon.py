"""What an agent is as a process: its state directory, its lock, its API's socket, its end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from whence.agent import hang_up
from whence.agent.faults import ProblemError
from whence.agent.settings import Watch

LOCK_FILE = "agent.lock"


def prepare_state(state: Path) -> None:
    """Make the state directory, for this user alone; ProblemError if that cannot be done."""
    os.umask(0o077)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProblemError(
            f"the state directory {state} cannot be made: {error.strerror}; make it for this "
            "user, or name another one as agent state"
        ) from None
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK) or not _takes_files(state):
        raise ProblemError(
            f"the state directory {state} cannot be written; give it to this user, or name "
            "another one as agent state"
        )


def _takes_files(state: Path) -> bool:
    # A read-only file system says yes to root's os.access, and no to this.
    probe = state / f".probe.{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def become_owner(state: Path) -> None:
    """Run as the user that a state directory belongs to: both its programs write there.

    Root becomes that user for good; ProblemError for any other one, and where there is none.
    """
    try:
        owner = state.stat()
    except OSError as error:
        raise ProblemError(
            f"the state directory {state} cannot be looked at: {error.strerror}; make it with: "
            f"whence drop-in {state.parent}"
        ) from None
    if owner.st_uid == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner.st_uid).pw_name
    except KeyError:
        name = str(owner.st_uid)
    if os.geteuid() != 0:
        raise ProblemError(
            f"the state directory {state} belongs to {name}, as whom Kamailio runs; run this as "
            f"that user: sudo -u {name} whence …"
        )
    os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


@contextmanager
def alone(path: Path, who: str) -> Iterator[None]:
    """Hold the lock at `path` while inside; ProblemError says who has it, or why nobody can."""
    with ExitStack() as holding:
        try:
            file = holding.enter_context(path.open("a+b", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        except BlockingIOError:
            file.seek(0)
            raise ProblemError(
                f"{who} already runs on the state directory {path.parent}, as process "
                f"{file.read().decode().strip() or 'unknown'}; stop it, or name another agent state"
            ) from None
        except OSError as error:
            raise ProblemError(
                f"{path} cannot be written: {error.strerror}; mend that, or name another agent "
                "state"
            ) from None
        yield


def api_socket(agent: Watch) -> socket.socket:
    """Bind the API's socket; ProblemError where its port is taken."""
    host, port = agent.api_place
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(64)
    except OSError as error:
        bound.close()
        raise ProblemError(
            f"the API's address {agent.api} cannot be used: {error.strerror}; stop what "
            "listens there, or name another one as agent api"
        ) from None
    return bound


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the agent has one for all its parts."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


async def run_until_told(
    api: FastAPI,
    bound: socket.socket,
    parts: Mapping[str, Coroutine[Any, Any, None]],
    at_hang_up: Callable[[], None],
    last: Callable[[], Awaitable[None]],
) -> None:
    """Serve the API, and run each of the `parts`, by name, until SIGINT or SIGTERM.

    SIGHUP is a hang-up. At the end the parts are cancelled, then comes what is to be done `last`,
    while the API still answers.
    """
    server = _Server(uvicorn.Config(api, log_level="warning", lifespan="off"))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    hang_up.hear(loop, at_hang_up)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[bound]), name="api")
        keeping = [group.create_task(part, name=name) for name, part in parts.items()]
        await stop.wait()
        for task in keeping:
            task.cancel()
        await last()
        server.should_exit = True
        await serving
