"""A phone cancels its call at each point."""

from testkit.digest import Realm
from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene


def test_cancel_of_ringing_call_reaches_trunk(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm()])
    trunk.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([trunk])
    sent = phone.send_call(NUMBER)
    phone.ringing(sent)
    phone.cancel(sent)
    assert phone.final(sent).status == 487
    trunk.server.expect("CANCEL")


def test_cancel_after_failover_reaches_last_trunk(scene: OutScene) -> None:
    first, second = scene.out_trunk(), scene.out_trunk([Realm()])
    first.server.behaviour = Behaviour(503)
    second.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([first, second])
    sent = phone.send_call(NUMBER)
    phone.ringing(sent)
    phone.cancel(sent)
    assert phone.final(sent).status == 487
    second.server.expect("CANCEL")
    assert not first.server.requests("CANCEL")
