"""An agent that kills itself with SIGKILL at a place of its work; the tests start it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.unit.agent.registration.node import ACME, BELL, Node
from whence.core.registration.events import Answered, Send, Unanswered
from whence.core.registration.model import Account, Registration, State
from whence.core.settings import TrunkSettings
from whence.core.sip.transport_address import TransportAddress

TRUNKS = ACME + BELL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyRegistrar:
    """Ends the agent at the first REGISTER."""

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        die()
        return Unanswered()


class DeadlyObserver:
    """Ends the agent when it is notified of a grant."""

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        if registration.state is State.REGISTERED:
            die()

    def gone(self, trunk_id: str) -> None:
        """Ignore it."""


async def story(folder: Path, place: str) -> None:
    node = Node(folder)
    if place == "send":
        node.registrar = DeadlyRegistrar()  # type: ignore[assignment]
    elif place == "grant":
        node.observers.append(DeadlyObserver())
    node.agent()
    if place == "commit":
        # The second batch has the answers. It is written, but not committed.
        node.directory._db.set_trace_callback(
            lambda sql: die() if sql == "COMMIT" and node.registrar.received else None
        )
    node.apply(TRUNKS)
    await node.until_all(State.REGISTERED)


if __name__ == "__main__":
    asyncio.run(story(Path(sys.argv[1]), sys.argv[2]))
