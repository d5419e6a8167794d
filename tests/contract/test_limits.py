"""Limits of one unknown source: connections, requests, password guesses."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from testkit.network import udp_queue
from testkit.sip import Address, Endpoint, Message, reply, request
from testkit.stream import StreamEndpoint
from testkit.wait import PATIENCE_S, eventually
from tests.contract.books import DOMAIN
from tests.contract.phones import ask, challenged, credentials
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World
from whence.core.sip.transport_address import Transport

IDLE = 2_500
"""Connections of the attacker: more than Kamailio has by default (2 048)."""

PER_SOURCE = 64
FLOOD = 20
"""Requests a second; Kamailio counts in two seconds."""

FAILURES = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("limits")
    with World(folder, streams=True, flood=FLOOD, password_failures=FAILURES) as world:
        yield world


def call_passes(scene: Scene, caller: Endpoint, phone: Endpoint) -> None:
    transport = "TCP" if isinstance(caller, StreamEndpoint) else "UDP"
    invite = scene.invite(caller, transport=transport)
    caller.send(invite, scene.edge)
    phone.expect(lambda m: m.call_id == invite.call_id, what="the call")


class Attacker:
    """Opens connections, and keeps them."""

    def __init__(self, edge: Address) -> None:
        self._edge = edge
        self._stack = ExitStack()
        self.sockets: list[socket.socket] = []

    def open(self, ip: str, count: int, data: bytes = b"") -> None:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        for _ in range(count):
            one = self._stack.enter_context(socket.socket(family))
            one.bind((ip, 0))
            one.settimeout(PATIENCE_S)
            with suppress(OSError):
                one.connect(self._edge)
                one.send(data)
                self.sockets.append(one)

    def open_now(self) -> int:
        """Return how many connections the edge has not closed."""
        return sum(_is_open(one) for one in self.sockets)

    def __enter__(self) -> "Attacker":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _is_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        while one.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


HALF = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1"


@pytest.mark.parametrize("data", [b"", HALF, b"\r\n\r\n"], ids=["idle", "half", "crlf"])
def test_idle_connections_of_one_source_are_bounded(scene: Scene, data: bytes) -> None:
    trunk, phone = scene.line(transport=Transport.TCP)
    user = scene.user()
    ip = trunk.at.address[0]
    under_way, at_home = StreamEndpoint(ip), StreamEndpoint(scene.endpoint("phones").address[0])
    with under_way, at_home, Attacker(scene.edge) as attacker:
        call_passes(scene, under_way, phone)
        assert register(scene, at_home, user).status == 200
        attacker.open(scene.endpoint("attacker").address[0], IDLE, data)
        with StreamEndpoint(ip) as new:
            call_passes(scene, new, phone)
        eventually(lambda: attacker.open_now() <= PER_SOURCE, what="the end of the others")
        call_passes(scene, under_way, phone)
        assert register(scene, at_home, user).status == 200, "its connection was kept"


HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


@pytest.mark.parametrize("data", [b"", HALF_HELLO], ids=["idle", "half"])
def test_handshakes_that_never_end_are_bounded(scene: Scene, data: bytes) -> None:
    trunk, phone = scene.line(transport=Transport.TLS)
    with Attacker(scene.world.tls) as attacker:
        attacker.open(scene.endpoint("attacker").address[0], IDLE, data)
        with StreamEndpoint(trunk.at.address[0], "tls") as new:
            invite = scene.invite(new, transport="TLS")
            new.send(invite, scene.world.tls)
            phone.expect(lambda m: m.call_id == invite.call_id, what="the call")
        eventually(lambda: attacker.open_now() <= PER_SOURCE, what="the end of the others")


def test_idle_connections_over_ipv6_are_bounded(scene: Scene) -> None:
    with Attacker(scene.world.edge6) as attacker:
        attacker.open("::1", 5 * PER_SOURCE)
        eventually(lambda: attacker.open_now() <= PER_SOURCE, what="the end of the others")


def test_many_connections_of_a_trunk_stay_open(scene: Scene) -> None:
    trunk, phone = scene.line(transport=Transport.TCP)
    with Attacker(scene.edge) as provider, Attacker(scene.edge) as attacker:
        provider.open(trunk.at.address[0], 3 * PER_SOURCE)
        attacker.open(scene.endpoint("attacker").address[0], 3 * PER_SOURCE)
        eventually(
            lambda: attacker.open_now() <= PER_SOURCE, what="the end of the unknown source's"
        )
        assert provider.open_now() == 3 * PER_SOURCE
        with StreamEndpoint(trunk.at.address[0]) as new:
            call_passes(scene, new, phone)


def register(scene: Scene, phone: StreamEndpoint, user: str) -> Message:
    """Register over the phone's own connection."""
    return phone.register(scene.edge, user, PASSWORD, DOMAIN)


