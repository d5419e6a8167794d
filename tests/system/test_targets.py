"""Identified calls: from ringing to BYE, inside the dialog, and their transactions."""

from dataclasses import dataclass

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, acknowledgement, once, reply, request
from testkit.sipp import Caller, Phone
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.dialog import connect, is_final, is_request, ring
from tests.system.scene import (
    ACCOUNTS,
    BOB,
    BOBS_NUMBER,
    alices_trunk,
    place,
    uri,
)

PBX_NUMBER = "+442079460000"
ABSENT_NUMBER = "+442079460001"


@dataclass
class Scene:
    """Alice's phone is a raw endpoint, bob's is SIPp; a PBX is the target of the third trunk."""

    whence: Whence
    provider: Provider
    caller: Caller
    at_provider: Endpoint
    alice: Endpoint
    bob: Phone
    pbx: Phone


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(
        accounts={**ACCOUNTS, "acct3": "secret of acct3", "acct4": "secret of acct4"}
    )
    pbx = rig.phone("pbx")
    to_pbx = f"sip:{{number}}@{place(pbx.address)}"
    whence = rig.whence(
        trunks=[
            alices_trunk(provider),
            trunk("bobs-trunk", provider, "acct2", BOB, [BOBS_NUMBER]),
            trunk("pbx-trunk", provider, "acct3", to_pbx, [PBX_NUMBER]),
            trunk("absent", provider, "acct4", "sip:carol@edge.example", [ABSENT_NUMBER]),
        ],
        users=["alice", "bob", "carol"],
    )
    whence.wait_registered()
    alice = rig.endpoint("phone-alice", SIP_PORT)
    password = whence.password("alice")
    assert alice.register(whence.address, "alice", password, whence.domain).status == 200
    return Scene(
        whence=whence,
        provider=provider,
        caller=rig.caller(whence, at=provider),
        at_provider=rig.endpoint("provider", 5070),
        alice=alice,
        bob=rig.phone("bob", whence),
        pbx=pbx,
    )


# --- the start of a call


def test_call_rings_is_answered_and_ends_by_the_caller(scene: Scene) -> None:
    scene.bob.behave("answers")
    outcome = scene.caller.call(uri(scene.whence, BOBS_NUMBER), expect=200)
    statuses = [message.status for message in once(outcome.received)]
    assert statuses == [100, 180, 200, 200]
    methods = [message.method for message in once(scene.bob.received())]
    assert methods[-3:] == ["INVITE", "ACK", "BYE"]


def test_call_ended_by_the_phone_gets_bye(scene: Scene) -> None:
    scene.bob.behave("hangs_up")
    outcome = scene.caller.call(uri(scene.whence, BOBS_NUMBER), hung_up_by="phone", expect=200)
    assert outcome.received[-1].method == "BYE"


def test_busy_phone_answers_486(scene: Scene) -> None:
    scene.bob.behave("busy")
    scene.caller.call(uri(scene.whence, BOBS_NUMBER), expect=486)


@pytest.mark.parametrize("status", [404, 488, 500, 603])
def test_refusal_of_a_phone_is_relayed(scene: Scene, status: int) -> None:
    scene.bob.behave(status)
    scene.caller.call(uri(scene.whence, BOBS_NUMBER), expect=status)


def test_refusal_503_of_a_phone_becomes_500(scene: Scene) -> None:
    """With a 503 the provider would take the whole edge for unavailable (RFC 3261 16.7)."""
    scene.bob.behave(503)
    scene.caller.call(uri(scene.whence, BOBS_NUMBER), expect=500)


def test_cancelled_call_stops_the_ringing(scene: Scene) -> None:
    scene.bob.behave("rings")
    scene.caller.call(uri(scene.whence, BOBS_NUMBER), cancel_after_s=0.1, expect=487)
    eventually(
        lambda: [m.method for m in once(scene.bob.received())][-3:] == ["INVITE", "CANCEL", "ACK"],
        what="the CANCEL at the phone",
    )


def test_user_without_a_phone_is_480(scene: Scene) -> None:
    scene.caller.call(uri(scene.whence, ABSENT_NUMBER), expect=480)


def test_target_uri_gets_the_called_number(scene: Scene) -> None:
    calls = len(scene.pbx.calls())
    scene.caller.call(uri(scene.whence, PBX_NUMBER), expect=200)
    assert len(scene.pbx.calls()) == calls + 1
    assert scene.pbx.calls()[-1].request_uri == f"sip:{PBX_NUMBER}@{place(scene.pbx.address)}"


def test_target_uri_gets_the_number_from_to(scene: Scene) -> None:
    """Many providers write the account into the Request-URI, and the number into To."""
    scene.caller.call(
        uri(scene.whence, "acct9"), to="sip:0044-20-7946-0000@provider.example", expect=200
    )
    assert scene.pbx.calls()[-1].request_uri == f"sip:00442079460000@{place(scene.pbx.address)}"


# --- headers and body


def test_target_gets_trunk_and_source_of_the_edge_only(scene: Scene) -> None:
    """The edge removes such headers of the caller."""
    forged = [
        ("X-Whence-Trunk", "forged"),
        ("x-whence-trunk", "forged"),
        ("X-Whence-Source", "udp:198.51.100.1:5060"),
        ("X-Whence-Mac", "forged"),
        ("X-Whence-Next-Hop", "sip:198.51.100.1"),
        ("X-Whence-Socket", "udp:198.51.100.1:5060"),
    ]
    dialog = connect(scene.whence, scene.at_provider, scene.alice, headers=forged)
    output = {(n, v) for n, v in dialog.arrived.headers if n.lower().startswith("x-whence")}
    source = f"udp:{place(scene.at_provider.address)}"
    assert output == {("X-Whence-Trunk", "alices-trunk"), ("X-Whence-Source", source)}
    bye, _ = dialog.pass_on(dialog.from_caller("BYE", forged), scene.at_provider, scene.alice)
    assert "forged" not in str(bye)


