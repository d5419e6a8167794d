"""Who is not known learns nothing, and nothing is done for him."""

import pytest

from testkit.sip import Message, request
from tests.contract.scene import Scene

PLAIN = {"via", "from", "to", "call-id", "cseq", "content-length"}


def names(message: Message) -> set[str]:
    return {name.lower() for name, _ in message.headers}


@pytest.mark.parametrize(
    "method", ["INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "PUBLISH", "NOTIFY", "MADEUP"]
)
def test_an_unknown_source_is_refused_and_told_nothing(scene: Scene, method: str) -> None:
    unknown_source = scene.endpoint()
    answer = unknown_source.ask(
        request(method, scene.uri("+4420"), unknown_source.address), scene.edge
    )
    assert answer.start_line == "SIP/2.0 403 Forbidden"
    assert names(answer) == PLAIN
    assert answer.body == ""


def test_the_refusal_does_not_tell_whether_the_user_exists(
    scene: Scene,
) -> None:
    user, unknown_source = scene.user(), scene.endpoint()
    for name in (user, "nobody"):
        answer = unknown_source.ask(scene.invite(unknown_source, name), scene.edge)
        assert answer.start_line == "SIP/2.0 403 Forbidden"
        assert names(answer) == PLAIN


def test_a_users_own_call_is_refused(scene: Scene) -> None:
    alice, bob = scene.user(), scene.user()
    phone, other = scene.phone(alice), scene.phone(bob)
    invite = request(
        "INVITE", f"sip:{bob}@edge.example", phone.address, from_uri=f"sip:{alice}@edge.example"
    )
    assert phone.ask(invite, scene.edge).start_line == "SIP/2.0 403 Forbidden"
    assert scene.nothing_came(other)


def test_options_from_a_trunks_address_is_answered(scene: Scene) -> None:
    trunk = scene.trunk("nobody")
    ask = request("OPTIONS", scene.uri(), trunk.at.address)
    answer = trunk.at.ask(ask, scene.edge)
    assert answer.status == 200
    assert names(answer) == PLAIN


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "NOTIFY", "REFER", "UPDATE", "INFO"])
def test_a_trunk_may_begin_calls_and_messages_only(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    answer = trunk.at.ask(request(method, scene.uri("+4420"), trunk.at.address), scene.edge)
    assert answer.status == 405
    assert answer["Allow"] == "INVITE, MESSAGE"
    assert scene.nothing_came(phone)


def test_a_message_from_a_trunk_reaches_the_phone(scene: Scene) -> None:
    trunk, phone = scene.line()
    trunk.at.send(
        request("MESSAGE", scene.uri("+4420"), trunk.at.address, body="hello"), scene.edge
    )
    arrived = phone.receive()
    assert (arrived.method, arrived.body) == ("MESSAGE", "hello")
    assert arrived["X-Whence-Trunk"] == trunk.id


@pytest.mark.parametrize("agent", ["friendly-scanner", "SIPVicious 0.3", "sipcli/v1.8", "pplsip"])
def test_a_scanner_gets_no_answer(scene: Scene, agent: str) -> None:
    trunk, phone = scene.line()
    for asker in (trunk.at, scene.endpoint()):
        asker.send(scene.invite(asker, headers=[("User-Agent", agent)]), scene.edge)
        assert scene.nothing_came(asker, phone)


@pytest.mark.parametrize("who", ["provider", "unknown_source"])
def test_a_request_that_has_no_hop_left_goes_no_further(scene: Scene, who: str) -> None:
    _, phone = scene.line()
    asker = scene.endpoint(who)
    invite = scene.invite(asker)
    spent = tuple((n, "0" if n == "Max-Forwards" else v) for n, v in invite.headers)
    assert asker.ask(Message(invite.start_line, spent), scene.edge).status == 483
    assert scene.nothing_came(phone)


def test_preloaded_routes_lead_nowhere(scene: Scene) -> None:
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


def test_a_request_for_somewhere_else_is_not_relayed_there(scene: Scene) -> None:
    trunk, phone = scene.line()
    victim, unknown_source = scene.endpoint("victim"), scene.endpoint()
    uri = f"sip:x@{victim.address[0]}:{victim.address[1]}"
    for method in ("INVITE", "MESSAGE", "OPTIONS", "BYE", "ACK", "CANCEL", "REGISTER"):
        unknown_source.send(request(method, uri, unknown_source.address), scene.edge)
    trunk.at.send(request("INVITE", uri, trunk.at.address), scene.edge)
    assert phone.receive()["X-Whence-Trunk"] == trunk.id
    assert scene.nothing_came(victim)