def burst(scene: Scene, send: Callable[[], None]) -> None:
    """Send twice the requests that `flood` allows a second, and return when the edge read them.

    They fit into its socket's buffer, so a request without an answer was not lost before it.
    """
    for _ in range(2 * FLOOD):
        send()
    scene.await_edge()


def flood(scene: Scene, sender: Endpoint) -> int:
    """Call in bursts until a burst gets no answer; return the number of answers."""
    answered = 0

    def is_dropped() -> bool:
        nonlocal answered
        burst(scene, lambda: sender.send(scene.invite(sender), scene.edge))
        came = len(scene.came(sender))
        answered += came
        return came == 0

    eventually(is_dropped, what="a burst of which nothing is answered")
    return answered


def test_flood_of_an_unknown_source_alone_is_dropped(scene: Scene) -> None:
    trunk, phone = scene.line()
    assert flood(scene, scene.endpoint()) > FLOOD
    call_passes(scene, trunk.at, phone)
    other = scene.endpoint("other")
    assert other.ask(scene.invite(other), scene.edge).status == 403


def test_flood_over_ipv6_is_dropped(scene: Scene) -> None:
    edge, answered = scene.world.edge6, 0
    with scene.world.endpoint("::1") as unknown_source:

        def is_dropped() -> bool:
            nonlocal answered
            for _ in range(2 * FLOOD):
                unknown_source.send(request("OPTIONS", "sip:x@[::1]", unknown_source.address), edge)
            # No other source can send a fence. The single worker has answered all but the last.
            eventually(lambda: not udp_queue(edge).waiting, what="all is read")
            came = len(unknown_source.waiting())
            answered += came
            return came == 0

        eventually(is_dropped, what="a burst of which nothing is answered")
    assert answered > FLOOD


def test_flood_from_a_trunks_address_never_blocks_it(scene: Scene) -> None:
    """A forger of its address sends refused requests and unreadable messages."""
    trunk, phone = scene.line()
    forger = scene.endpoint("provider")

    def forge() -> None:
        forger.send(b"A a SIP/2.0\r\nVia: SIP/2.0/UDP h;;,;,,\r\n\r\n", scene.edge)
        forger.send(ask(forger, "nobody"), scene.edge)

    for _ in range(5):
        burst(scene, forge)
    call_passes(scene, trunk.at, phone)


def test_flood_from_a_phones_address_never_blocks_it(scene: Scene) -> None:
    user = scene.user()
    phone, neighbour = scene.phone(user), scene.endpoint("phones")
    for _ in range(5):
        burst(scene, lambda: neighbour.send(scene.invite(neighbour), scene.edge))
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN).status == 200


def test_source_that_becomes_a_trunks_is_unblocked_at_once(scene: Scene) -> None:
    soon = scene.endpoint("soon")
    flood(scene, soon)
    user = scene.user()
    phone = scene.phone(user)
    trunk = scene.trunk(user, at="soon")
    call_passes(scene, trunk.at, phone)