def test_headers_and_body_are_relayed_unchanged(scene: Scene) -> None:
    """Also bytes that are not UTF-8, in headers that the edge does not read."""
    body = "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\n"
    latin = "M\udcfcller"  # one byte, as ISO 8859-1 writes it
    headers = [("Content-Type", "application/sdp"), ("Subject", latin), ("X-Own", "kept")]
    caller, alice, edge = scene.at_provider, scene.alice, scene.whence.address
    invite = request("INVITE", uri(scene.whence), caller.address, headers=headers, body=body)
    arrived = ring(scene.whence, caller, alice, invite)
    assert (arrived["Subject"], arrived["X-Own"], arrived.body) == (latin, "kept", body)
    assert arrived["From"] == invite["From"]
    alice.send(reply(arrived, 486, headers=[("X-Why", latin)]), edge)
    refusal = caller.expect(is_final(invite))
    assert (refusal.status, refusal["X-Why"]) == (486, latin)
    caller.send(acknowledgement(invite, refusal), edge)


# --- inside a call


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "OPTIONS", "MESSAGE"])
def test_request_inside_a_call_is_relayed_both_ways(scene: Scene, method: str) -> None:
    caller, alice = scene.at_provider, scene.alice
    dialog = connect(scene.whence, caller, alice)
    dialog.pass_on(dialog.from_caller(method), caller, alice)
    dialog.pass_on(dialog.from_phone(method), alice, caller)
    dialog.pass_on(dialog.from_caller("BYE"), caller, alice)


@pytest.mark.parametrize("side", ["caller", "phone"])
def test_bye_of_either_side_is_relayed(scene: Scene, side: str) -> None:
    caller, alice = scene.at_provider, scene.alice
    dialog = connect(scene.whence, caller, alice)
    if side == "caller":
        dialog.pass_on(dialog.from_caller("BYE"), caller, alice)
    else:
        dialog.pass_on(dialog.from_phone("BYE"), alice, caller)


def test_call_of_a_removed_trunk_continues(scene: Scene) -> None:
    """An admitted call stays valid until either side ends it."""
    caller, alice, whence = scene.at_provider, scene.alice, scene.whence
    dialog, trunks = connect(whence, caller, alice), whence.trunks
    whence.edit(trunks=[table for table in trunks if table["id"] != "alices-trunk"])
    whence.reload()
    eventually(lambda: not scene.provider.contacts("acct1"), what="the trunk unregistered")
    dialog.pass_on(dialog.from_phone("INVITE"), alice, caller)
    dialog.pass_on(dialog.from_caller("BYE"), caller, alice)
    whence.edit(trunks=trunks)
    whence.reload()
    eventually(lambda: whence.trunk("alices-trunk"), what="the restored trunk")
    whence.wait_registered()


# --- transactions


def test_invite_retransmission_rings_once(scene: Scene) -> None:
    caller, alice, edge = scene.at_provider, scene.alice, scene.whence.address
    invite = request("INVITE", uri(scene.whence), caller.address)
    arrived = ring(scene.whence, caller, alice, invite)
    for _ in range(3):
        caller.send(invite, edge)
        assert caller.receive().status == 180
    alice.send(reply(arrived, 486), edge)
    received = alice.receive()
    assert received.method == "ACK", received
    refusal = caller.expect(is_final(invite))
    assert refusal.status == 486
    caller.send(invite, edge)
    assert caller.receive().status == 486
    caller.send(acknowledgement(invite, refusal), edge)


def test_cancel_is_answered_and_relayed(scene: Scene) -> None:
    caller, alice, edge = scene.at_provider, scene.alice, scene.whence.address
    invite = request("INVITE", uri(scene.whence), caller.address)
    arrived = ring(scene.whence, caller, alice, invite)
    caller.send(cancel_of(invite), edge)
    assert caller.receive()["CSeq"] == "1 CANCEL"
    cancel = alice.expect(is_request("CANCEL"))
    assert cancel["Via"] == arrived["Via"]
    alice.send(reply(cancel, 200), edge)
    alice.send(reply(arrived, 487), edge)
    refusal = caller.expect(is_final(invite))
    assert refusal.status == 487
    caller.send(acknowledgement(invite, refusal), edge)


def test_cancel_without_a_call_is_481(scene: Scene) -> None:
    invite = request("INVITE", uri(scene.whence), scene.at_provider.address)
    assert scene.at_provider.ask(cancel_of(invite), scene.whence.address).status == 481


def test_bye_without_a_call_is_481(scene: Scene) -> None:
    bye = request("BYE", uri(scene.whence), scene.at_provider.address, to_tag="made-up")
    assert scene.at_provider.ask(bye, scene.whence.address).status == 481


def cancel_of(invite: Message) -> Message:
    """Make the CANCEL of an INVITE (RFC 3261 9.1): only method and CSeq differ."""
    kept = ("Via", "Max-Forwards", "From", "To", "Call-ID")
    fields = [(name, invite[name]) for name in kept]
    end = [("CSeq", "1 CANCEL"), ("Content-Length", "0")]
    return Message(f"CANCEL {invite.request_uri} SIP/2.0", (*fields, *end))
