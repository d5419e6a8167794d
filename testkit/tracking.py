"""`whence agent --track-only` beside a Kamailio with a drop-in, its API and its commands."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from testkit.api import whole
from testkit.drop_in import DropIn
from testkit.process import Process, beside_python
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import API_PORT


class Tracking:
    """A running `whence agent --track-only`; it ends with its context."""

    def __init__(self, native: DropIn, file: str = "") -> None:
        """Start it. *file*: content of drop-in.toml before the table `[agent]`."""
        self.folder = native.folder
        self.api = f"http://{native.address[0]}:{API_PORT}"
        self._file = self.folder / "drop-in.toml"
        self.write(file)
        argv: list[str | Path] = [beside_python("whence"), "agent", "--track-only", "-c"]
        self._process = Process(
            "tracking", [*argv, self._file], self.folder.with_name("tracking.log")
        )
        eventually(lambda: self.status("/v1/trunks") == 200, what="the agent answers")

    def write(self, file: str) -> None:
        """Replace drop-in.toml; `whence reload` applies it."""
        place = self.api.removeprefix("http://")
        own = f'api_listen = "{place}"\nunknown_requests_per_minute_alarm = 3\n'
        self._file.write_text(f"{file}\n[agent]\n{own}")

    def status(self, path: str) -> int:
        """Return the status of a GET; 0 without an answer."""
        try:
            with self._client() as client:
                return client.get(path).status_code
        except httpx.TransportError:
            return 0

    def get(self, path: str) -> Any:
        """Return the JSON of a GET, as `testkit.api.whole` does."""
        with self._client() as client:
            return whole(path, lambda one: client.get(one).raise_for_status().json())

    def metrics(self) -> str:
        with self._client() as client:
            return client.get("/metrics").raise_for_status().text

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `whence` with these arguments and this agent's API."""
        argv = [str(beside_python("whence")), *arguments, "--api", self.api]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def output(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its standard output."""
        done = self.cli(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _client(self) -> httpx.Client:
        # The API has http only; loading CA certificates would take longer than the request.
        return httpx.Client(base_url=self.api, timeout=PATIENCE_S, trust_env=False, verify=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.stop()
