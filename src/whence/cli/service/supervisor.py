"""Keeping two processes running: Kamailio and the agent, restarted with backoff when they die.

The death of this process must leave nothing behind that keeps a port: the kernel then ends the
agent at once (its registrations stay granted, and the next start takes them up), and asks Kamailio
to stop. What even that leaves, the next start ends (`preflight`).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import httpx

from whence.agent.config.models import Config, EdgeConfig
from whence.agent.kamailio.config import CONFIG_FILE, command
from whence.agent.runtime import sighup
from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection.kamailio_log import WINDOW_S, LogFilter
from whence.core.sip.transport_address import TransportAddress
from whence.core.text import escape_untrusted
from whence.errors import OperatorError
from whence.ipc import decisions, notices
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

RESTART_FIRST_S = 0.2
RESTART_LIMIT_S = 30.0
SETTLED_S = 60.0
"""Who ran this long begins again with the first, short wait."""

START_S = 60.0
START_A_TRUNK_S = 0.001
"""How much longer a start may take for each trunk: the file is read and written down."""

AGENT_STOP_S = 15.0
KAMAILIO_STOP_S = 5.0

FILES_BESIDE = 1024
"""How many files Kamailio opens besides inbound connections, at most."""

UNREADABLE_AT_ONCE = 20
"""How many sources of unreadable messages are reported of what Kamailio wrote at once."""

QUOTE_LIMIT = 65_536
"""Bytes of a line of Kamailio's that are shown as one."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def supervise(file: Path, settings: Config) -> None:
    """Run Kamailio and the agent until SIGINT or SIGTERM; OperatorError if they do not come up."""
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
        unreadable=Unreadable(settings.state / decisions.SOCKET_FILE),
    )
    # A killed run must not look like an operator's stop: the agent would take everything back.
    agent = Child("agent", [*_whence(), "agent", "-c", str(file.absolute())], signal.SIGKILL)
    sighup.handle(loop, agent.on_sighup)
    try:
        kamailio.start()
        agent.start()
        await _until_up(settings, stopping, (kamailio, agent))
        await keep_running((kamailio, agent), stopping)
    finally:
        # The agent first: what it takes back goes out through Kamailio.
        await agent.stop(AGENT_STOP_S)
        await kamailio.stop(KAMAILIO_STOP_S)
        log.info("stopped")


async def keep_running(children: Sequence[Child], stopping: asyncio.Event) -> None:
    """Start each child again that ends, until `stopping`.

    What is raised by one that keeps a child is a bug: it ends them all, and surfaces.
    """
    async with asyncio.TaskGroup() as group:
        keeping = [group.create_task(child.keep(), name=child.name) for child in children]
        await stopping.wait()
        for task in keeping:
            task.cancel()


