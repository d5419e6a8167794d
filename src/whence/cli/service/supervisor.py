"""Keep Kamailio and the agent running: restart each with exponential backoff when it ends.

If this process is killed, no child may keep a port. The kernel then kills the agent at once: its
registrations stay granted, and the next start uses them again. It sends Kamailio a SIGTERM. The
next start ends the processes that are left (`preflight`).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from whence.agent.config.models import Config, EdgeConfig
from whence.agent.kamailio.start import CONFIG_FILE, command
from whence.agent.runtime import sighup
from whence.cli.service.log_relay import LogRelay, UnreadableReporter
from whence.errors import OperatorError
from whence.ipc import decisions, restarts
from whence.ipc.report_connection import ReportConnection

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

RESTART_FIRST_S = 0.2
RESTART_LIMIT_S = 30.0
SETTLED_S = 60.0
"""After a process ran this long, its next wait is the first, short one."""

START_S = 60.0
START_PER_TRUNK_S = 0.001
"""The extra time of a start for each trunk: the agent reads and stores it."""

AGENT_STOP_S = 15.0
KAMAILIO_STOP_S = 5.0

FILES_BESIDE = 1024
"""The most files that Kamailio opens besides inbound connections."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def supervise(file: Path, settings: Config) -> None:
    """Run Kamailio and the agent until SIGINT or SIGTERM.

    Raises: OperatorError: they do not start.
    """
    asyncio.run(_supervise(file, settings))


async def _supervise(file: Path, settings: Config) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    raise_file_limit(settings.edge)
    kamailio = Child(
        "kamailio",
        command(settings.state / CONFIG_FILE),
        signal.SIGTERM,
        quoted=True,
        unreadable=UnreadableReporter(settings.state / decisions.SOCKET_FILE),
        restarted=RestartReporter(settings.state / decisions.SOCKET_FILE),
    )
    # SIGKILL: at a SIGTERM, which an operator's stop sends, the agent unregisters all trunks.
    agent = Child("agent", [*_whence(), "agent", "-c", str(file.absolute())], signal.SIGKILL)
    sighup.handle(loop, agent.send_sighup)
    try:
        kamailio.start()
        agent.start()
        await _until_up(settings, stopping, (kamailio, agent))
        await keep_running((kamailio, agent), stopping)
    finally:
        # The agent first: it unregisters through Kamailio.
        await agent.stop(AGENT_STOP_S)
        await kamailio.stop(KAMAILIO_STOP_S)
        log.info("stopped")


async def keep_running(children: Sequence[Child], stopping: asyncio.Event) -> None:
    """Restart each child that ends, until `stopping` is set.

    An exception of a task that keeps a child is a bug. It ends all tasks, and is raised.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(child.keep(), name=child.name) for child in children]
        await stopping.wait()
        for task in tasks:
            task.cancel()


async def _until_up(
    settings: Config, stopping: asyncio.Event, children: tuple[Child, Child]
) -> None:
    """Wait until the agent reports that Kamailio answers and the directory can be written."""
    import httpx

    within_s = START_S + START_PER_TRUNK_S * len(settings.trunk)
    deadline = time.monotonic() + within_s
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        while not stopping.is_set():
            for child in children:
                if not child.running:
                    raise OperatorError(f"{child.name} did not start; its last lines are above")
            with suppress(httpx.HTTPError):
                health = await client.get(f"http://{settings.agent.api_listen}/healthz")
                if _is_up(health):
                    log.info("up: Kamailio and the agent answer")
                    return
            if time.monotonic() > deadline:
                raise OperatorError(
                    f"Kamailio and the agent did not start in {within_s:.0f} s; their lines "
                    "above say why"
                )
            await asyncio.sleep(0.05)


def _is_up(answer: httpx.Response) -> bool:
    """Return whether Kamailio answers and the directory is written, also on a full disk."""
    try:
        health = answer.json()
        return bool(health["kamailio"] and health["directory"])
    except (ValueError, KeyError, TypeError):
        return False


def raise_file_limit(edge: EdgeConfig) -> None:
    """Raise the limit of open files to what Kamailio's connections need; warn if it is too low."""
    wanted = edge.connections + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or not edge.has_streams:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < wanted:
        log.warning(
            "this process may open %d files, and [edge] connections = %d need %d; raise the hard "
            "limit (systemd: LimitNOFILE=%d), or write fewer connections",
            allowed,
            edge.connections,
            wanted,
            wanted,
        )


