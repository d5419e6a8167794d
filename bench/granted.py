"""Whence with any number of trunks that are already registered.

The product's own code writes the directory, as if each registrar had just granted a day. At its
start Whence sends no REGISTER for a valid grant. So 100 000 trunks need no registrar, while agent,
Kamailio and directory are like an operator's.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.layout import Layout
from bench.stage import phone
from testkit.directory import install
from testkit.network import SIP_PORT, Network
from testkit.sip import Endpoint
from testkit.whence import Whence
from whence.agent.config.load import load
from whence.agent.config.to_core import node_settings
from whence.core.identification.address import Address, Origin
from whence.core.registration.model import Registration, State
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.store import rows, statements
from whence.store.directory import FILE, Directory

USER = "alice"
GRANTED_S = 86_400
ASKS_AGAIN_S = 60_000
HEALTHY_WITHIN_S = 240
SOURCE_PORT = 5060


@dataclass(frozen=True, slots=True)
class Granted:
    """A running Whence, and the address of the phone that gets all calls."""

    node: Whence
    phone_ip: str


@contextmanager
def granted(
    network: Network, home: Path, key: str, layout: Layout, *, workers: int = 2
) -> Iterator[Granted]:
    """Run Whence with the trunks of the layout, whose target is alice."""
    node = Whence(
        network,
        home,
        name=key,
        users=[USER],
        edge={"workers": workers},
        agent={"on_stop": "leave"},
    )
    _write_trunks(node.file, layout, node.domain)
    _grant(node, layout)
    with ExitStack() as stack:
        stack.enter_context(node)
        node.start(HEALTHY_WITHIN_S)
        phone_ip = network.ip(f"phone of {key}")
        with Endpoint(phone_ip, SIP_PORT) as ours:
            answer = ours.register(node.address, USER, node.password(USER), node.domain)
            assert answer.status == 200, f"Whence did not register a phone:\n{answer}"
        stack.enter_context(phone(phone_ip, home))
        yield Granted(node, phone_ip)


def _write_trunks(file: Path, layout: Layout, domain: str) -> None:
    """Add the trunks to the file, without `follow_dns`: they have only granted addresses."""
    with file.open("a", encoding="utf-8") as out:
        for trunk in range(layout.trunks):
            values = {
                "id": f"trunk-{trunk}",
                "registrar": f"sip:{layout.ip(trunk)}",
                "domain": "provider.example",
                "user": f"account-{trunk}",
                "password": "unused",
                "target": f"sip:{USER}@{domain}",
                "numbers": [layout.number(trunk)],
                "follow_dns": False,
            }
            lines = (f"{name} = {json.dumps(value)}" for name, value in values.items())
            out.write("\n".join(["", "[[trunk]]", *lines, ""]))


def _grant(node: Whence, layout: Layout) -> None:
    """Store for each trunk a grant of a day by its own address."""
    node.state.mkdir(mode=0o700)
    settings = load(node.file)
    now = time.time()
    [socket] = settings.edge.listen
    file = node.state / FILE
    learned: list[tuple[object, ...]] = []
    with closing(Directory(file)) as directory:
        install(directory, settings, now)
        for number, trunk in enumerate(node_settings(settings).trunks):
            ip = layout.ip(number)
            registration = Registration(
                trunk.id,
                call_id=f"call-{number}",
                cseq=1,
                state=State.REGISTERED,
                since=now,
                granted_s=GRANTED_S,
                expires_at=now + GRANTED_S,
                next_at=now + ASKS_AGAIN_S,
                registrar=TransportAddress(Transport.UDP, ip, SOURCE_PORT),
                home=TransportAddress(Transport.UDP, ip, SOURCE_PORT),
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
