"""Two Kamailios at the same addresses, each in a network namespace of its own."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testkit.namespace import Namespace
from testkit.network import SIP_PORT, Network
from testkit.sip import Address, Endpoint, request
from tests.contract.books import DOMAIN
from tests.contract.reports import Agent
from tests.contract.world import World
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.identification.address import Address as Admitted
from whence.core.identification.address import Origin
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.ipc.decisions import DecisionReport

PASSWORD = "secret"
HOUR_S = 3600.0
SENDERS = ("shared", "solo", "extra", "short", "guest", "unknown")
"""Machines that call: of two trunks, of one, of one with further number headers, of one with short
grants, of a source that the operator allows and revokes, and of an unknown source."""

PROXIES = ("proxy", "outer")
"""Machines behind which a party may be reached."""

ELSEWHERE = 5099
"""A port of the PBX from which it does not answer."""

QUIET: dict[str, Any] = {"flood": 0, "connections_per_source": 0}
NO_REPEATS = "\n".join(
    f'modparam("tm", "{name}", {value_ms})'
    for name, value_ms in {
        "retr_timer1": 60_000,
        "retr_timer2": 60_000,
        "max_noninv_lifetime": 3_600_000,
        "fr_timer": 600_000,
        "fr_inv_timer": 600_000,
    }.items()
)
"""No retransmission and no timeout: when they come would differ between the two."""


class FixedWorld(World):
    """A world whose addresses are those of a given network."""

    def __init__(self, folder: Path, block: Network, **options: Any) -> None:
        self._block = block
        super().__init__(folder, **options)

    def network(self) -> Network:
        return self._block

    def agent_ip(self) -> str:
        return "127.0.0.1"


class Node:
    """One Kamailio, the machines around it, and its directory."""

    def __init__(self, folder: Path, block: Network, *, fast: bool, sockets: int = 1) -> None:
        """*sockets*: how many the edge has. Phones register at the last one."""
        folder.mkdir()
        inside = [block.ip(f"inside {number}") for number in range(1, sockets)]
        self._stack = ExitStack()
        namespace = self._stack.enter_context(Namespace(folder))
        self.world = self._stack.enter_context(
            FixedWorld(
                folder,
                block,
                namespace=namespace,
                parameters=NO_REPEATS,
                known_answers=fast,
                simple_dialogs=fast,
                listen=["udp:{edge}", *(f"udp:{ip}:{SIP_PORT}" for ip in inside)],
                **QUIET,
            )
        )
        self.edge = self.world.edge
        self._block = block
        self.senders = {name: self._endpoint(name, SIP_PORT) for name in SENDERS}
        self.pbx = self._endpoint("pbx", SIP_PORT)
        self.elsewhere = self._endpoint("pbx", ELSEWHERE)
        self.phone = self._endpoint("phone", SIP_PORT)
        self.proxies = {name: self._endpoint(name, SIP_PORT) for name in PROXIES}
        self._fence = self._endpoint("fence", SIP_PORT)
        self._fences = 0
        self.agent = Agent(self)
        self._stack.callback(self.agent.close)
        users = ("alice", "absent")
        for name in users:
            self.books.add(UserConfig.model_validate({"name": name, "password": PASSWORD}))
        at = (inside[-1], SIP_PORT) if inside else self.edge
        answer = self.phone.register(at, "alice", PASSWORD, DOMAIN)
        assert answer.status == 200

    @property
    def books(self) -> Any:
        """The directory and its content."""
        return self.world.books

    @property
    def targets(self) -> dict[str, Endpoint]:
        """The machines that calls may reach."""
        return {"pbx": self.pbx, "elsewhere": self.elsewhere, "phone": self.phone}

    @property
    def machines(self) -> dict[str, Endpoint]:
        """All machines around the edge."""
        return {**self.senders, **self.targets, **self.proxies}

    def _endpoint(self, machine: str, port: int) -> Endpoint:
        made = self.world.endpoint(self._block.ip(machine), port)
        return self._stack.enter_context(made)

    # --- the directory

    def put(self, id_: str, at: str, target: str, **more: object) -> None:
        """Add a trunk, or replace it. Its calls come from the machine `at`."""
        values = {
            "id": id_,
            "registrar": f"sip:{self._block.ip(at)}",
            "user": f"acct-{id_}",
            "password": PASSWORD,
            "target": target,
            **more,
        }
        if any(trunk.id == id_ for trunk in self.books.settings.trunk):
            self.books.remove(id_)
        self.books.add(TrunkConfig.model_validate(values))
        with closing(sqlite3.connect(self.books.directory.path)) as database, database:
            database.execute("UPDATE trunk SET token = ? WHERE id = ?", (token_of(id_), id_))
        self.learn(id_, at, HOUR_S)

    def learn(self, id_: str, at: str, granted_s: float) -> None:
        """Store a grant of the trunk's registrar."""
        now = time.time()
        source = TransportAddress(Transport.UDP, canonical_ip(self._block.ip(at)), SIP_PORT)
        self.books.learn(id_, source, now, now + granted_s)

    def remove(self, id_: str) -> None:
        """Remove a trunk."""
        self.books.remove(id_)
        self.books.settle()

    def allow(self, id_: str, at: str) -> None:
        """Admit calls of an unknown source as the trunk's."""
        ip, now = canonical_ip(self._block.ip(at)), time.time()
        self.books.directory.pin(
            id_, Admitted(ip, None, Transport.UDP, Origin.PINNED, "", now, now + HOUR_S)
        )
        self.books.settle()

    def revoke(self, id_: str, at: str) -> None:
        """End that."""
        self.books.directory.unpin(id_, canonical_ip(self._block.ip(at)), time.time())
        self.books.settle()

    # --- messages

    def await_edge(self) -> None:
        """Return when the edge has finished all messages that were sent to it."""
        self._fences += 1
        uri = f"sip:{self.edge[0]}:{self.edge[1]}"
        ask = request("OPTIONS", uri, self._fence.address, call_id=f"fence-{self._fences}")
        self._fence.send(ask, self.edge)
        self._fence.expect(lambda message: message.call_id == ask.call_id, what="the fence")

    def reports(self) -> Iterator[DecisionReport]:
        """Return the edge's reports that have arrived, without those of fences."""
        while not self.agent.is_idle():
            report = self.agent.report()
            if not report.call_id.startswith("fence-"):
                yield report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def token_of(id_: str) -> str:
    """Return the token of a trunk, which both nodes give it."""
    return hashlib.sha256(id_.encode()).hexdigest()[:24]


def place(address: Address) -> str:
    """Write an address as ip:port."""
    return f"{address[0]}:{address[1]}"
