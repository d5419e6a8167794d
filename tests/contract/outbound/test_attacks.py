"""What an attacker tries: to call at somebody's cost, and to learn or hijack a call."""

import re

import pytest

from testkit.calling_phone import Phone
from testkit.digest import Realm
from testkit.sip import Message, acknowledgement, authorization, reply
from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene
from tests.contract.scene import PASSWORD


def challenged(phone: Phone, sent: Message) -> Message:
    phone.at.send(sent, phone.edge)
    challenge = phone.at.expect(lambda m: m.status == 407, what="the challenge")
    phone.at.send(acknowledgement(sent, challenge), phone.edge)
    return challenge


def test_from_of_another_user_changes_no_caller(scene: OutScene) -> None:
    trunk = scene.out_trunk(outbound={"from_user": "number"}, numbers=["+44207946*"])
    bob = scene.caller([trunk], caller_number="+442079460002")
    alice = scene.caller([trunk], caller_number="+442079460001")
    claims = [
        ("P-Preferred-Identity", "<sip:+442079460002@edge.example>"),
        ("P-Asserted-Identity", "<tel:+442079460002>"),
        ("Diversion", "<sip:+442079460002@edge.example>"),
    ]
    invite = alice.invite(alice.uri(NUMBER), from_uri=bob.aor, headers=claims)
    alice.send_call(NUMBER, invite=invite)
    arrived = trunk.server.expect("INVITE")
    assert arrived["From"].startswith("<sip:+442079460001@")
    assert "+442079460002" not in str(arrived)


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_digest_is_valid_for_one_call_only(scene: OutScene, algorithm: str) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    first = phone.invite(phone.uri(NUMBER))
    challenge = challenged(phone, first)
    elsewhere = phone.invite(phone.uri("+442079469999"))
    uri = first.request_uri
    header = authorization(challenge, "INVITE", uri, phone.user, PASSWORD, only=algorithm)
    stolen = Message(elsewhere.start_line, (*elsewhere.headers[:-1], header, elsewhere.headers[-1]))
    stolen = Message(stolen.start_line, stolen.headers, elsewhere.body)
    assert phone.at.ask(stolen, scene.edge).status == 407
    other = scene.endpoint("thief")
    again = phone.authorized(first, challenge, only=algorithm)
    moved = Message(
        again.start_line,
        tuple((n, _via(v, other.address)) if n == "Via" else (n, v) for n, v in again.headers),
        again.body,
    )
    assert other.ask(moved, scene.edge).status == 407
    assert not trunk.server.requests("INVITE")


def test_used_digest_calls_no_second_time(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    assert phone.ask(call, "BYE").status == 200
    fields = tuple(
        (n, re.sub("branch=.*", "branch=z9hG4bKagain", v) if n == "Via" else v)
        for n, v in call.invite.headers
    )
    again = Message(call.invite.start_line, fields, call.invite.body)
    assert phone.at.ask(again, scene.edge).status == 407


@pytest.mark.parametrize("status", [401, 407])
def test_forged_challenge_gets_no_digest(scene: OutScene, status: int) -> None:
    trunk = scene.out_trunk()
    trunk.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([trunk])
    sent = phone.send_call(NUMBER)
    arrived = trunk.server.expect("INVITE")
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    forged = reply(arrived, status, headers=[(name, 'Digest realm="x", nonce="y"')])
    scene.endpoint("forger").send(forged, scene.edge)
    scene.await_edge()
    trunk.server.answer_now()
    assert phone.ask(phone.answered(sent), "BYE").status == 200
    assert len(trunk.server.requests("INVITE")) == 1
    assert "Authorization" not in str(trunk.server.requests("INVITE")[0])


def test_server_of_contact_gets_no_digest(scene: OutScene) -> None:
    """A dialog may lead to another server than the trunk's."""
    realm = Realm(methods=("INFO",))
    trunk = scene.out_trunk(match_port=True)
    elsewhere = scene.server(trunk.id, [realm], port=5070)
    trunk.server.leads_to = f"<sip:x@{elsewhere.address[0]}:{elsewhere.address[1]}>"
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    elsewhere.knows(trunk.server.dialog())
    assert phone.ask(call, "INFO").status == 403
    assert realm.answers == []
    elsewhere.faults.clear()  # the ACK was for the other server


@pytest.mark.parametrize("method", ["REFER", "SUBSCRIBE"])
def test_trunk_gets_no_refer_of_phone(scene: OutScene, method: str) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    headers = [("Refer-To", "<sip:+44900@x>"), ("Event", "refer"), ("Contact", phone.contact)]
    assert phone.ask(call, method, headers).status == 403
    assert not trunk.server.requests(method)


def test_route_state_of_another_call_is_refused(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    call, other = phone.call(NUMBER), phone.call(NUMBER)
    state = re.compile("call=[^;>]+")
    theirs = state.findall(other.answer["Record-Route"])[0]
    for changed in (theirs, "call=" + "0" * 60, ""):
        answer = other.answer if not changed else call.answer
        fields = tuple(
            (n, state.sub(changed, v) if n == "Record-Route" else v) for n, v in answer.headers
        )
        call_id = call.answer
        tampered = type(call)(
            call.invite, Message(call_id.start_line, fields), call.cseq, call.target
        )
        assert phone.ask(tampered, "INFO").status == 481
    assert not trunk.server.requests("INFO")


def test_party_cannot_send_as_the_other(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    dialog = trunk.server.dialog()
    stranger = scene.endpoint("stranger")
    bye = trunk.server.request_in(dialog, "BYE")
    fields = tuple((n, _via(v, stranger.address)) if n == "Via" else (n, v) for n, v in bye.headers)
    assert stranger.ask(Message(bye.start_line, fields), scene.edge).status == 481
    own = phone.request_of(call, "BYE")
    fields = tuple((n, _via(v, stranger.address)) if n == "Via" else (n, v) for n, v in own.headers)
    assert stranger.ask(Message(own.start_line, fields), scene.edge).status == 481
    assert scene.nothing_came(phone.at)


def test_stranger_calls_no_number(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    stranger = scene.endpoint("stranger")
    for from_uri, status in ((phone.aor, 407), ("sip:x@elsewhere.example", 403)):
        ask = phone.invite(phone.uri(NUMBER), from_uri=from_uri)
        fields = tuple(
            (n, _via(v, stranger.address)) if n == "Via" else (n, v) for n, v in ask.headers
        )
        assert stranger.ask(Message(ask.start_line, fields, ask.body), scene.edge).status == status
    assert not trunk.server.requests("INVITE")


def _via(value: str, address: tuple[str, int]) -> str:
    return re.sub("UDP [^;]+", f"UDP {address[0]}:{address[1]}", value)