async def _until_up(
    settings: Config, stopping: asyncio.Event, children: tuple[Child, Child]
) -> None:
    """Wait until the agent says that Kamailio answers and the directory can be written."""
    within_s = START_S + START_A_TRUNK_S * len(settings.trunk)
    deadline = time.monotonic() + within_s
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        while not stopping.is_set():
            for child in children:
                if not child.running:
                    raise OperatorError(f"{child.name} did not start; its last lines stand above")
            with suppress(httpx.HTTPError):
                health = await client.get(f"http://{settings.agent.api_listen}/healthz")
                if _is_up(health):
                    log.info("up: Kamailio and the agent answer")
                    return
            if time.monotonic() > deadline:
                raise OperatorError(
                    f"Kamailio and the agent did not come up in {within_s:.0f} s; their lines "
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
    """Let Kamailio open as many files as it may have connections, and some; warn if it may not."""
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


class Unreadable:
    """Reports sources of messages that only Kamailio's log tells of, to the agent."""

    def __init__(self, path: Path) -> None:
        """`path`: the agent's socket, which need not be there."""
        self._path = str(path)

    def __call__(self, sources: Sequence[str]) -> None:
        """Report them; what nobody reads is lost."""
        counts = Counter(sources)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own, suppress(OSError):
            own.setblocking(False)
            for text, count in counts.most_common(UNREADABLE_AT_ONCE):
                with suppress(ValueError):  # Kamailio writes IPv6 addresses without brackets
                    transport, _, place = text.partition(":")
                    ip, _, port = place.rpartition(":")
                    ip = f"[{ip}]" if ":" in ip and not ip.startswith("[") else ip
                    source = TransportAddress.parse(f"{transport}:{ip}:{port}")
                    said = Notice(time.time(), NoticeReason.UNREADABLE, source, count)
                    own.sendto(notices.message(said), self._path)


class Child:
    """One supervised process, the leader of its own group."""

    def __init__(
        self,
        name: str,
        command: list[str],
        when_we_die: signal.Signals,
        *,
        quoted: bool = False,
        unreadable: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """`quoted`: its lines are shown as its own, and nothing in them as anything but text.

        `unreadable`: see `Quote`.
        """
        self.name = name
        self._unreadable = unreadable
        self._quoted = quoted
        self._quote: Quote | None = None
        self._command = command
        self._when_we_die = when_we_die
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; its output is ours. OperatorError where it cannot be started."""
        self._show_rest()
        self._process = None  # one that ended, if any: its pid may be anybody's by now
        self._started_at = time.monotonic()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE if self._quoted else None,
                start_new_session=True,
                preexec_fn=_dies_with_us(self._when_we_die),  # noqa: PLW1509 - we have no threads
            )
        except OSError as error:
            raise OperatorError(
                f"{self.name} cannot be started: {self._command[0]}: {error.strerror}; it must be "
                "there, and this user must be let to run it"
            ) from error
        if self._process.stderr is not None:
            group = self._process.pid
            self._quote = Quote(self.name, self._process.stderr, group, self._unreadable)

    async def keep(self) -> None:
        """Start it again whenever it dies, after a wait that grows while it keeps dying.

        A start that fails is one that died at once: a program is away while it is upgraded, and a
        machine short of memory for a while.
        """
        wait_s, said = RESTART_FIRST_S, f"{self.name} ended"
        while True:
            await self._ended()
            self._end_group()
            if time.monotonic() - self._started_at > SETTLED_S:
                wait_s = RESTART_FIRST_S
            log.warning("%s; it starts again in %.1f s", said, wait_s)
            await asyncio.sleep(wait_s)
            wait_s, said = min(wait_s * 2, RESTART_LIMIT_S), f"{self.name} ended"
            try:
                self.start()
            except OperatorError as problem:
                said = str(problem)

    async def stop(self, within_s: float) -> None:
        """End it cleanly, and by force what does not end in time."""
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

    def on_sighup(self) -> None:
        """Pass SIGHUP on: read the file again."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGHUP)

    async def _ended(self) -> None:
        while self.running:
            await asyncio.sleep(0.05)

    def _show_rest(self) -> None:
        if self._quote is not None:
            self._quote.close()
            self._quote = None

    def _end_group(self) -> None:
        """Kill what is left of its group: Kamailio's workers outlive a parent that was killed."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


class _Members:
    """Whether a process is, or was while it wrote, in a process group."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._seen: set[int] = {group}

    def __call__(self, pid: int) -> bool:
        if pid not in self._seen:
            try:
                if os.getpgid(pid) != self._group:
                    return False
            except ProcessLookupError:
                return False
            self._seen.add(pid)
        return True


class Quote:
    """Passes on what another process writes to its standard error, each line after its name.

    Kamailio writes what unknown sources sent as it came: line ends, with what looks like lines
    of others, and control characters for a terminal. `kamailio_log.py` says which lines are left
    out, and counted.
    """

    def __init__(
        self,
        name: str,
        pipe: IO[bytes],
        group: int | None = None,
        unreadable: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """Begin, in the running loop.

        `group`: of the processes that write; None: it is not asked. `unreadable` is given the
        sources of messages that only the log tells of.
        """
        self._name, self._pipe, self._rest = name, pipe, b""
        self._filter = LogFilter() if group is None else LogFilter(_Members(group))
        self._unreadable = unreadable or (lambda _: None)
        self._due: asyncio.TimerHandle | None = None
        os.set_blocking(pipe.fileno(), False)
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._pass_on)

    def _pass_on(self) -> bool:
        """Show the lines that have come; whether there may be more at once."""
        try:
            data = os.read(self._pipe.fileno(), QUOTE_LIMIT)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= QUOTE_LIMIT or not data:
            lines, self._rest = [*lines, self._rest], b""
        now = time.monotonic()
        for line in filter(None, lines):
            passed = self._filter.shown(line, now)
            if passed is not None:
                self._show(escape_untrusted(passed.decode("utf-8", "backslashreplace")))
        self._tell_left_out()
        if self._filter.unreadable:
            self._unreadable(self._filter.unreadable)
            self._filter.unreadable.clear()
        if not data:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        return bool(data)

    def _tell_left_out(self) -> None:
        for text in self._filter.over(time.monotonic()):
            self._show(text)
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(WINDOW_S, self._window_over)

    def _window_over(self) -> None:
        self._due = None
        for text in self._filter.over(time.monotonic()):
            self._show(text)

    def _show(self, text: str) -> None:
        print(f"{self._name}: {text.lstrip()}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show what is left; its writers are gone."""
        while self._pass_on():
            pass
        if self._due is not None:
            self._due.cancel()
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()


def _dies_with_us(number: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def arrange() -> None:
        sighup.block()  # we hear them already, and pass them on
        _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # we died before the line above
            os._exit(1)

    return arrange


def _whence() -> list[str]:
    """Ourselves, with the same interpreter and the same package.

    `-P`: nothing is imported from the current directory, which may be another user's.
    """
    return [sys.executable, "-P", "-m", "whence"]
