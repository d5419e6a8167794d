"""The contestants: Whence as an operator runs it, and Kamailio's module `uac`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.registrations.registrar import DOMAIN, MEMORY, Registrar, password
from testkit.network import SIP_PORT, Network
from testkit.process import Process, command_line, program
from testkit.provider import await_kamailio
from testkit.whence import Whence

UAC = Path(__file__).with_name("uac.cfg")
TABLES = Path("/usr/share/kamailio/db_sqlite")
HEALTHY_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Task:
    """A number of accounts, their interval, and the most attempts a second."""

    trunks: int
    expires_s: int
    rate: int


@dataclass(frozen=True, slots=True)
class Pids:
    """The processes of a contestant: its agent, if it has one, and its Kamailio."""

    agent: list[int]
    kamailio: list[int]


class Contestant(Protocol):
    """A launched program that registers all accounts of a task."""

    title: str
    process: Process

    def pids(self) -> Pids:
        """Return its processes now."""

    def settle(self) -> None:
        """Wait until its start is over."""

    def failures(self) -> int:
        """Return the number of failed attempts, if it counts them."""


class WhenceRegisters:
    """`whence run` with the trunks of a task."""

    title = "Whence"

    def __init__(self, node: Whence, process: Process) -> None:
        self.process = process
        self.node = node

    def pids(self) -> Pids:
        pids = Pids([], [])
        for pid in self.process.descendants():
            if program(pid) == "kamailio":
                pids.kamailio.append(pid)
            elif "agent" in command_line(pid):
                pids.agent.append(pid)
        return pids

    def settle(self) -> None:
        self.node.wait_healthy(HEALTHY_WITHIN_S)

    def failures(self) -> int:
        outcomes = self.counted("whence_registration_attempts_total")
        return sum(int(n) for name, n in outcomes.items() if '"registered"' not in name)

    def counted(self, metric: str) -> dict[str, float]:
        """Return labels → value of a metric."""
        lines = (line for line in self.node.metrics().splitlines() if line.startswith(metric))
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


class UacRegisters:
    """A Kamailio with the module `uac` only, and its accounts in a table."""

    title = "uac module"

    def __init__(self, process: Process, rpc: Path) -> None:
        self.process = process
        self._rpc = rpc

    def pids(self) -> Pids:
        return Pids([], [self.process.pid, *self.process.descendants()])

    def settle(self) -> None:
        await_kamailio(self.process, self._rpc)

    def failures(self) -> int:
        """Return 0: it counts none. The registrar shows accounts that are not registered."""
        return 0


@contextmanager
def whence(
    network: Network,
    home: Path,
    registrar: Registrar,
    task: Task,
    registration: dict[str, object] | None = None,
) -> Iterator[WhenceRegisters]:
    """Launch Whence. *registration*: further keys of that table."""
    settings = {"rate": task.rate, "rate_per_registrar": task.rate, **(registration or {})}
    node = Whence(
        network,
        home,
        registration=settings,
        users=["alice"],
        agent={"on_stop": "leave"},
    )
    trunks = [
        {
            "id": f"trunk-{number}",
            "registrar": registrar.uri,
            "domain": DOMAIN,
            "user": _account(number),
            "password": password(_account(number)),
            "expires": task.expires_s,
            "target": f"sip:alice@{node.domain}",
            "numbers": [f"+4420{number:08d}"],
        }
        for number in range(task.trunks)
    ]
    node.edit(trunks=trunks)
    with node:
        node.launch()
        assert node.process
        yield WhenceRegisters(node, node.process)


@contextmanager
def uac(network: Network, home: Path, registrar: Registrar, task: Task) -> Iterator[UacRegisters]:
    """Launch the module `uac`."""
    ip, table, rpc = network.ip("uac"), home / "uac.db", home / "uac.rpc"
    _write_accounts(table, registrar, task)
    argv = [
        *("kamailio", "-DD", "-E", "-f", str(UAC), "-Y", str(home), *MEMORY),
        *("-A", f"LISTEN=udp:{ip}:{SIP_PORT}", "-A", f'CONTACT="{ip}:{SIP_PORT}"'),
        *("-A", f'TABLE="sqlite:///{table}"', "-A", f'RPC="{rpc}"'),
    ]
    with Process("uac", argv, home / "uac.log", stop_within_s=1) as process:
        yield UacRegisters(process, rpc)


def _write_accounts(table: Path, registrar: Registrar, task: Task) -> None:
    """Fill its table. Its only rate limit is `reg_delay`: whole seconds after the start."""
    accounts = (
        (
            *(_account(number), _account(number), "edge.example", _account(number), DOMAIN),
            *(DOMAIN, _account(number), password(_account(number)), registrar.uri),
            *(task.expires_s, 1 + number // task.rate),
        )
        for number in range(task.trunks)
    )
    with closing(sqlite3.connect(table)) as db, db:
        for name in ("standard", "uac"):
            db.executescript((TABLES / f"{name}-create.sql").read_text("utf-8"))
        db.executemany(
            "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, realm,"
            " auth_username, auth_password, auth_proxy, expires, reg_delay)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            accounts,
        )


def _account(number: int) -> str:
    return f"account-{number}"


def all_run(contestant: Contestant) -> None:
    """Raise ChildProcessError if the contestant has ended."""
    if not contestant.process.running:
        raise ChildProcessError(f"{contestant.title} ended:\n{contestant.process.log[-3000:]}")
