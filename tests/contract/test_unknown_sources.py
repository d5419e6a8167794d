"""Unknown sources: the edge refuses their requests, and its answers give no information."""

import pytest

from testkit.sip import Message, request
from tests.contract.scene import Scene

PLAIN = {"via", "from", "to", "call-id", "cseq", "content-length"}


def names(message: Message) -> set[str]:
    return {name.lower() for name, _ in message.headers}


@pytest.mark.parametrize(
    "method", ["INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "PUBLISH", "NOTIFY", "MADEUP"]
)
def test_unknown_source_gets_a_403_without_details(scene: Scene, method: str) -> None:
    unknown_source = scene.endpoint()
    answer = unknown_source.ask(
        request(method, scene.uri("+4420"), unknown_source.address), scene.edge
    )
    assert answer.start_line == "SIP/2.0 403 Forbidden"
    assert names(answer) == PLAIN
    assert answer.body == ""


def test_refusal_is_alike_for_existing_and_unknown_users(
    scene: Scene,
) -> None:
    user, unknown_source = scene.user(), scene.endpoint()
    for name in (user, "nobody"):
        answer = unknown_source.ask(scene.invite(unknown_source, name), scene.edge)
        assert answer.start_line == "SIP/2.0 403 Forbidden"
        assert names(answer) == PLAIN


def test_call_of_a_local_user_is_refused(scene: Scene) -> None:
    alice, bob = scene.user(), scene.user()
    phone, other = scene.phone(alice), scene.phone(bob)
    invite = request(
        "INVITE", f"sip:{bob}@edge.example", phone.address, from_uri=f"sip:{alice}@edge.example"
    )
    assert phone.ask(invite, scene.edge).start_line == "SIP/2.0 403 Forbidden"
    assert scene.nothing_came(other)


def test_options_from_a_trunks_address_gets_200(scene: Scene) -> None:
    trunk = scene.trunk("nobody")
    ask = request("OPTIONS", scene.uri(), trunk.at.address)
    answer = trunk.at.ask(ask, scene.edge)
    assert answer.status == 200
    assert names(answer) == {*PLAIN, "allow"}


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "NOTIFY", "REFER"])
def test_other_methods_of_a_trunk_get_405(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    answer = trunk.at.ask(request(method, scene.uri("+4420"), trunk.at.address), scene.edge)
    assert answer.status == 405
    assert answer["Allow"].startswith("INVITE, ACK, CANCEL, BYE, ")
    assert scene.nothing_came(phone)


def test_message_from_a_trunk_reaches_the_phone(scene: Scene) -> None:
    trunk, phone = scene.line()
    trunk.at.send(
        request("MESSAGE", scene.uri("+4420"), trunk.at.address, body="hello"), scene.edge
    )
    arrived = phone.receive()
    assert (arrived.method, arrived.body) == ("MESSAGE", "hello")
    assert arrived["X-Whence-Trunk"] == trunk.id


@pytest.mark.parametrize("agent", ["friendly-scanner", "SIPVicious 0.3", "sipcli/v1.8", "pplsip"])
def test_scanner_gets_no_answer(scene: Scene, agent: str) -> None:
    _, phone = scene.line()
    asker = scene.endpoint()
    asker.send(scene.invite(asker, headers=[("User-Agent", agent)]), scene.edge)
    assert scene.nothing_came(asker, phone)


@pytest.mark.parametrize("who", ["provider", "unknown_source"])
def test_request_without_hops_left_gets_483(scene: Scene, who: str) -> None:
    _, phone = scene.line()
    asker = scene.endpoint(who)
    invite = scene.invite(asker)
    spent = tuple((n, "0" if n == "Max-Forwards" else v) for n, v in invite.headers)
    assert asker.ask(Message(invite.start_line, spent), scene.edge).status == 483
    assert scene.nothing_came(phone)


def test_preloaded_routes_reach_no_third_party(scene: Scene) -> None:
    trunk, phone = scene.line()
    victim, unknown_source = scene.endpoint("victim"), scene.endpoint()
    ip, port = victim.address
    routes = [("Route", f"<sip:{scene.edge[0]};lr>, <sip:{ip}:{port};lr>"), ("rOUTE", "<sip:x;lr>")]
    assert (
        unknown_source.ask(scene.invite(unknown_source, headers=routes), scene.edge).status == 403
    )
    trunk.at.send(scene.invite(trunk.at, headers=routes), scene.edge)
    arrived = phone.receive()
    assert "Route" not in arrived
    assert scene.nothing_came(victim)


def test_request_for_another_host_is_not_relayed(scene: Scene) -> None:
    trunk, phone = scene.line()
    victim, unknown_source = scene.endpoint("victim"), scene.endpoint()
    uri = f"sip:x@{victim.address[0]}:{victim.address[1]}"
    for method in ("INVITE", "MESSAGE", "OPTIONS", "BYE", "ACK", "CANCEL", "REGISTER"):
        unknown_source.send(request(method, uri, unknown_source.address), scene.edge)
    trunk.at.send(request("INVITE", uri, trunk.at.address), scene.edge)
    assert phone.receive()["X-Whence-Trunk"] == trunk.id
    assert scene.nothing_came(victim)
