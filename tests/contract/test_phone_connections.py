"""Phones whose connection ends, or that are silent behind NAT: the edge does not call them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from testkit.sip import Endpoint, Message, reply
from testkit.stream import StreamEndpoint
from testkit.wait import eventually
from tests.contract.books import DOMAIN
from tests.contract.call import cancel, connect, is_method, ring
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World

PHONES = {"keepalive": 1, "keepalive_timeout": 3}
PRIVATE = "<sip:phone@192.168.77.20:5060>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("phones"), streams=True, phones=PHONES) as world:
        yield world


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def over(
    transport: str, scene: Scene, stack: ExitStack, user: str, registers: bool = True
) -> StreamEndpoint:
    """Return a phone that has registered over TCP or TLS."""
    made = StreamEndpoint(scene.ip(f"{transport}-phone"), transport)  # type: ignore[arg-type]
    phone = stack.enter_context(made)
    if registers:
        assert register(scene, phone, user).status == 200
    return phone


def register(scene: Scene, phone: Endpoint, user: str, **more: object) -> Message:
    to = scene.world.tls if phone.transport == "tls" else scene.edge
    return phone.register(to, user, PASSWORD, DOMAIN, **more)  # type: ignore[arg-type]


def status_of_call(scene: Scene, user: str) -> int:
    trunk = scene.trunk(user)
    return trunk.at.ask(scene.invite(trunk.at), scene.edge).status


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_phone_over_a_connection_is_called_by_it(
    scene: Scene, stack: ExitStack, transport: str
) -> None:
    user = scene.user()
    phone, trunk = over(transport, scene, stack, user), scene.trunk(user)
    ring(scene, trunk.at, phone)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_phone_whose_connection_ended_is_removed(
    scene: Scene, stack: ExitStack, transport: str
) -> None:
    user = scene.user()
    phone, trunk = over(transport, scene, stack, user), scene.trunk(user)
    phone.close()

    def is_away() -> bool:
        return trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480

    eventually(is_away, what="a 480 for a call to the phone")


def test_call_to_a_phone_of_the_last_start_gets_480(
    tmp_path_factory: pytest.TempPathFactory, stack: ExitStack
) -> None:
    """Its connection ended with Kamailio, which could not open another to it."""
    world = stack.enter_context(World(tmp_path_factory.mktemp("restart"), tcp=True))
    scene = stack.enter_context(Scene(world))
    user, other = scene.user(), scene.user()
    over("tcp", scene, stack, user)
    scene.phone(other)
    stored = {user, other}
    eventually(lambda: world.stored_users() >= stored, what="both contacts in the table")
    world.restart()
    assert status_of_call(scene, user) == 480
    trunk, phone = scene.trunk(other, at="other provider"), scene.phone(other)
    ring(scene, trunk.at, phone)


def test_call_to_a_live_and_a_lost_phone_rings_the_live(scene: Scene, stack: ExitStack) -> None:
    user = scene.user()
    lost, live = over("tcp", scene, stack, user), scene.phone(user)
    lost.close()
    ring(scene, scene.trunk(user).at, live)


def test_phone_behind_nat_gets_options(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("nat")
    assert register(scene, phone, user, contact=PRIVATE).status == 200
    first = phone.expect(is_method("OPTIONS"), what="OPTIONS of the edge")
    assert first.request_uri == PRIVATE.strip("<>")
    assert first["From"].startswith(f"<sip:keepalive@{DOMAIN}>") or DOMAIN in first["From"]


def test_phone_not_behind_nat_gets_no_options(scene: Scene) -> None:
    near, far = scene.endpoint("near"), scene.endpoint("nat")
    assert register(scene, near, scene.user()).status == 200
    assert register(scene, far, scene.user(), contact=PRIVATE).status == 200
    for _ in range(2):
        far.expect(is_method("OPTIONS"), what="OPTIONS to the phone behind NAT")
    assert not [one for one in scene.came(near) if one.method == "OPTIONS"]


def test_phone_that_answers_options_stays_and_a_silent_one_goes(scene: Scene) -> None:
    answers, silent = scene.user(), scene.user()
    live, dead = scene.endpoint("nat"), scene.endpoint("nat")
    for phone, user in ((live, answers), (dead, silent)):
        assert register(scene, phone, user, contact=PRIVATE).status == 200
    trunk = scene.trunk(silent)

    def is_away() -> bool:
        """Answer the OPTIONS of one phone, and call the other, which answers nothing."""
        for message in map(Message.parse, live.waiting()):
            if message.method == "OPTIONS":
                live.send(reply(message, 405), scene.edge)
        invite = scene.invite(trunk.at)
        trunk.at.send(invite, scene.edge)
        of_call = trunk.at.expect(lambda m: m.call_id == invite.call_id, what="an answer")
        if of_call.status == 100:
            trunk.at.send(cancel(invite), scene.edge)
        return of_call.status == 480

    eventually(is_away, what="a 480 for a call to the silent phone")
    ring(scene, scene.trunk(answers, at="other provider").at, live)


@pytest.mark.parametrize("vias", ["second", "same line"])
def test_options_answer_with_another_via_goes_nowhere(scene: Scene, vias: str) -> None:
    """A reply without a transaction would be sent to its second Via."""
    phone, victim = scene.endpoint("nat"), scene.endpoint("victim")
    assert register(scene, phone, scene.user(), contact=PRIVATE).status == 200
    options = phone.expect(is_method("OPTIONS"), what="OPTIONS of the edge")
    there = f"SIP/2.0/UDP {victim.address[0]}:{victim.address[1]};branch=z9hG4bKforged"
    answer = reply(options, 200)
    headers = [
        (name, f"{value}, {there}" if name == "Via" and vias == "same line" else value)
        for name, value in answer.headers
    ]
    if vias == "second":
        headers.insert(1, ("Via", there))
    phone.send(Message(answer.start_line, tuple(headers)), scene.edge)
    assert scene.nothing_came(victim)


def test_stray_options_answer_goes_nowhere(scene: Scene) -> None:
    sender, victim = scene.endpoint(), scene.endpoint("victim")
    trunk = scene.trunk("sip:nobody@192.0.2.1")
    ask = scene.invite(trunk.at)
    headers = tuple(
        (name, "1 OPTIONS" if name == "CSeq" else value) for name, value in reply(ask, 200).headers
    )
    sender.send(Message("SIP/2.0 200 OK", headers), scene.edge)
    assert scene.nothing_came(trunk.at, victim)


def test_call_over_a_connection_passes_to_its_end(scene: Scene, stack: ExitStack) -> None:
    user = scene.user()
    phone, trunk = over("tcp", scene, stack, user), scene.trunk(user)
    call = connect(scene, trunk.at, phone)
    trunk.at.send(call.from_caller("BYE"), scene.edge)
    bye = phone.expect(is_method("BYE"), what="the BYE at the phone")
    phone.send(reply(bye, 200), scene.edge)
    assert trunk.at.receive().status == 200
