"""A problem at the start is one sentence that says what to do, and no process is left running."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testkit.network import Network, tcp_bound, udp_bound
from testkit.process import Process, beside_python
from whence.cli.service import preflight
from whence.core.sip.transport_address import TransportAddress
from whence.errors import OperatorError

OLD = "version: kamailio 4.4.7 (x86_64/linux)"
VALID = "version: kamailio 5.6.3 (x86_64/linux)"
NO_PYTHON = (
    " 0(4711) ERROR: <core> [core/sr_module.c:510]: ksr_locate_module(): could not find module "
    "<app_python3> in </usr/lib/x86_64-linux-gnu/kamailio/modules>\n"
    " 0(4711) CRITICAL: <core> [core/cfg.y:3787]: yyerror_at(): parse error in config file "
    "/x/kamailio.cfg, line 60, column 12-27: failed to load module"
)
NO_SQLITE = NO_PYTHON.replace("app_python3", "db_sqlite")
BAD_PARAMETER = (
    " 0(4711) ERROR: <core> [core/modparam.c:168]: set_mod_param_regex(): parameter <new_one> of "
    "type <2:int> not found in module <tm>"
)


class Place:
    """A network and a folder of its own, with a valid settings file."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.ip = network.ip("edge")
        self.folder = folder
        self.state = folder / "state"
        self.file = folder / "whence.toml"
        self.write()

    def write(self, state: Path | None = None, **edge: str) -> None:
        keys = {
            "listen": f'["udp:{self.ip}:5060", "tcp:{self.ip}:5060"]',
            "agent_socket": f'"udp:{self.ip}:5062"',
            **edge,
        }
        lines = ["[edge]", *(f"{key} = {value}" for key, value in keys.items())]
        lines += [
            "[agent]",
            f'state_dir = "{state or self.state}"',
            f'api_listen = "{self.ip}:8088"',
        ]
        self.file.write_text("\n".join(lines), encoding="utf-8")

    def kamailio(self, version: str = VALID, stderr: str = "", status: int = 0) -> None:
        """Put a fake before the real Kamailio. It prints a version, or the result of a check."""
        output = self.folder / "output"
        output.write_text(stderr + "\n", encoding="utf-8")
        script = self.folder / "kamailio"
        script.write_text(
            f'#!/bin/sh\n[ "$1" = -v ] && echo "{version}" && exit 0\n'
            f"cat '{output}' >&2\nexit {status}\n",
            encoding="utf-8",
        )
        script.chmod(0o755)

    def run(self, command: str = "run") -> str:
        """Run a command that must fail; return its sentence."""
        process = Process(
            command,
            [beside_python("whence"), command, "-c", self.file],
            self.folder / "log",
            env={"PATH": f"{self.folder}:{os.environ['PATH']}"},
        )
        try:
            assert process.wait(30) == 1, process.log
            assert process.descendants() == []
        finally:
            process.kill()
        (line,) = process.log.splitlines()
        assert line.startswith("whence: ")
        return line.removeprefix("whence: ")

    def nothing_listens(self) -> bool:
        return not (
            udp_bound(self.ip, 5060)
            or udp_bound(self.ip, 5062)
            or tcp_bound(self.ip, 5060)
            or tcp_bound(self.ip, 8088)
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Network() as network:
        yield Place(network, tmp_path)


@contextmanager
def bound(kind: socket.SocketKind, ip: str, port: int) -> Iterator[None]:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((ip, port))
        if kind is socket.SOCK_STREAM:
            other.listen()
        yield


@pytest.mark.parametrize(
    ("kind", "transport", "port"),
    [
        (socket.SOCK_DGRAM, "udp", 5060),
        (socket.SOCK_STREAM, "tcp", 5060),
        (socket.SOCK_DGRAM, "udp", 5062),
    ],
)
def test_start_names_a_port_in_use(
    place: Place, kind: socket.SocketKind, transport: str, port: int
) -> None:
    with bound(kind, place.ip, port):
        assert place.run() == (
            f"the socket {transport}:{place.ip}:{port} is in use; stop the program that listens "
            "there (ss -lnp shows it), or name another one"
        )
    assert place.nothing_listens()


def test_retry_waits_until_the_check_passes() -> None:
    results = iter(["in use", "in use", None])

    def check() -> None:
        if problem := next(results):
            raise OperatorError(problem)

    preflight.retry(check, within_s=60)
    assert list(results) == []


@pytest.mark.parametrize("command", ["run", "agent"])
def test_start_names_an_api_port_in_use(place: Place, command: str) -> None:
    with bound(socket.SOCK_STREAM, place.ip, 8088):
        assert place.run(command) == (
            f"the API's address {place.ip}:8088 cannot be used: Address already in use; stop what "
            "listens there, or name another one as agent api_listen"
        )
    assert place.nothing_listens()


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("ascii")) <= 443,
    reason="all users may use port 443 here",
)
def test_start_names_the_right_that_a_low_port_needs() -> None:
    wanted = TransportAddress.parse("tcp:127.0.0.1:443")
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            preflight.port_is_free(wanted)
        except OperatorError as error:
            os._exit(42 if "a port below 1024 needs CAP_NET_BIND_SERVICE" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_start_names_an_address_of_no_interface(place: Place) -> None:
    place.write(listen='["udp:192.0.2.1:5060"]')
    assert place.run() == (
        "the socket udp:192.0.2.1:5060 cannot be used: Cannot assign requested address; name an "
        "address of this machine, or name another one"
    )


@pytest.mark.parametrize("command", ["run", "agent"])
@pytest.mark.parametrize("below", ["", "below/state"])
def test_start_names_a_state_directory_it_cannot_make(
    place: Place, command: str, below: str
) -> None:
    file = place.folder / "file"
    file.write_text("", encoding="utf-8")
    state = file / below if below else file
    place.write(state=state)
    why = "Not a directory" if below else "File exists"
    assert place.run(command) == (
        f"the state directory {state} cannot be made: {why}; make it for this user, or name "
        "another one as agent state_dir"
    )


def test_kamailio_version_without_kamailio_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorError) as problem:
        preflight.kamailio_version()
    assert str(problem.value) == "Kamailio is not installed; install it: apt-get install kamailio"


