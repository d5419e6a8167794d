"""Credentials over TLS leave only over the connection whose certificate the edge verified."""

import socket
import ssl
from collections.abc import Iterator

import pytest

from testkit.certificates import Certificate
from testkit.network import Network
from testkit.sip import Address, Endpoint, Message, reply
from testkit.stream import StreamEndpoint
from testkit.wait import PATIENCE_S
from tests.contract.agent_requests import request
from tests.contract.world import World
from whence.ipc import headers as ipc_headers

NAME = "one.example"
AUTHORIZATION = ("Authorization", "Digest username=x")


class Server:
    """A server over TLS: the test accepts its connections one by one."""

    def __init__(self, ip: str) -> None:
        self._listener = socket.create_server((ip, 0))
        self._listener.settimeout(PATIENCE_S)
        self.address: Address = self._listener.getsockname()

    def accept(self, certificate: Certificate) -> StreamEndpoint:
        """Return the next connection, with this certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)
        plain, _ = self._listener.accept()
        plain.settimeout(PATIENCE_S)
        secured = context.wrap_socket(plain, server_side=True)
        return StreamEndpoint(self.address[0], "tls", bound=secured)

    def close(self) -> None:
        self._listener.close()


class Agent:
    """The agent of a world, as the edge sees it."""

    def __init__(self, world: World, endpoint: Endpoint, server: Address) -> None:
        self._world, self._endpoint, self._server = world, endpoint, server

    def register(self, cseq: int, *more: tuple[str, str], call_id: str = "call-1") -> None:
        """Send a REGISTER to the server, with these additional headers."""
        world = self._world
        hop = f"sip:{self._server[0]}:{self._server[1]};transport=tls;name={NAME}"
        our_socket = f"tls:{world.tls[0]}:{world.tls[1]}"
        key = world.books.agent_key
        mac = ipc_headers.request_mac(key, "REGISTER", call_id, str(cseq), hop, our_socket)
        lines = [
            (ipc_headers.NEXT_HOP, hop),
            (ipc_headers.SOCKET, our_socket),
            (ipc_headers.MAC, mac),
            *more,
        ]
        register = request(
            "REGISTER",
            f"sip:{NAME}",
            self._endpoint.address,
            call_id=call_id,
            cseq=cseq,
            headers=lines,
        )
        self._endpoint.send(register, world.agent_socket)

    def answer(self, cseq: int) -> Message:
        return self._endpoint.expect(
            lambda message: (
                message.is_reply
                and message.status >= 200
                and message["CSeq"].split()[0] == str(cseq)
            ),
            what="a final answer",
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("tls"), streams=True) as world:
        yield world


@pytest.fixture
def server() -> Iterator[Server]:
    with Network() as network:
        server = Server(network.ip("provider"))
        yield server
        server.close()


@pytest.fixture
def agent(world: World, server: Server) -> Iterator[Agent]:
    with world.endpoint(world.edge[0]) as endpoint:
        yield Agent(world, endpoint, server.address)


@pytest.fixture
def right(world: World) -> Certificate:
    assert world.authority is not None
    return world.authority.certificate(f"DNS:{NAME}")


def is_register(message: Message) -> bool:
    return message.method == "REGISTER"


def test_credentials_leave_over_the_verified_connection(
    agent: Agent, server: Server, right: Certificate
) -> None:
    agent.register(1)
    with server.accept(right) as connection:
        connection.send(reply(connection.expect(is_register), 401), server.address)
        assert agent.answer(1).status == 401
        agent.register(2, AUTHORIZATION)
        assert "Authorization" in connection.expect(is_register)


def test_credentials_without_a_challenge_do_not_leave(
    agent: Agent, server: Server, right: Certificate
) -> None:
    """An open connection is not enough: no answer over it has shown its certificate."""
    agent.register(1, call_id="call-2")
    with server.accept(right) as connection:
        connection.expect(is_register)
        agent.register(7, AUTHORIZATION, call_id="call-3")
        assert agent.answer(7).status == 500
        agent.register(8, call_id="call-3")
        assert "Authorization" not in connection.expect(is_register)


def test_credentials_do_not_leave_over_another_connection(
    world: World, agent: Agent, server: Server, right: Certificate
) -> None:
    """The verified connection has ended. An impostor has another one to the same address."""
    assert world.authority is not None
    agent.register(1, call_id="call-4")
    with server.accept(right) as connection:
        connection.send(reply(connection.expect(is_register), 401), server.address)
        assert agent.answer(1).status == 401
        assert connection.rest() == []  # until Kamailio has closed it, too
    agent.register(5, call_id="call-5")
    with server.accept(world.authority.certificate("DNS:impostor.example")) as impostor:
        impostor.expect(is_register)
        agent.register(2, AUTHORIZATION, call_id="call-4")
        agent.register(6, call_id="call-5")
        assert "Authorization" not in impostor.expect(is_register)
        assert agent.answer(2).status >= 400
