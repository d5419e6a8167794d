"""Trunks over TCP: the connection of the registration, and one that is refused."""

from tests.contract.outbound.scene import NUMBER, OutScene


def test_trunk_that_refuses_tcp_is_passed_over(scene: OutScene) -> None:
    first, second = scene.out_trunk(), scene.out_trunk()
    scene.register(first.id, first.server, transport="tcp")
    phone = scene.caller([first, second])
    call = phone.call(NUMBER)
    assert not first.server.requests("INVITE")
    assert phone.ask(call, "BYE").status == 200


def test_call_that_no_trunk_takes_over_tcp_gets_500(scene: OutScene) -> None:
    trunks = [scene.out_trunk(), scene.out_trunk()]
    for trunk in trunks:
        scene.register(trunk.id, trunk.server, transport="tcp")
    assert scene.caller(trunks).refused(NUMBER).status == 500
