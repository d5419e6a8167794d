"""The agent: builds all parts, runs them in one task group, ends them in order.

A problem that the operator can mend is a ProblemError with one sentence; nothing is half-started.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import uvicorn
import uvloop

from whence.agent import api_happened, location
from whence.agent.api import Parts, make
from whence.agent.api_happened import Happened
from whence.agent.calls import Calls, CallsFile
from whence.agent.clashes import Clashes
from whence.agent.directory import FILE, Directory, DirectoryError
from whence.agent.edge_config import LOCATION_FILE, write_tls_config
from whence.agent.events import Events, WrongTokens
from whence.agent.faults import FaultyFileError, ProblemError
from whence.agent.kamailio import PATIENCE_S, Kamailio
from whence.agent.keepalive import KeepAlives
from whence.agent.metrics import ClashMetrics, EventMetrics, Metrics, ToldMetrics, registry
from whence.agent.records import Records
from whence.agent.registrations import Registrations
from whence.agent.reload import Reload
from whence.agent.resolver import Resolver
from whence.agent.settings import Settings, load
from whence.agent.siblings import Siblings
from whence.agent.strangers import Strangers
from whence.agent.told import Hearing, ToldError
from whence.agent.webhook import Webhook
from whence.core.strangers import Rate
from whence.core.strangers import Strangers as KeptStrangers
from whence.core.told import SOCKET_FILE

log = logging.getLogger(__name__)

LOCK_FILE = "agent.lock"


def prepare_state(settings: Settings) -> None:
    """Make the state directory, for this user alone; ProblemError if that cannot be done."""
    os.umask(0o077)
    state = settings.state
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


@contextmanager
def alone(path: Path, who: str) -> Iterator[None]:
    """Hold the lock at `path` while inside; ProblemError says who has it."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ProblemError(
                f"{who} already runs on the state directory {path.parent}, as process "
                f"{file.read().strip() or 'unknown'}; stop it, or name another agent state"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def api_socket(settings: Settings) -> socket.socket:
    """Bind the API's socket; ProblemError where its port is taken."""
    host, port = settings.agent.api_place
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(64)
    except OSError as error:
        bound.close()
        raise ProblemError(
            f"the API's address {settings.agent.api} cannot be used: {error.strerror}; stop what "
            "listens there, or name another one as agent api"
        ) from None
    return bound


def run(path: Path) -> None:
    """Run the agent on the file `path` until SIGINT or SIGTERM. SIGHUP reads the file again."""
    settings = load(path)
    prepare_state(settings)
    with alone(settings.state / LOCK_FILE, "an agent"), api_socket(settings) as bound:
        try:
            location.make(settings.state / LOCATION_FILE)
            directory = Directory(settings.state / FILE)
            write_tls_config(settings)
            hearing = Hearing(settings.state / SOCKET_FILE)
        except (DirectoryError, location.LocationError, ToldError) as error:
            raise ProblemError(str(error)) from error
        try:
            uvloop.run(_serve(path, settings, directory, hearing, bound))
        finally:
            hearing.close()
            directory.close()


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the agent has one for all its parts."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


async def _serve(
    path: Path,
    settings: Settings,
    directory: Directory,
    hearing: Hearing,
    bound: socket.socket,
) -> None:
    kamailio = await Kamailio.connect(
        settings.edge.inside,
        directory.new_inside_key(),
        settings.registration.answer + PATIENCE_S,
        settings.edge.tls.peer().fault if settings.edge.has_tls else None,
    )
    sockets = [(own.transport, own.ip.version) for own in settings.edge.listen]
    resolver = Resolver(Records(settings.agent.nameserver_place), sockets)
    registrations = Registrations(directory, kamailio, resolver)
    own = settings.agent
    webhook = Webhook(own.webhook, own.webhook_token_file) if own.webhook else None
    events = Events([webhook] if webhook is not None else [])
    registrations.happened = events.happened
    keepalives = KeepAlives(kamailio, registrations)
    registrations.watchers.append(keepalives)
    siblings = Siblings(directory, resolver, settings, not_in_dns=events.not_in_dns)
    registrations.watchers.append(siblings)

    def apply(settings: Settings) -> None:
        registrations.apply(settings)
        siblings.apply(settings)

    apply(settings)
    reload = Reload(path, settings, apply)
    calls = Calls(own.calls, CallsFile(Path(own.calls_file)) if own.calls_file else None)
    strangers = Strangers(
        directory,
        registrations,
        KeptStrangers(own.strangers),
        Rate(own.strangers_alarm),
        events.too_many_strangers,
    )
    clashes = Clashes(directory.path, events.clash)
    directory.on_change = clashes.changed
    metrics = registry(
        Metrics(directory, registrations, keepalives, kamailio),
        ToldMetrics(hearing, calls, strangers, registrations),
        EventMetrics(events, webhook),
        ClashMetrics(clashes),
    )
    parts = Parts(
        reload,
        directory,
        settings.state / LOCATION_FILE,
        registrations,
        keepalives,
        kamailio,
        clashes,
        metrics,
    )
    api = make(parts)
    api_happened.add(api, Happened(directory, calls, strangers, events))
    server = _Server(uvicorn.Config(api, log_level="warning", lifespan="off"))

    def hang_up() -> None:
        with suppress(FaultyFileError, DirectoryError):  # it has been logged
            reload()

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up)

    log.info(
        "agent for %d trunks and %d users; API at http://%s",
        len(settings.trunk),
        len(settings.user),
        settings.agent.api,
    )
    hearing.start([calls.hear, strangers.hear, WrongTokens(events).hear])
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[bound]), name="api")
        keeping = [
            group.create_task(registrations.run(), name="registrations"),
            group.create_task(keepalives.run(), name="keep-alives"),
            group.create_task(siblings.run(), name="siblings"),
            group.create_task(events.run(), name="events"),
            group.create_task(clashes.run(), name="clashes"),
        ]
        if webhook is not None:
            keeping.append(group.create_task(webhook.run(), name="webhook"))
        await stop.wait()
        for task in keeping:
            task.cancel()
        await registrations.stop()
        server.should_exit = True
        await serving
    hearing.stop()
    kamailio.close()
    log.info("agent stopped")
