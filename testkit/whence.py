"""Whence as an operator runs it: a settings file, `whence run`, the API, the command line."""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from testkit.api import numbers, whole
from testkit.network import SIP_PORT, Network
from testkit.process import Process, alive, beside_python, command_line, parent, program
from testkit.provider import Provider
from testkit.wait import PATIENCE_S, eventually

Table = Mapping[str, object]

AGENT_PORT = 5062
API_PORT = 8088
_WITH_API = frozenset(
    {"trunks", "trunk", "addresses", "users", "calls", "conflicts", "explain"}
    | {"unknown", "alarms", "allow", "revoke"}
    | {"register", "unregister", "pause", "resume", "reload"}
)


def trunk(
    trunk_id: str,
    provider: Provider,
    user: str,
    target: str,
    numbers: Sequence[str] = (),
    **more: object,
) -> Table:
    """Return a [[trunk]] for one of the provider's accounts. *more*: further keys."""
    return {
        "id": trunk_id,
        "registrar": provider.uri,
        "domain": provider.domain,
        "user": user,
        "password": provider.accounts[user],
        "target": target,
        "numbers": list(numbers),
        **more,
    }


def user(name: str, password: str = "") -> Table:
    """Return a [[user]]. The default password is made of the name."""
    return {"name": name, "password": password or f"{name}'s password"}


UP = "up: Kamailio and the agent answer"


