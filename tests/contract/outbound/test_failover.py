"""A call whose trunk fails goes to the next trunk, and only then."""

import pytest

from testkit.digest import Realm
from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene


@pytest.mark.parametrize("status", [403, 408, 500, 502, 503, 504])
def test_call_goes_to_next_trunk_where_trunk_fails(scene: OutScene, status: int) -> None:
    first, second = scene.out_trunk(), scene.out_trunk([Realm()])
    first.server.behaviour = Behaviour(status)
    phone = scene.caller([first, second])
    call = phone.call(NUMBER)
    assert len(first.server.requests("INVITE")) == 1
    assert phone.ask(call, "BYE").status == 200
    second.server.expect("BYE")
    assert not first.server.requests("BYE")


@pytest.mark.parametrize("status", [404, 480, 484, 486, 600, 603])
def test_refusal_of_callee_is_final(scene: OutScene, status: int) -> None:
    first, second = scene.out_trunk([Realm()]), scene.out_trunk()
    first.server.behaviour = Behaviour(status)
    phone = scene.caller([first, second])
    assert phone.refused(NUMBER).status == status
    assert not second.server.requests("INVITE")


def test_silent_trunk_is_passed_over(scene: OutScene) -> None:
    first, second = scene.out_trunk(), scene.out_trunk()
    first.server.behaviour = Behaviour(0)
    phone = scene.caller([first, second])
    call = phone.call(NUMBER)
    assert phone.ask(call, "BYE").status == 200
    again = phone.call(NUMBER)
    assert len({m.call_id for m in first.server.requests("INVITE")}) == 1
    assert phone.ask(again, "BYE").status == 200


def test_trunk_with_rejected_credentials_is_passed_over(scene: OutScene) -> None:
    first, second = scene.out_trunk([Realm(password="another")]), scene.out_trunk([Realm()])
    phone = scene.caller([first, second])
    call = phone.call(NUMBER)
    assert phone.ask(call, "BYE").status == 200


@pytest.mark.parametrize(
    ("statuses", "answer"), [((503, 503), 500), ((503, 403), 403), ((403, 504), 504)]
)
def test_failure_of_all_trunks_is_answered(
    scene: OutScene, statuses: tuple[int, int], answer: int
) -> None:
    trunks = [scene.out_trunk() for _ in statuses]
    for trunk, status in zip(trunks, statuses, strict=True):
        trunk.server.behaviour = Behaviour(status)
    assert scene.caller(trunks).refused(NUMBER).status == answer


def test_redirect_reaches_no_phone(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    trunk.server.behaviour = Behaviour(302, headers=[("Contact", "<sip:elsewhere.example>")])
    answer = scene.caller([trunk]).refused(NUMBER)
    assert answer.status == 480
    assert "Contact" not in answer


def test_unregistered_trunk_gets_no_call(scene: OutScene) -> None:
    first, second = scene.out_trunk(until_s=-1), scene.out_trunk()
    call = (phone := scene.caller([first, second])).call(NUMBER)
    assert not first.server.requests("INVITE")
    assert phone.ask(call, "BYE").status == 200
