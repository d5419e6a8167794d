"""Check, before a start, that Kamailio and the agent can start. Each problem is one sentence.

The first agent of `whence run` runs these checks.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from whence.agent.config.models import Config
from whence.agent.config.to_core import LoadedSettings
from whence.agent.kamailio.config import render, write, write_tls_config
from whence.agent.kamailio.start import CONFIG_FILE, LOCATION_FILE, command
from whence.agent.provisioning.provisioned import load_with_api
from whence.agent.runtime.lock import LOCK_FILE, RUN_LOCK_FILE, alone
from whence.agent.runtime.process import api_socket
from whence.agent.runtime.state_directory import prepare_state
from whence.cli.service.link import Prepared, RunLink
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.errors import LocationError, OperatorError
from whence.ipc.decisions import SOCKET_FILE
from whence.store import location
from whence.trust.settings import load_trusted

OLDEST_KAMAILIO = (5, 6)
LEFTOVERS_S = 10.0
RELEASE_S = 1.0

_BIND_PROBLEMS = {
    errno.EADDRINUSE: "is in use; stop the program that listens there (ss -lnp shows it)",
    errno.EACCES: (
        "cannot be used: a port below 1024 needs CAP_NET_BIND_SERVICE; add it to the unit "
        "(AmbientCapabilities=)"
    ),
}

_PACKAGE_OF_MODULE = {
    "app_python3": "kamailio-python3-modules",
    "db_sqlite": "kamailio-sqlite-modules",
    "tls": "kamailio-tls-modules",
    "websocket": "kamailio-websocket-modules",
}


def prepare(file: Path, link: RunLink) -> LoadedSettings:
    """Check that all can start on `file`, and hand the lock of the state directory to `link`.

    The processes that a killed run left behind are ended first. The lock proves that no other run
    is alive. The state directory in their command line identifies these processes.

    Raises: ConfigError, OperatorError.
    """
    loaded = LoadedSettings.of(*load_trusted(file, load_with_api))
    settings = loaded.config
    prepare_state(settings.state)
    kamailio_version()
    with alone(settings.state / RUN_LOCK_FILE, "a whence run", os.getppid()) as lock:
        end_leftovers(settings.state)
        retry(lambda: _check_nothing_interferes(settings))
        try:
            location.make(settings.state / LOCATION_FILE)
        except LocationError as error:
            raise OperatorError(str(error)) from None
        config = settings.state / CONFIG_FILE
        write(config, render(settings, file))
        write_tls_config(settings)
        kamailio_takes(config)
        link.prepared(_prepared(loaded), lock)
    return loaded


def _prepared(loaded: LoadedSettings) -> Prepared:
    settings = loaded.config
    return Prepared(
        decision_socket=str(settings.state / SOCKET_FILE),
        kamailio_config=str(settings.state / CONFIG_FILE),
        trunks=len(loaded.node.trunks),
        connections=settings.edge.connections if settings.edge.has_streams else 0,
        log_format=settings.agent.log_format,
    )


def retry(check: Callable[[], None], within_s: float = RELEASE_S) -> None:
    """Repeat a check until it passes or `within_s` have gone by.

    A killed process leaves the process table before the kernel releases its locks and ports.

    Raises: OperatorError: the last result of the check.
    """
    until = time.monotonic() + within_s
    while True:
        try:
            return check()
        except OperatorError:
            if time.monotonic() > until:
                raise
        time.sleep(0.02)


def _check_nothing_interferes(settings: Config) -> None:
    with alone(settings.state / LOCK_FILE, "an agent"):
        pass  # no other agent runs; ours takes this lock when it starts
    for wanted in (*settings.edge.listen, settings.edge.agent_socket):
        port_is_free(wanted)
    api_socket(settings.agent).close()


def kamailio_version() -> str:
    """Return the version of the installed Kamailio.

    Raises: OperatorError: there is none, or it is too old.
    """
    if shutil.which("kamailio") is None:
        raise OperatorError("Kamailio is not installed; install it: apt-get install kamailio")
    shown = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"kamailio (?P<whole>(\d+)\.(\d+)\S*)", shown)
    version = (int(found[2]), int(found[3])) if found else (0, 0)
    if version < OLDEST_KAMAILIO:
        raise OperatorError(
            f"this Kamailio is {'.'.join(map(str, version))}, and Whence needs "
            f"{'.'.join(map(str, OLDEST_KAMAILIO))} or newer; upgrade Kamailio"
        )
    return found["whole"] if found else ""


def module_folders() -> list[Path]:
    """Return the folders in which the installed Kamailio looks for its modules."""
    shown = subprocess.run(["kamailio", "-I"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"paths to modules: (\S+)", shown)
    return [Path(one) for one in found[1].split(":")] if found else []


def kamailio_takes(config: Path) -> None:
    """Check a configuration with `kamailio -c`, which finds missing modules and parameters.

    Raises: OperatorError: Kamailio's first error.
    """
    checked = subprocess.run(
        ["kamailio", "-c", "-f", str(config)],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if checked.returncode == 0:
        return
    output = checked.stderr + checked.stdout
    missing = re.search(r"could not find module <(\w+?)(?:\.so)?>", output)
    if missing:
        package = _PACKAGE_OF_MODULE.get(missing[1], "kamailio")
        raise OperatorError(
            f"Kamailio has no module {missing[1]}; install it: apt-get install {package}"
        )
    errors = [line for line in output.splitlines() if "ERROR" in line or "CRITICAL" in line]
    raise OperatorError(
        f"Kamailio rejects its configuration {config}: {errors[0] if errors else output[-300:]}"
    )


def port_is_free(wanted: TransportAddress) -> None:
    """Check that Kamailio can bind a socket, by binding and closing it.

    Raises: OperatorError.
    """
    family = socket.AF_INET6 if wanted.ip.version == 6 else socket.AF_INET
    kind = socket.SOCK_DGRAM if wanted.transport is Transport.UDP else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(wanted.ip), wanted.port))
        except OSError as error:
            problem = _BIND_PROBLEMS.get(
                error.errno or 0,
                f"cannot be used: {error.strerror}; name an address of this machine",
            )
            raise OperatorError(f"the socket {wanted} {problem}, or name another one") from None


def end_leftovers(state: Path) -> None:
    """End the Kamailio that a killed run left on `state`, and wait for its end.

    The agent of that run is not among them: the kernel kills it with the run.

    Raises: OperatorError: a process does not end.
    """
    signals = [signal.SIGTERM, signal.SIGKILL]
    deadline = time.monotonic() + LEFTOVERS_S
    while leftovers := _leftovers(state):
        if time.monotonic() > deadline:
            raise OperatorError(
                f"processes {leftovers} of an earlier run do not end; end them with kill -9"
            )
        # Kamailio's children outlive a killed parent.
        signal_number = signals.pop(0) if len(signals) > 1 else signals[0]
        for pid in leftovers:
            _signal(pid, signal_number)
        until = time.monotonic() + 2.0
        while _leftovers(state) and time.monotonic() < until:
            time.sleep(0.02)


def _leftovers(state: Path) -> list[int]:
    """Return the processes that run Kamailio on the configuration of this state directory."""
    wanted = command(str(state / CONFIG_FILE))
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended
        if Path(words[0]).name == wanted[0] and words[1:3] == wanted[1:3]:
            found.append(int(process.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise OperatorError(
            f"process {pid} of an earlier run belongs to another user; end it as that user"
        ) from None
