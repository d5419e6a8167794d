"""The fake world: a fake Kamailio, and a network in memory."""

import re
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.contract.fake.kamailio import FakeKamailio, Sent
from tests.contract.fake.ksr import conforms
from tests.contract.world import DOMAIN, Books, Hide, edge_settings
from tests.rig.network import SIP_PORT, Network
from tests.rig.sip import Address, Endpoint, Message
from whence.agent import edge_config
from whence.edge.route import Edge, Settings

_SPIRALS = 10


class FakeWorld:
    """A World, in this process."""

    def __init__(self, folder: Path, hide: Hide | None = None) -> None:
        """Make it; `hide` does something to the directory's file before."""
        self._stack = ExitStack()
        self._endpoints: dict[Address, VirtualEndpoint] = {}
        self._ports = count(10_000)
        network = self.network()
        self.edge: Address = (network.ip("edge"), SIP_PORT)
        self.inside: Address = (network.ip("edge"), SIP_PORT + 2)
        self.books = Books(folder, edge_settings(self.edge, self.inside))
        self._stack.enter_context(self.books)
        if hide is not None:
            self.books.hide(hide)
        config = edge_config.render(self.books.settings, folder / "whence.toml")
        definition = re.findall("^#!define WHENCE_EDGE (.*)$", config, re.MULTILINE)[0]
        self.kamailio = FakeKamailio([self.edge, self.inside], [DOMAIN], definition)
        ksr = conforms(self.kamailio)
        edge = Edge(ksr, Settings.parse(ksr.kx.get_def("WHENCE_EDGE") or ""))
        self._stack.callback(edge._tell.close)
        self.kamailio.load(edge)

    def network(self) -> Network:
        """Return a network of which nothing but the addresses is real."""
        return self._stack.enter_context(Network())

    def endpoint(self, ip: str, port: int = 0) -> Endpoint:
        """Return somebody at this address."""
        address = (ip, port or next(self._ports))
        return self._endpoints.setdefault(address, VirtualEndpoint(address, self.carry))

    def carry(self, data: bytes, source: Address, to: Address) -> None:
        """Carry a datagram, and all that come of it."""
        under_way = deque([(Sent(data, to, source), 0)])
        while under_way:
            sent, spirals = under_way.popleft()
            if sent.to in self.kamailio.sockets and spirals < _SPIRALS:
                answers = self.kamailio.receive(sent.data, sent.socket, sent.to)
                under_way.extend((answer, spirals + 1) for answer in answers)
            elif sent.to in self._endpoints:
                self._endpoints[sent.to].arrived.append((sent.data, sent.socket))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


class VirtualEndpoint(Endpoint):
    """An endpoint without a socket: what has not arrived at once never will."""

    def __init__(self, address: Address, carry: Callable[[bytes, Address, Address], None]) -> None:
        self.address = address
        self.arrived: deque[tuple[bytes, Address]] = deque()
        self._carry = carry

    def send(self, what: Message | str | bytes, to: Address) -> None:
        if isinstance(what, str):
            what = what.encode("utf-8", "surrogateescape")
        self._carry(bytes(what), self.address, to)

    def expect(
        self, wanted: Callable[[Message], bool], within_s: float = 5, what: str = "the message"
    ) -> Message:
        seen: list[str] = []
        while self.arrived:
            message = Message.parse(*self.arrived.popleft())
            if wanted(message):
                return message
            seen.append(message.start_line)
        raise AssertionError(f"{what} did not come; came: {seen}")

    def silent_for(self, seconds: float) -> bool:
        return not self.arrived

    def close(self) -> None:
        self.arrived.clear()
