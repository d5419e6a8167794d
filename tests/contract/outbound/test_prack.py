"""Reliable provisional answers, UPDATE and hold in users' calls."""

from testkit.calling_phone import SDP
from testkit.digest import Realm
from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene


def test_prack_names_cseq_of_trunk(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm(methods=("INVITE", "PRACK"))])
    reliable = [("RSeq", "7"), ("Require", "100rel")]
    trunk.server.behaviour = Behaviour(waits=True, ringing_headers=reliable)
    phone = scene.caller([trunk])
    sent = phone.send_call(NUMBER)
    early = phone.early(sent)
    number = sent["CSeq"].split()[0]
    assert phone.ask(early, "PRACK", [("RAck", f"7 {number} INVITE")]).status == 200
    prack, invite = trunk.server.expect("PRACK", 2), trunk.server.requests("INVITE")[-1]
    assert prack["RAck"] == f"7 {invite['CSeq'].split()[0]} INVITE"
    trunk.server.answer_now()
    call = phone.answered(sent)
    call.cseq = early.cseq
    assert phone.ask(call, "BYE").status == 200


def test_prack_of_challenged_reinvite_names_its_cseq(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm()])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    assert phone.ask(call, "INVITE", body=SDP).status == 200
    number = call.cseq
    assert phone.ask(call, "PRACK", [("RAck", f"1 {number} INVITE")]).status == 200
    invite = trunk.server.requests("INVITE")[-1]
    rack = trunk.server.expect("PRACK")["RAck"]
    assert rack == f"1 {invite['CSeq'].split()[0]} INVITE"
