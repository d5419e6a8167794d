"""Whence as an operator runs it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack, closing

from bench.contestants.base import READY_WITHIN_S, USER, Contestant, Stage
from bench.contestants.native import RATE, account
from bench.registrar import DOMAIN, password
from testkit.directory import install
from testkit.process import Process
from testkit.whence import Table, Whence
from whence.agent.config.load import load
from whence.agent.config.to_core import node_settings
from whence.core.identification.address import Address, Origin
from whence.core.registration.model import Registration, State
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.store import rows, statements
from whence.store.directory import FILE, Directory

GRANTED_S = 86_400
ASKS_AGAIN_S = 60_000
SOURCE_PORT = 5060


class Node(Contestant):
    """`whence run` with the trunks of the layout, registered at the registrar, all alice's."""

    key = "whence"
    title = "Whence"
    registers = True

    def __init__(self, stage: Stage, name: str = "") -> None:
        super().__init__(stage, name)
        self.node = Whence(
            stage.network,
            self.home,
            name=self.name,
            users=[USER],
            edge={"workers": stage.workers},
            agent={"on_stop": "leave"},
            registration={"rate": RATE, "rate_per_registrar": RATE},
        )
        self.node.edit(trunks=[self.trunk(number) for number in range(stage.layout.trunks)])

    def trunk(self, number: int) -> Table:
        """Return the [[trunk]] of a trunk, counted from 0."""
        user = account(self, number)
        return {
            "id": f"trunk-{number}",
            "registrar": self.stage.at().uri,
            "domain": DOMAIN,
            "user": user,
            "password": password(user),
            "expires": self.stage.at().expires_s,
            "target": f"sip:{USER}@{self.node.domain}",
            "numbers": [self.stage.layout.number(number)],
        }

    def launch(self, stack: ExitStack) -> Process:
        stack.enter_context(self.node)
        self.node.launch()
        assert self.node.process
        return self.node.process

    def settle(self) -> None:
        self.node.wait_healthy(READY_WITHIN_S)

    def admit(self) -> None:
        self.register_phone(self.node.password(USER), self.node.domain)

    def failures(self) -> int:
        """Return the number of its attempts to register that failed."""
        lines = self.node.metrics().splitlines()
        attempts = [line for line in lines if line.startswith("whence_registration_attempts_total")]
        return sum(int(float(a.split()[-1])) for a in attempts if '"registered"' not in a)


class GrantedNode(Node):
    """Whence with trunks that are already registered, each at the address of the layout.

    The product's own code writes the directory, as if each registrar had just granted a day. At its
    start Whence sends no REGISTER for a valid grant. So 100 000 trunks need no registrar, while
    agent, Kamailio and directory are like an operator's.
    """

    registers = False

    def __init__(self, stage: Stage, name: str = "") -> None:
        super().__init__(stage, name)
        self._grant()

    def trunk(self, number: int) -> Table:
        return {
            "id": f"trunk-{number}",
            "registrar": f"sip:{self.stage.layout.ip(number)}",
            "domain": DOMAIN,
            "user": account(self, number),
            "password": "unused",
            "target": f"sip:{USER}@{self.node.domain}",
            "numbers": [self.stage.layout.number(number)],
            "follow_dns": False,  # they have only granted addresses
        }

    def _grant(self) -> None:
        """Store for each trunk a grant of a day by its own address."""
        self.node.state.mkdir(mode=0o700)
        settings = load(self.node.file)
        now = time.time()
        [socket] = settings.edge.listen
        file = self.node.state / FILE
        learned: list[tuple[object, ...]] = []
        with closing(Directory(file)) as directory:
            install(directory, settings, now)
            for number, trunk in enumerate(node_settings(settings).trunks):
                ip = self.stage.layout.ip(number)
                registrar = TransportAddress(Transport.UDP, ip, SOURCE_PORT)
                registration = Registration(
                    trunk.id,
                    call_id=f"call-{number}",
                    cseq=1,
                    state=State.REGISTERED,
                    since=now,
                    granted_s=GRANTED_S,
                    expires_at=now + GRANTED_S,
                    next_at=now + ASKS_AGAIN_S,
                    registrar=registrar,
                    home=registrar,
                    last_status=200,
                    last_phrase="OK",
                )
                directory.save(trunk.account_key, registration, [], socket, now)
                address = Address(
                    *(ip, SOURCE_PORT, Transport.UDP, Origin.LEARNED, str(socket)),
                    learned_at=now,
                    expires_at=now + GRANTED_S,
                )
                learned.append(tuple(rows.row_of(trunk.id, address)))
        with closing(sqlite3.connect(file)) as db, db:
            db.executemany(statements.PUT_ADDRESS, learned)
