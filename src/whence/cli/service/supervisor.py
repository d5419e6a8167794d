"""Keep Kamailio and the agent running: restart each with exponential backoff when it ends.

This process lives as long as the node, so it imports little. The first agent reads the settings and
checks that all can start (`preflight.py`). Then Kamailio starts, while the agent starts its parts.

If this process is killed, no child may keep a port. The kernel then kills the agent at once: its
registrations stay granted, and the next start uses them again. It sends Kamailio a SIGTERM. The
next start ends the processes that are left (`preflight`).
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence

from whence.agent.kamailio.start import command
from whence.agent.runtime import log_form
from whence.cli.service import console
from whence.cli.service.child import Child
from whence.cli.service.event_loop import EventLoop
from whence.cli.service.link import AgentLink, Prepared
from whence.cli.service.notify import ServiceManager
from whence.cli.service.reporters import RestartReporter, UnreadableReporter
from whence.errors import OperatorError

START_S = 60.0
START_PER_TRUNK_S = 0.001
"""The extra time of a start for each trunk: the agent reads and stores it."""

AGENT_STOP_S = 15.0
KAMAILIO_STOP_S = 5.0

FILES_BESIDE = 1024
"""The most files that Kamailio opens besides inbound connections."""


def supervise(file: str) -> int:
    """Run Kamailio and the agent on a settings file until SIGINT or SIGTERM.

    Returns the exit status: that of an agent which ended before the start, and explained why.
    Raises: OperatorError: they do not start.
    """
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    manager = ServiceManager()
    loop, link = EventLoop(), AgentLink()
    # SIGKILL: at a SIGTERM, which an operator's stop sends, the agent unregisters all trunks.
    agent = Child("agent", [*_whence(), "agent", f"--config={file}"], signal.SIGKILL, loop)
    agent.start([f"--link={link.agent_fd}"], [link.agent_fd])
    prepared = link.receive_prepared()
    if prepared is None:
        link.close()
        return _status_of(agent, loop)
    log_form.choose(prepared.log_format)
    _Node(loop, agent, link, prepared, manager).run()
    return 0


def _status_of(agent: Child, loop: EventLoop) -> int:
    """Return the exit status of an agent that has explained its end. Raises: OperatorError."""
    loop.run_until(lambda: not agent.running)
    status = agent.exit_status or 0
    if status <= 0:
        raise OperatorError("agent did not start; its last lines are above")
    return status


class _Node:
    """Kamailio and the agent, from the end of the checks on."""

    def __init__(
        self,
        loop: EventLoop,
        agent: Child,
        link: AgentLink,
        prepared: Prepared,
        manager: ServiceManager,
    ) -> None:
        self._loop, self._link, self._prepared = loop, link, prepared
        self._agent, self._manager = agent, manager
        self._kamailio = Child(
            "kamailio",
            command(prepared.kamailio_config),
            signal.SIGTERM,
            loop,
            quoted=True,
            unreadable=UnreadableReporter(prepared.decision_socket),
            restarted=RestartReporter(prepared.decision_socket),
        )
        self._stopping = self._reloading = False

    def run(self) -> None:
        """Run both until SIGINT or SIGTERM. Raises: OperatorError: they do not start."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.on_signal(number, self._stop)
        self._loop.on_signal(signal.SIGHUP, self._reload)
        try:
            raise_file_limit(self._prepared.connections, [0, self._agent.pid])
            self._kamailio.start()
            self._until_up()
            keep_running(self._loop, (self._kamailio, self._agent), lambda: self._stopping)
        finally:
            self._manager.stopping()
            self._kamailio.release()
            # The agent first: it unregisters through Kamailio.
            self._agent.stop(AGENT_STOP_S)
            self._kamailio.stop(KAMAILIO_STOP_S)
            console.info("stopped")

    def _stop(self) -> None:
        self._stopping = True

    def _reload(self) -> None:
        """Pass SIGHUP on. The first agent reports the end; one that was restarted has no link."""
        if not self._link.is_up:  # the start is not complete, and ends with the same report
            self._agent.send_sighup()
            return
        self._manager.reloading()
        self._reloading = True
        self._agent.send_sighup()
        if not self._link.is_open:
            self._end_reload()

    def _end_reload(self) -> None:
        if self._reloading and not self._stopping:
            self._manager.ready()
        self._reloading = False

    def _until_up(self) -> None:
        """Wait until the agent reports that Kamailio answers and the directory can be written."""
        within_s = START_S + START_PER_TRUNK_S * self._prepared.trunks
        self._loop.add_reader(self._link.fd, self._receive)
        if not self._loop.run_until(self._is_settled, within_s):
            raise OperatorError(
                f"Kamailio and the agent did not start in {within_s:.0f} s; their lines "
                "above say why"
            )
        if self._stopping:
            return
        for child in (self._kamailio, self._agent):
            if not child.running:
                raise OperatorError(f"{child.name} did not start; its last lines are above")
        console.info("up: Kamailio and the agent answer")
        self._manager.ready()

    def _receive(self) -> None:
        reloaded = self._link.receive()
        if not self._link.is_open:
            self._loop.remove_reader(self._link.fd)
            self._link.close()
        if reloaded or not self._link.is_open:  # an agent that ends leaves no reload unfinished
            self._end_reload()

    def _is_settled(self) -> bool:
        both_run = self._kamailio.running and self._agent.running
        return self._stopping or self._link.is_up or not both_run


def keep_running(loop: EventLoop, children: Sequence[Child], done: Callable[[], bool]) -> None:
    """Restart each child that ends, until `done` returns True.

    An exception of a callback is a bug, and is raised.
    """
    for child in children:
        child.keep()
    loop.run_until(done)
    for child in children:
        child.release()


def raise_file_limit(connections: int, pids: Sequence[int] = (0,)) -> None:
    """Raise the limit of open files to what Kamailio's connections need; warn if it is too low.

    `pids`: whose limit; 0: of this process. `connections` is 0 without TCP and TLS.
    """
    wanted = connections + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or not connections:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < wanted:
        console.warning(
            f"this process may open {allowed} files, and [edge] connections = {connections} need "
            f"{wanted}; raise the hard limit (systemd: LimitNOFILE={wanted}), or write fewer "
            "connections"
        )


def _whence() -> list[str]:
    """Return the command line of this program, with the same interpreter and package.

    `-P`: Python imports nothing from the current directory, which may be another user's.
    """
    return [sys.executable, "-P", "-m", "whence"]
