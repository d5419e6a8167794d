"""The trunks, phones and callers of one test, on a network of its own."""

import secrets
import time
from contextlib import ExitStack
from itertools import cycle
from types import TracebackType
from typing import Self

from testkit.sip import Address, Endpoint, Message, request
from testkit.stream import StreamEndpoint
from tests.contract.agent_requests import options
from tests.contract.books import DOMAIN
from tests.contract.world import Caller, World
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip

HOUR_S = 3600.0
PASSWORD = "secret"
FENCES = 20
"""Sources of fences: none of them asks so often that it is taken for a flood."""


class Scene:
    """One test's trunks, users, phones, callers and unknown sources in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.edge = world.edge
        self.agent_socket = world.agent_socket
        self._stack = ExitStack()
        self._network = world.network()
        self._name = secrets.token_hex(4)
        self._made = 0
        self.fences = [self.ip(f"fence-{number}") for number in range(FENCES)]
        self._next_fence = cycle(self.fences)

    def endpoint(self, machine: str = "unknown_source", port: int = 0) -> Endpoint:
        """Return a socket on the machine of this name."""
        return self._stack.enter_context(self.world.endpoint(self.ip(machine), port))

    def ip(self, machine: str) -> str:
        """Return the address of the machine of this name."""
        return self._network.ip(machine)

    def agent(self) -> Endpoint:
        """Return a socket on the edge's own machine."""
        return self._stack.enter_context(self.world.endpoint(self.world.agent_socket[0]))

    def name(self, what: str) -> str:
        """Return a name that no other test has."""
        self._made += 1
        return f"{what}-{self._name}-{self._made}"

    def user(self) -> str:
        """Return the name of a new local user, whose password is PASSWORD."""
        name = self.name("user")
        self.world.books.add(UserConfig.model_validate({"name": name, "password": PASSWORD}))
        return name

    def phone(self, user: str) -> Endpoint:
        """Return the user's phone, which has registered."""
        phone = self.endpoint("phones")
        assert phone.register(self.edge, user, PASSWORD, DOMAIN).status == 200
        return phone

    def trunk(
        self,
        target: str,
        *,
        at: str | Endpoint = "provider",
        numbers: tuple[str, ...] = (),
        user: str = "acct1",
        granted_s: float = HOUR_S,
        transport: Transport = Transport.UDP,
        enabled: bool = True,
        **more: object,
    ) -> Caller:
        """Return a trunk that has registered at the machine `at`, and a socket there for its calls.

        *more* are further keys of the trunk.
        """
        caller = self.endpoint(at) if isinstance(at, str) else at
        id_, now, books = self.name("trunk"), time.time(), self.world.books
        trunk = {
            "id": id_,
            "registrar": f"sip:{caller.address[0]}",
            "user": user,
            "password": PASSWORD,
            "target": target if target.startswith("sip:") else f"sip:{target}@{DOMAIN}",
            "numbers": list(numbers),
            "enabled": enabled,
            **more,
        }
        books.add(TrunkConfig.model_validate(trunk))
        source = TransportAddress(transport, canonical_ip(caller.address[0]), 5060)
        books.learn(id_, source, now, now + granted_s)
        return Caller(id_, books.directory.tokens()[id_], caller)

    def line(self, **options: object) -> tuple[Caller, Endpoint]:
        """Return a trunk, and the phone of the user who is its target."""
        user = self.user()
        return self.trunk(user, **options), self.phone(user)  # type: ignore[arg-type]

    def uri(self, user: str = "") -> str:
        """Return the URI of a user at the edge's socket."""
        return f"sip:{user}{'@' if user else ''}{_text(self.edge)}"

    def invite(self, caller: Endpoint, user: str = "+4420", **parts: object) -> Message:
        """Make a call to this user part at the edge's socket."""
        return request("INVITE", self.uri(user), caller.address, **parts)  # type: ignore[arg-type]

    def answered_first(self, asker: Endpoint) -> Message:
        """Send a harmless request, and return the first message that arrives.

        The edge has one worker, so it has then finished all earlier messages.
        """
        ask = request("OPTIONS", self.uri(), asker.address, call_id=self.name("fence"))
        asker.send(ask, self.edge)
        return asker.receive()

    def await_edge(self) -> None:
        """Return when the edge has finished all messages that were sent to it."""
        with self.world.endpoint(next(self._next_fence)) as asker:
            assert self.answered_first(asker).status == 403

    def await_agent_socket(self) -> None:
        """Return when the edge has finished all messages to its agent socket."""
        with self.world.endpoint(self.agent_socket[0]) as agent:
            ask = options(self.world, agent, self.name("fence"))
            assert agent.ask(ask, self.agent_socket).status == 200

    def came(self, endpoint: Endpoint) -> list[Message]:
        """Return all messages that the edge sent to `endpoint`, when no further one can arrive."""
        self.await_edge()
        if isinstance(endpoint, StreamEndpoint):
            return self.came_before_fence(endpoint)
        return [Message.parse(data) for data in endpoint.waiting()]

    def came_before_fence(self, connection: StreamEndpoint) -> list[Message]:
        """Send a harmless request over a connection; return what comes before its answer.

        TCP has its own worker, which may be slower than that of UDP.
        """
        ask = connection.request("OPTIONS", self.uri(), call_id=self.name("fence"))
        connection.send(ask, self.edge)
        came: list[Message] = []

        def is_fence(message: Message) -> bool:
            came.append(message)
            return message.is_reply and message.call_id == ask.call_id

        connection.expect(is_fence, what="the answer to the fence")
        return came[:-1]

    def nothing_came(self, *endpoints: Endpoint) -> bool:
        """Return whether the edge sent nothing, once no further message can arrive."""
        return not any(self.came(endpoint) for endpoint in endpoints)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