class Whence:
    """A node: `whence run` with Kamailio and agent, at an address of its own.

    *users*: names or [[user]] tables. *edge*, *agent*, *registration*: further keys of these
    tables.
    """

    def __init__(
        self,
        network: Network,
        directory: Path,
        *,
        name: str = "edge",
        trunks: Sequence[Table] = (),
        users: Sequence[str | Table] = (),
        edge: Table | None = None,
        agent: Table | None = None,
        registration: Table | None = None,
        domain: str = "edge.example",
    ) -> None:
        """Write its settings file; `start()` starts it."""
        ip = network.ip(name)
        self.name = name
        self.domain = domain
        self.address = (ip, SIP_PORT)
        self.agent_socket = (ip, AGENT_PORT)
        self.file = directory / f"{name}.toml"
        self.process: Process | None = None
        self.env: dict[str, str] = {}
        """Further variables of the environment of `whence run`."""
        self._directory = directory
        self._log_file = directory / f"{name}.log"
        self._runs: list[Process] = []
        self._cli_runs = count(1)
        self._edge: Table = {
            "listen": [f"udp:{ip}:{SIP_PORT}"],
            "agent_socket": f"udp:{ip}:{AGENT_PORT}",
            "domain": domain,
            **(edge or {}),
        }
        self._agent: Table = {
            "state_dir": str(directory / f"{name}-state"),
            "api_listen": f"{ip}:{API_PORT}",
            **(agent or {}),
        }
        self._registration: Table = registration or {}
        self.state = Path(str(self._agent["state_dir"]))
        self.api = f"http://{self._agent['api_listen']}"
        self.trunks: list[Table] = []
        self.users: list[Table] = []
        self.edit(trunks=trunks, users=users)

    # --- start and end

    def start(self, within_s: float = PATIENCE_S) -> None:
        """Start `whence run`, and wait until it is up: from then on it restarts its children.

        It removes nothing that a killed run left: Whence itself must cope with that.
        """
        ups = self.log.count(UP) if self._log_file.exists() else 0
        self.launch()
        self.wait_healthy(within_s)
        process = self._running()
        eventually(
            lambda: self.log.count(UP) > ups or not process.running, within_s, f"{self.name} is up"
        )

    def launch(self) -> None:
        """Start `whence run`, and return at once."""
        assert not (self.process and self.process.running), f"{self.name} runs"
        argv: list[str | Path] = [beside_python("whence"), "run", "-c", self.file]
        self.process = Process(
            self.name, argv, self._log_file, env=self.env, stop_within_s=PATIENCE_S
        )
        self._runs.append(self.process)

    def wait_healthy(self, within_s: float = PATIENCE_S) -> None:
        """Wait until /healthz answers 200."""
        process = self._running()

        def settled() -> bool:
            return not process.running or self.health() == 200

        try:
            eventually(settled, within_s, f"{self.name} is healthy")
        except AssertionError as late:
            late.add_note(f"its log:\n{self.log[-4000:]}")
            raise
        assert process.running, f"{self.name} ended ({process.exit_status}); log:\n{self.log}"

    def stop(self) -> int:
        """End it with SIGTERM, and all processes of earlier runs; return its exit status."""
        statuses = [run.stop() for run in reversed(self._runs)]
        return statuses[0] if statuses else 0

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill_run(self) -> None:
        """Send SIGKILL to `whence run` alone."""
        process = self._running()
        process.signal(signal.SIGKILL)
        process.wait()

    def kill_kamailio(self) -> int:
        """Send SIGKILL to Kamailio's main process alone; its workers survive. Return its pid."""
        return _kill(self.kamailio_pids()[0])

    def crash_kamailio(self) -> None:
        """Kill Kamailio; return when its workers have ended and a new one serves."""
        before = self.kamailio_pids()
        self.kill_kamailio()
        eventually(lambda: not any(map(alive, before)), what="the end of the orphaned workers")
        self.wait_healthy()

    def kill_agent(self) -> int:
        """Send SIGKILL to the agent, and return its pid."""
        return _kill(self.agent_pid())

    def kamailio_pids(self) -> list[int]:
        """Return the pids of all Kamailio processes, the main one first."""
        run = self._running()
        found = [pid for pid in run.descendants() if program(pid) == "kamailio"]
        return sorted(found, key=lambda pid: (parent(pid) != run.pid, pid))

    def agent_pid(self) -> int:
        """Return the pid of the agent."""
        found = [
            pid
            for pid in self._running().descendants()
            if program(pid) != "kamailio" and "agent" in command_line(pid)
        ]
        assert len(found) == 1, f"{len(found)} agents run: {found}"
        return found[0]

    @property
    def log(self) -> str:
        return self._log_file.read_text("utf-8", "replace") if self._log_file.exists() else ""

    # --- settings file

    def edit(
        self,
        *,
        trunks: Sequence[Table] | None = None,
        users: Sequence[str | Table] | None = None,
    ) -> None:
        """Replace trunks or users in the settings file; `reload()` applies it."""
        if trunks is not None:
            self.trunks = list(trunks)
        if users is not None:
            self.users = [user(one) if isinstance(one, str) else one for one in users]
        tables = [("[edge]", self._edge), ("[agent]", self._agent)]
        tables += [("[registration]", self._registration)]
        tables += [("[[trunk]]", table) for table in self.trunks]
        tables += [("[[user]]", table) for table in self.users]
        self.file.write_text("\n".join(_toml(head, table) for head, table in tables), "utf-8")

    def reload(self) -> None:
        """Send SIGHUP to `whence run`. The caller waits for the effect."""
        self._running().signal(signal.SIGHUP)

    def password(self, name: str) -> str:
        """Return a user's password."""
        return next(str(table["password"]) for table in self.users if table["name"] == name)

    def wait_contact_stored(self, user_name: str) -> None:
        """Wait until the location table has a user's contact; Kamailio writes each second."""

        def written() -> bool:
            with closing(sqlite3.connect(self.state / "location.db")) as table:
                query = "SELECT count(*) FROM location WHERE username = ?"
                return bool(table.execute(query, (user_name,)).fetchone()[0])

        eventually(written, what=f"a contact of {user_name} in the location table")

    # --- API and command line

    def health(self) -> int:
        """Return the status of /healthz; 0 without an answer."""
        try:
            with self._client() as client:
                return client.get("/healthz").status_code
        except httpx.TransportError:
            return 0

    def get(self, path: str) -> Any:
        """Return the JSON of a GET, as `testkit.api.whole` does."""
        with self._client() as client:
            return whole(path, lambda one: client.get(one).raise_for_status().json())

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the JSON of a POST."""
        with self._client() as client:
            return numbers(client.post(path, json=body).raise_for_status().json())

    def metrics(self) -> str:
        with self._client() as client:
            return client.get("/metrics").raise_for_status().text

    def trunk(self, trunk_id: str) -> dict[str, Any]:
        """Return one trunk as the API shows it."""
        found: list[dict[str, Any]] = [
            one for one in self.get("/v1/trunks") if one["id"] == trunk_id
        ]
        assert len(found) == 1, f"{len(found)} trunks are called {trunk_id}"
        return found[0]

    def explain(self, source: str, ruri: str, **more: str) -> dict[str, Any]:
        """Return what the API explains about a made-up request."""
        answer: dict[str, Any] = self.post("/v1/explain", {"source": source, "ruri": ruri, **more})
        return answer

    def wait_registered(self, *trunk_ids: str, within_s: float = PATIENCE_S) -> None:
        """Wait until these trunks, or all enabled ones, are registered."""
        enabled = [str(table["id"]) for table in self.trunks if table.get("enabled", True)]
        for trunk_id in trunk_ids or enabled:
            self.wait_state(trunk_id, "registered", within_s)

    def wait_state(self, trunk_id: str, state: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a trunk is in this state, and return it as the API shows it then."""

        def reached() -> dict[str, Any]:
            now = self.trunk(trunk_id)
            if now["state"] != state:
                raise LookupError(f"{now['state']}: {now.get('message')}")
            return now

        return eventually(reached, within_s, f'trunk "{trunk_id}" {state}')

    def cli(
        self, *arguments: str, within_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `whence` with these arguments and this node's API to its end."""
        needs_api = bool(arguments) and arguments[0] in _WITH_API and "--api" not in arguments
        argv = [
            str(beside_python("whence")),
            *arguments,
            *(["--api", self.api] if needs_api else []),
        ]
        stem = self._directory / f"{self.name}-cli-{next(self._cli_runs)}"
        out, errors = stem.with_suffix(".out"), stem.with_suffix(".err")
        with Process(stem.name, argv, errors, out_file=out) as process:
            status = process.wait(within_s)
        return subprocess.CompletedProcess(
            argv, status, out.read_text("utf-8"), errors.read_text("utf-8")
        )

    def _client(self) -> httpx.Client:
        # The API has http only; loading CA certificates would take longer than the request.
        return httpx.Client(base_url=self.api, timeout=PATIENCE_S, trust_env=False, verify=False)

    def _running(self) -> Process:
        assert self.process, f"{self.name} was never started"
        return self.process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _kill(pid: int) -> int:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), what=f"the end of process {pid}")
    return pid


def _toml(head: str, table: Table) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in table.items()), ""])


def _value(value: object) -> str:
    """Write a TOML value. JSON's strings, numbers and booleans are valid in TOML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