class RestartReporter:
    """Reports to the agent that Kamailio was started again."""

    def __init__(self, path: Path) -> None:
        """`path`: the agent's socket, which need not exist yet."""
        self._path = path

    def __call__(self, reason: str) -> None:
        """Report a restart. It is lost where no agent listens."""
        with closing(ReportConnection(self._path)) as connection:
            connection.send(restarts.message(reason))


class Child:
    """One supervised process, the leader of its own group."""

    def __init__(
        self,
        name: str,
        command: list[str],
        parent_death_signal: signal.Signals,
        *,
        quoted: bool = False,
        unreadable: Callable[[Sequence[str]], None] | None = None,
        restarted: Callable[[str], None] | None = None,
    ) -> None:
        """`parent_death_signal`: the kernel sends it to the child when this process ends.

        `quoted`: its lines are shown after its name, and their control characters as escapes.
        `unreadable`: see `LogRelay`. `restarted` is called with the reason of each restart.
        """
        self.name = name
        self._unreadable = unreadable
        self._restarted = restarted or (lambda _: None)
        self._quoted = quoted
        self._relay: LogRelay | None = None
        self._command = command
        self._parent_death_signal = parent_death_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, with our standard output and error.

        Raises: OperatorError.
        """
        self._show_rest()
        self._process = None  # the pid of one that ended may belong to another process now
        self._started_at = time.monotonic()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE if self._quoted else None,
                start_new_session=True,
                preexec_fn=_before_exec(self._parent_death_signal),  # noqa: PLW1509 - no threads
            )
        except OSError as error:
            raise OperatorError(
                f"{self.name} cannot be started: {self._command[0]}: {error.strerror}; install it, "
                "and let this user run it"
            ) from error
        if self._process.stderr is not None:
            group = self._process.pid
            self._relay = LogRelay(self.name, self._process.stderr, group, self._unreadable)

    async def keep(self) -> None:
        """Restart the process each time it ends, with exponential backoff.

        A start that fails counts as an end. A program is absent during its upgrade; memory may be
        short for a while.
        """
        wait_s, problem = RESTART_FIRST_S, ""
        while True:
            await self._ended()
            reason = problem or f"{self.name} ended{self._status()}"
            self._end_group()
            if time.monotonic() - self._started_at > SETTLED_S:
                wait_s = RESTART_FIRST_S
            log.warning("%s; it starts again in %.1f s", reason, wait_s)
            await asyncio.sleep(wait_s)
            wait_s, problem = min(wait_s * 2, RESTART_LIMIT_S), ""
            try:
                self.start()
                self._restarted(reason)
            except OperatorError as error:
                problem = str(error)

    def _status(self) -> str:
        """Return how the process ended, in brackets; an empty text if it was not started."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        return f" (signal {-code})" if code < 0 else f" (exit status {code})"

    async def stop(self, within_s: float) -> None:
        """End the process with SIGTERM, and kill its group after `within_s`."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            try:
                async with asyncio.timeout(within_s):
                    await self._ended()
            except TimeoutError:
                log.warning("%s did not end in %g s, and is killed", self.name, within_s)
        self._end_group()
        self._process.wait()
        self._show_rest()

    def send_sighup(self) -> None:
        """Pass SIGHUP on: the process reads its file again."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGHUP)

    async def _ended(self) -> None:
        """Wait until the process has ended, without a wake-up before (pidfd_open(2))."""
        if self._process is None or not self.running:
            return  # `running` reaps the process; before that, its pid belongs to no other
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)

    def _show_rest(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    def _end_group(self) -> None:
        """Kill the rest of the process group: Kamailio's workers outlive a killed parent."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _before_exec(parent_death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it runs its program."""
    parent = os.getpid()

    def prepare() -> None:
        sighup.block()  # this process receives SIGHUP, and passes it on when the child can read it
        _libc.prctl(_PR_SET_PDEATHSIG, int(parent_death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the line above
            os._exit(1)

    return prepare


def _whence() -> list[str]:
    """Return the command line of this program, with the same interpreter and package.

    `-P`: Python imports nothing from the current directory, which may be another user's.
    """
    return [sys.executable, "-P", "-m", "whence"]