@pytest.mark.parametrize(
    ("version", "number"), [(OLD, "4.4"), (OLD.replace("4.4.7", "5.5.9"), "5.5"), ("?", "0.0")]
)
def test_start_refuses_an_old_kamailio(place: Place, version: str, number: str) -> None:
    place.kamailio(version)
    assert place.run() == (
        f"this Kamailio is {number}, and Whence needs 5.6 or newer; upgrade Kamailio"
    )
    assert place.nothing_listens()


@pytest.mark.parametrize("version", ["5.6.3", "5.10.0", "6.1.4", "10.0.0"])
def test_kamailio_version_accepts_newer_ones(
    place: Place, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    place.kamailio(VALID.replace("5.6.3", version))
    monkeypatch.setenv("PATH", f"{place.folder}:{os.environ['PATH']}")
    preflight.kamailio_version()


@pytest.mark.parametrize(
    ("stderr", "module", "package"),
    [
        (NO_PYTHON, "app_python3", "kamailio-python3-modules"),
        (NO_SQLITE, "db_sqlite", "kamailio-sqlite-modules"),
        (NO_SQLITE.replace("db_sqlite", "tls"), "tls", "kamailio-tls-modules"),
    ],
)
def test_start_names_the_package_of_a_missing_module(
    place: Place, stderr: str, module: str, package: str
) -> None:
    place.kamailio(stderr=stderr, status=255)
    assert place.run() == (
        f"Kamailio has no module {module}; install it: apt-get install {package}"
    )
    assert place.nothing_listens()


def test_start_shows_the_first_error_of_kamailio(
    place: Place,
) -> None:
    place.kamailio(stderr=BAD_PARAMETER, status=255)
    problem = place.run()
    assert problem.startswith(f"Kamailio rejects its configuration {place.state}/kamailio.cfg: ")
    assert "parameter <new_one>" in problem
    assert place.nothing_listens()


def test_kamailio_takes_reads_the_real_error_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake above prints the text of the real Kamailio."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    config = tmp_path / "kamailio.cfg"
    config.write_text('loadmodule "nowhere.so"\n', encoding="utf-8")
    with pytest.raises(OperatorError) as problem:
        preflight.kamailio_takes(config)
    assert str(problem.value).startswith("Kamailio has no module nowhere; install it: ")
    real = subprocess.run(
        ["kamailio", "-c", "-f", config], capture_output=True, text=True, check=False
    )
    assert "could not find module <nowhere>" in real.stderr