def test_bye_of_a_flooding_target_passes(scene: Scene) -> None:
    """A PBX that floods with its own calls still takes part in calls that we sent to it."""
    pbx = scene.endpoint("pbx")
    trunk = scene.trunk(f"sip:pbx@{pbx.address[0]}:{pbx.address[1]}")
    invite = scene.invite(trunk.at)
    trunk.at.send(invite, scene.edge)
    got = pbx.expect(lambda m: m.call_id == invite.call_id, what="the call")
    at = f"<sip:pbx@{pbx.address[0]}:{pbx.address[1]}>"
    pbx.send(reply(got, 200, headers=[("Contact", at)]), scene.edge)
    trunk.at.expect(lambda m: m.status == 200, what="the answer")
    flood(scene, scene.endpoint("pbx"))
    route = got["Record-Route"]
    bye = scene.invite(pbx, to_tag="x", call_id=invite.call_id)
    text = (
        str(bye).replace("INVITE", "BYE").replace("Max-Forwards", f"Route: {route}\r\nMax-Forwards")
    )
    contact = invite.contacts[0].strip("<>")
    text = text.replace(bye.request_uri, contact, 1)
    pbx.send(text, scene.edge)
    trunk.at.expect(lambda m: m.start_line.startswith("BYE"), what="the BYE")


# Passwords.


def guess(
    scene: Scene, phone: Endpoint, user: str, password: str, algorithm: str = ""
) -> int | None:
    """Return the status of the answer to this password; None without an answer."""
    phone.send(ask(phone, user), scene.edge)
    for challenge in scene.came(phone):
        header = credentials(challenge, user, password, only=algorithm)
        phone.send(ask(phone, user, header), scene.edge)
        for answer in scene.came(phone):
            return answer.status
    return None


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_source_that_guesses_passwords_is_blocked(
    scene: Scene, known: bool, algorithm: str
) -> None:
    user = scene.user()
    victim = scene.phone(user)
    guesser = scene.endpoint("guesser")
    guessed = [user if known else "nobody"] * (FAILURES + 2)
    answers = [guess(scene, guesser, name, f"no-{i}", algorithm) for i, name in enumerate(guessed)]
    assert answers == [401] * FAILURES + [None] * 2
    assert guess(scene, guesser, user, PASSWORD) is None, "the right one is not tried either"
    assert guess(scene, scene.endpoint("guesser"), user, PASSWORD) is None, "of another port"
    assert victim.register(scene.edge, user, PASSWORD, DOMAIN).status == 200
    assert guess(scene, scene.endpoint("elsewhere"), user, PASSWORD) == 200


def test_phone_that_registered_survives_a_guesser_beside_it(scene: Scene) -> None:
    user = scene.user()
    phone, guesser = scene.phone(user), scene.endpoint("phones")
    for i in range(FAILURES + 1):
        last = guess(scene, guesser, user, f"no-{i}")
    assert last is None
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN).status == 200


def test_forged_guesses_block_no_source(scene: Scene) -> None:
    """The nonce is of another ip, old, used, or made up."""
    user = scene.user()
    forger, victim = scene.endpoint("forger"), scene.endpoint("victim")
    for i in range(2 * FAILURES):
        challenge = challenged(scene, forger, user)
        # From the victim's ip, as a forger sends: a forger cannot read the answers.
        forged = ask(victim, user, credentials(challenge, user, f"no-{i}"))
        assert victim.ask(forged, scene.edge).status == 401
    right = ask(victim, user, credentials(challenged(scene, forger, user), user))
    assert "stale=true" in victim.ask(right, scene.edge)["WWW-Authenticate"]
    assert guess(scene, victim, user, PASSWORD) == 200


def test_first_challenges_and_stale_nonces_are_no_failures(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    for _ in range(FAILURES + 2):
        challenged(scene, phone, user)
    used = credentials(challenge, user)
    assert phone.ask(ask(phone, user, used), scene.edge).status == 200
    other = scene.endpoint("phones")
    for _ in range(FAILURES + 2):
        assert other.ask(ask(other, user, used), scene.edge).status == 401
    assert guess(scene, other, user, PASSWORD) == 200
