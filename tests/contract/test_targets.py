"""Targets of identified calls: the phones of a user, or a URI, which may hold the number."""

import re
from urllib.parse import unquote

import pytest

from testkit.sip import Message
from tests.contract.books import DOMAIN
from tests.contract.scene import HOUR_S, PASSWORD, Scene


def test_target_without_a_phone_gets_480(scene: Scene) -> None:
    trunk = scene.trunk(scene.user())
    answer = trunk.at.ask(scene.invite(trunk.at), scene.edge)
    assert answer.start_line == "SIP/2.0 480 Temporarily Unavailable"


def test_target_whose_phone_unregistered_gets_no_call(scene: Scene) -> None:
    user = scene.user()
    trunk, phone = scene.trunk(user), scene.phone(user)
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN, expires_s=0).status == 200
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480
    assert scene.nothing_came(phone)


def test_target_with_several_phones_rings_each(scene: Scene) -> None:
    user = scene.user()
    trunk, desk, pocket = scene.trunk(user), scene.phone(user), scene.phone(user)
    trunk.at.send(scene.invite(trunk.at), scene.edge)
    assert desk.receive().method == pocket.receive().method == "INVITE"


def test_phone_behind_nat_gets_calls_at_its_source(scene: Scene) -> None:
    user = scene.user()
    trunk, phone = scene.trunk(user), scene.endpoint("phones")
    contact = f"<sip:{user}@192.0.2.77:5060>"
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN, contact=contact).status == 200
    trunk.at.send(scene.invite(trunk.at), scene.edge)
    assert phone.receive().request_uri == f"sip:{user}@192.0.2.77:5060"


def test_target_uri_gets_the_call(scene: Scene) -> None:
    pbx = scene.endpoint("pbx")
    ip, port = pbx.address
    trunk = scene.trunk(f"sip:sales@{ip}:{port}")
    trunk.at.send(scene.invite(trunk.at), scene.edge)
    arrived = pbx.receive()
    assert arrived.request_uri == f"sip:sales@{ip}:{port}"
    assert arrived["X-Whence-Trunk"] == trunk.id


def test_target_with_number_gets_the_called_number(scene: Scene) -> None:
    pbx = scene.endpoint("pbx")
    ip, port = pbx.address
    trunk = scene.trunk(f"sip:{{number}}@{ip}:{port}")
    trunk.at.send(scene.invite(trunk.at, "+44-20.7123"), scene.edge)
    assert pbx.receive().request_uri == f"sip:+44207123@{ip}:{port}"


def test_target_with_number_may_name_a_local_user(scene: Scene) -> None:
    user = scene.user()
    trunk, phone = scene.trunk(f"sip:{{number}}@{DOMAIN}"), scene.phone(user)
    trunk.at.send(scene.invite(trunk.at, user), scene.edge)
    assert phone.receive().request_uri.startswith(f"sip:{user}@")


ATTACKS = [
    "a%40192.0.2.9",
    "a%3Btransport=tcp",
    "a;b",
    "a%3E",
    "a%0d%0aX-Whence-Trunk:%20forged",
    "a%20b",
    "a%22b",
    "a%00b",
    "a%3Fb",
    "a%25%34%30b",
    "a%ff%feb",
    "a:secret",
    "%7bnumber%7d",
    "a/b?c",
    "a,b",
    "%C3%BC",
]


@pytest.mark.parametrize("user", ATTACKS)
def test_number_in_a_target_stays_in_its_user_part(scene: Scene, user: str) -> None:
    pbx = scene.endpoint("pbx")
    ip, port = pbx.address
    trunk = scene.trunk(f"sip:{{number}}@{ip}:{port}")
    trunk.at.send(scene.invite(trunk.at, user), scene.edge)
    for arrived in scene.came(pbx):
        assert re.fullmatch(rf"sip:[A-Za-z0-9%_.!~*'()&=+$,-]+@{ip}:{port}", arrived.request_uri), (
            arrived
        )
        assert arrived.all("X-Whence-Trunk") == [trunk.id]
        sent, received = unquote(user.partition(":")[0]), unquote(arrived.request_uri[4:])
        assert received == f"{sent}@{ip}:{port}"


@pytest.mark.parametrize(
    "uri",
    [
        "sip:a@b@{edge}",
        "sip:a>b@{edge}",
        'sip:"a"@{edge}',
        "sip:a\tb@{edge}",
        "sip:a@{edge};line=%0d%0aX: y",
        "sip:@{edge}",
        "sip:",
        "sip",
        "http://{edge}/",
        "sip:a@{edge}:99999",
        "sip:a@[::1",
        "tel:",
        "urn:service:sos",
        "sip:a@{edge}?X-Whence-Trunk=forged",
        "sip:%zz@{edge}",
        "sip:a\udcff@{edge}",
    ],
)
def test_invalid_request_uri_leaves_the_next_call_unharmed(scene: Scene, uri: str) -> None:
    pbx = scene.endpoint("pbx")
    ip, port = pbx.address
    trunk = scene.trunk(f"sip:{{number}}@{ip}:{port}", granted_s=HOUR_S)
    invite = scene.invite(trunk.at, to_uri="sip:x@invalid")
    edge = f"{scene.edge[0]}:{scene.edge[1]}"
    trunk.at.send(
        Message(f"INVITE {uri.replace('{edge}', edge)} SIP/2.0", invite.headers), scene.edge
    )
    for arrived in scene.came(pbx):
        assert arrived.request_uri.endswith(f"@{ip}:{port}")
        assert arrived.all("X-Whence-Trunk") == [trunk.id]
    after = scene.invite(trunk.at)
    trunk.at.send(after, scene.edge)
    pbx.expect(lambda m: m.call_id == after.call_id, what="the next call")
