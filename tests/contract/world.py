"""Kamailio with the configuration of Whence, and a loopback network around it."""

import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.certificates import Authority
from testkit.namespace import Namespace
from testkit.network import SIP_PORT, Network
from testkit.process import Process
from testkit.resolv import with_nameserver
from testkit.sip import Address, Endpoint, Message
from testkit.wait import eventually
from tests.contract.agent_requests import options
from tests.contract.books import DOMAIN, Books, Hide, edge_settings
from whence.agent.kamailio import config as edge_config
from whence.agent.kamailio import start
from whence.store import location


class World:
    """Kamailio with the edge in it. One for all tests of a session."""

    def __init__(
        self,
        folder: Path,
        hide: Hide | None = None,
        workers: int = 1,
        namespace: Namespace | None = None,
        *,
        nameserver: bool = False,
        resolver: str = "",
        parameters: str = "",
        listen: Sequence[str] = (),
        known_answers: bool = True,
        simple_dialogs: bool = True,
        calls_out: bool = False,
        **edge: object,
    ) -> None:
        """Start it. `hide` changes the directory's file before.

        *edge* are further keys of `[edge]`, and `phones` and `media` have those of
        `[phones]` and `[media]`. `tcp=True` has
        it listen over TCP too, `streams=True` over TCP, TLS and at an IPv6 address. In a
        *namespace* everything of this world is inside, and nothing gets out. `nameserver`:
        Kamailio asks the socket `self.nameserver`, which never answers. *resolver*: the ip of a
        name server that answers, at port 53. *parameters*: lines for the end of kamailio.cfg.
        *listen*: the sockets, with `{edge}` and `{edge6}` in them.
        `calls_out`: users may call numbers.
        """
        self._stack = ExitStack()
        self._namespace = namespace
        network = self.network()
        self.nameserver = (
            self._stack.enter_context(Endpoint(network.ip("dns"), 53)) if nameserver else None
        )
        self.edge: Address = (network.ip("edge"), SIP_PORT)
        self.agent_socket: Address = (self.agent_ip(), SIP_PORT + 2)
        self.tls: Address = (network.ip("edge"), SIP_PORT + 1)
        self.edge6: Address = ("::1", network.port())
        self.authority: Authority | None = None
        """Of a world with TLS: the CA that the edge accepts."""
        streams = bool(edge.pop("streams", False))
        if edge.pop("tcp", False) or streams:
            sockets = [f"{t}:{self.edge[0]}:{self.edge[1]}" for t in ("udp", "tcp")]
            if streams:
                sockets += [f"{t}:[::1]:{self.edge6[1]}" for t in ("udp", "tcp")]
                sockets.append(f"tls:{self.tls[0]}:{self.tls[1]}")
                self.authority = Authority("limits", folder)
                ours = self.authority.certificate(f"DNS:{DOMAIN}")
                edge["tls"] = {
                    "certificate": str(ours.certificate),
                    "key": str(ours.key),
                    "ca": str(self.authority.file),
                }
            websockets: dict[str, int] = edge.pop("websockets", {})  # type: ignore[assignment]
            sockets += [f"{t}:{self.edge[0]}:{port}" for t, port in websockets.items()]
            edge["listen"] = sockets
        elif listen:
            places = {"edge": f"{self.edge[0]}:{self.edge[1]}", "edge6": f"[::1]:{self.edge6[1]}"}
            edge["listen"] = [socket.format(**places) for socket in listen]
        self.folder = folder
        phones, media = edge.pop("phones", {}), edge.pop("media", {})
        settings = edge_settings(self.edge, self.agent_socket, workers, **edge)
        self.books = Books(folder, settings, phones, media, calls_out=calls_out)
        self._stack.enter_context(self.books)
        if hide is not None:
            self.books.hide(hide)
        location.make(folder / start.LOCATION_FILE)
        edge_config.write_tls_config(self.books.settings)
        config = folder / start.CONFIG_FILE
        rendered = edge_config.render(
            self.books.settings,
            folder / "whence.toml",
            known_answers=known_answers,
            simple_dialogs=simple_dialogs,
        )
        config.write_text(f"{rendered}\n{parameters}\n")
        command = start.command(str(config))
        if self.nameserver is not None:
            resolver = self.nameserver.address[0]
        if resolver:
            command = with_nameserver(command, resolver, folder)
        if namespace is not None:
            command = namespace.enter(command)
        self._command, self._log = command, folder / "kamailio.log"
        self.process = self._start()

    def _start(self) -> Process:
        """Start Kamailio, and return when it answers on its agent socket."""
        process = self._stack.enter_context(Process("kamailio", self._command, self._log))
        with self.endpoint(self.agent_socket[0]) as agent:
            ask = options(self, agent, secrets.token_hex(8))

            def answers() -> bool:
                if not process.running:
                    raise ChildProcessError(process.log)
                return agent.ask(ask, self.agent_socket, within_s=0.2).status > 0  # to any of them

            eventually(answers, what="Kamailio's answer on its agent socket")
        return process

    def restart(self) -> None:
        """Kill Kamailio, and start it again on the same configuration."""
        self.process.kill()
        self.process = self._start()

    def stored_users(self) -> set[str]:
        """Return the users with a phone in the location table."""
        return set(self._contacts())

    def contacts(self, user: str) -> list[location.UserContact]:
        """Return the phones of a user in the location table."""
        return self._contacts().get(user, [])

    def _contacts(self) -> dict[str, list[location.UserContact]]:
        return location.contacts(self.folder / start.LOCATION_FILE, time.time())

    def now(self) -> float:
        """Return the time of the edge's clock."""
        return time.time()

    def network(self) -> Network:
        """Return a network that lasts until this world ends."""
        return self._stack.enter_context(Network())

    def agent_ip(self) -> str:
        """Return the loopback address of the agent's socket."""
        return self.edge[0]

    def endpoint(self, ip: str, port: int = 0) -> Endpoint:
        """Return a socket on a loopback address."""
        bound = self._namespace.socket("udp", ip, port) if self._namespace else None
        return Endpoint(ip, port, bound)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Caller:
    """A trunk, and a socket at its learned address."""

    id: str
    token: str
    at: Endpoint


def whence_headers(message: Message) -> list[tuple[str, str]]:
    """Return the X-Whence headers of a message, in any spelling."""
    return [
        (name, value)
        for name, value in message.headers
        if "whence" in f"{name}{value}".lower() and name.lower() not in ("route", "record-route")
    ]


def questions(world: World) -> list[bytes]:
    """Return the DNS queries for a name of the test. Kamailio queries its own host at its start."""
    assert world.nameserver is not None
    return [query for query in world.nameserver.waiting() if b"never-answers" in query]
