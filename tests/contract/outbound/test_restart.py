"""Users' calls survive a restart of Kamailio, standing and ringing."""

from collections.abc import Iterator

import pytest

from testkit.calling_phone import SDP
from testkit.digest import Realm
from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene
from tests.contract.world import World

EVERY = ("INVITE", "BYE", "INFO", "UPDATE")


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutScene]:
    folder = tmp_path_factory.mktemp("restart")
    with World(folder, calls_out=True, country="44") as world, OutScene(world) as scene:
        yield scene
        assert scene.faults == []


def test_standing_call_survives_restart(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm(methods=EVERY)])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    trunk.server.expect("ACK")
    scene.world.restart()
    for method in ("INFO", "INVITE"):
        sent = trunk.server.send_in(trunk.server.dialog(), method)
        phone.answer(phone.receive(method))
        assert trunk.server.final(sent).status == 200
    trunk.server.acknowledge()
    assert phone.receive("ACK")["From"].startswith(f"<{phone.uri(NUMBER)}>")
    for method in ("INFO", "INVITE", "BYE"):
        assert phone.ask(call, method, body=SDP).status == 200, method


def test_ringing_call_survives_restart(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm(methods=EVERY)])
    trunk.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([trunk])
    phone.display = ""  # the route state does not have it; only tags name a dialog
    sent = phone.send_call(NUMBER)
    phone.ringing(sent)
    scene.world.restart()
    trunk.server.answer_now()
    call = phone.answered(sent)
    acks = len(trunk.server.requests("INVITE"))
    ack = trunk.server.expect("ACK", acks)
    assert ack["CSeq"].split()[0] == trunk.server.requests("INVITE")[-1]["CSeq"].split()[0]
    for method in ("INFO", "INVITE", "BYE"):
        assert phone.ask(call, method, body=SDP).status == 200, method


def test_late_answer_from_elsewhere_is_dropped(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    trunk.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([trunk])
    sent = phone.send_call(NUMBER)
    phone.ringing(sent)
    scene.world.restart()
    answer = trunk.server.made_answer()
    scene.endpoint("elsewhere").send(answer, scene.edge)
    assert not scene.came(phone.at)
