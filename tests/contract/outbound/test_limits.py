"""Limits of users and trunks, emergency numbers, and rules for numbers."""

import pytest

from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene
from tests.contract.scene import PASSWORD
from whence.agent.config.outbound import RouteConfig
from whence.agent.config.trunk import TrunkConfig


def test_limit_of_calls_at_once_is_kept(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk], limits={"concurrent_calls": 1})
    call = phone.call(NUMBER)
    assert phone.refused(NUMBER).status == 486
    assert phone.ask(call, "BYE").status == 200
    again = phone.call(NUMBER)
    assert phone.ask(again, "BYE").status == 200


def test_refused_call_counts_no_longer(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    trunk.server.behaviour = Behaviour(404)
    phone = scene.caller([trunk], limits={"concurrent_calls": 1})
    for _ in range(3):
        assert phone.refused(NUMBER).status == 404


def test_canceled_call_counts_no_longer(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    trunk.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([trunk], limits={"concurrent_calls": 1})
    for _ in range(2):
        sent = phone.send_call(NUMBER)
        phone.ringing(sent)
        phone.cancel(sent)
        assert phone.final(sent).status == 487


def test_calls_of_one_call_id_count_each(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk], limits={"concurrent_calls": 1})
    call = phone.call(NUMBER)
    again = phone.invite(phone.uri(NUMBER), call_id=call.invite.call_id, cseq=100)
    assert phone.refused(NUMBER, invite=again).status == 486


def test_limit_of_calls_a_minute_is_kept(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone, other = scene.caller([trunk], limits={"calls_per_minute": 2}), scene.caller([trunk])
    for _ in range(2):
        assert phone.ask(phone.call(NUMBER), "BYE").status == 200
    assert phone.refused(NUMBER).status == 480
    assert other.ask(other.call(NUMBER), "BYE").status == 200


def test_wrong_password_fills_no_minute(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk], limits={"calls_per_minute": 1})
    stranger = scene.phone_of(phone.user, "stranger")
    stranger.password = "wrong"
    assert stranger.refused(NUMBER).status == 407
    assert phone.ask(phone.call(NUMBER), "BYE").status == 200


def test_limit_of_trunk_sends_call_to_next_trunk(scene: OutScene) -> None:
    first = scene.out_trunk(outbound={"limits": {"concurrent_calls": 1}})
    second = scene.out_trunk()
    phone = scene.caller([first, second])
    calls = [phone.call(NUMBER), phone.call(NUMBER)]
    assert len(first.server.requests("INVITE")) == len(second.server.requests("INVITE")) == 1
    for call in calls:
        assert phone.ask(call, "BYE").status == 200


@pytest.mark.parametrize(
    "dialled",
    [
        "+4930123456",
        "004930123456",
        "00(49)30-123456",
        "%2B4930123456",
        "tel:+4930123456",
        "tel:+49-30-123456",
        "tel:004930123456",
        "sip:+4930123456;phone-context=+44@edge.example",
        "sip:4930123456;phone-context=%2B@edge.example",
        "+44 30 1",
    ],
)
def test_number_outside_prefixes_is_never_called(scene: OutScene, dialled: str) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk], limits={"prefixes": ["+44"]})
    uri = phone.uri(dialled.replace(" ", "%20"))
    answer = phone.refused(dialled, invite=phone.invite(uri))
    called = {m.request_uri.partition("@")[0] for m in trunk.server.requests("INVITE")}
    assert answer.status in (400, 403, 404) or all(one.startswith("sip:+44") for one in called)


@pytest.mark.parametrize("dialled", ["*21*+442079460000#", "sip:+442079460000@evil.example", "x"])
def test_odd_number_is_not_called(scene: OutScene, dialled: str) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    assert phone.refused(dialled).status in (400, 404)
    assert not trunk.server.requests("INVITE")


def test_barred_number_is_not_called(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    books = scene.world.books
    route = RouteConfig(prefix="+44900", trunks=[], users=[phone.user])
    books.settings = books.settings.model_copy(update={"route": [route]})
    books.add()
    for dialled in ("+449001234567", "09001234567", "tel:+44-900-1234567", "00449001234567"):
        assert phone.refused(dialled).status == 403, dialled
    assert not trunk.server.requests("INVITE")
    assert phone.ask(phone.call(NUMBER), "BYE").status == 200


def test_emergency_call_passes_all_limits(scene: OutScene) -> None:
    trunk = scene.server("emergency")
    entry = {
        "id": "emergency",
        "registrar": f"sip:{trunk.address[0]}",
        "user": "sos",
        "password": PASSWORD,
        "target": "sip:x@edge.example",
    }
    scene.world.books.add(TrunkConfig.model_validate(entry))
    scene.register("emergency", trunk, until_s=-1)
    phone = scene.caller([], limits={"calls_per_minute": 1, "prefixes": ["+49"]}, anonymous=True)
    for _ in range(3):
        assert phone.ask(phone.call("112"), "BYE").status == 200
    invite = trunk.requests("INVITE")[0]
    assert invite.request_uri == f"sip:112@{trunk.address[0]}"
    assert "anonymous" not in str(invite)
