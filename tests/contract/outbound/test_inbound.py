"""Calls of a trunk whose provider challenges the requests of the user's phone."""

import pytest

from testkit import sip
from testkit.calling_phone import SDP, Dialog, Phone
from testkit.digest import Realm
from tests.contract.outbound.scene import OutScene, OutTrunk

EVERY = ("INVITE", "BYE", "INFO", "UPDATE", "PRACK")


def called(scene: OutScene, trunk: OutTrunk) -> tuple[Dialog, Phone]:
    """Let the trunk call the phone of its target; return the call as the phone has it."""
    phone = scene.phone_of(trunk.target)
    invite = trunk.server.calls(scene.uri(trunk.token))
    arrived = phone.receive("INVITE")
    phone.accept(arrived)
    trunk.server.answered(invite)
    phone.receive("ACK")
    return phone.dialog_of(arrived), phone


@pytest.mark.parametrize("status", [401, 407])
def test_challenge_of_phone_in_call_is_answered(scene: OutScene, status: int) -> None:
    trunk = scene.out_trunk([Realm(methods=EVERY, status=status)], target=scene.user())
    call, phone = called(scene, trunk)
    for method in ("INFO", "INVITE", "UPDATE", "INFO", "BYE"):
        assert phone.ask(call, method, body=SDP).status == 200, method


def test_challenge_of_first_bye_is_answered(scene: OutScene) -> None:
    """Kamailio itself relays this BYE."""
    trunk = scene.out_trunk([Realm(methods=("BYE",))], target=scene.user())
    call, phone = called(scene, trunk)
    assert phone.ask(call, "BYE").status == 200


def test_prack_in_challenged_call_names_its_invite(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm(methods=("INVITE",))], target=scene.user())
    call, phone = called(scene, trunk)
    assert phone.ask(call, "INVITE", body=SDP).status == 200
    assert phone.ask(call, "PRACK", [("RAck", f"1 {call.cseq} INVITE")]).status == 200
    invite = trunk.server.requests("INVITE")[-1]
    assert trunk.server.expect("PRACK")["RAck"] == f"1 {invite['CSeq'].split()[0]} INVITE"


def test_rejected_credentials_of_phone_get_403(scene: OutScene) -> None:
    realm = Realm(methods=("INFO",), password="another")
    trunk = scene.out_trunk([realm], target=scene.user())
    call, phone = called(scene, trunk)
    assert phone.ask(call, "INFO").status == 403
    assert len(realm.answers) == 1
    assert phone.ask(call, "BYE").status == 200


@pytest.mark.parametrize("method", ["REFER", "SUBSCRIBE"])
def test_called_phone_cannot_refer_trunk(scene: OutScene, method: str) -> None:
    """The provider would call the number of a REFER with the account of the trunk."""
    trunk = scene.out_trunk(target=scene.user())
    call, phone = called(scene, trunk)
    headers = [("Refer-To", "<sip:+44900@x>"), ("Event", "refer"), ("Contact", phone.contact)]
    assert phone.ask(call, method, headers).status == 403
    assert not trunk.server.requests(method)
    assert phone.ask(call, "BYE").status == 200


def test_redirect_of_called_phone_reaches_no_trunk(scene: OutScene) -> None:
    """The provider would call the Contact of a redirect with the account of the trunk."""
    trunk = scene.out_trunk(target=scene.user())
    phone = scene.phone_of(trunk.target)
    invite = trunk.server.calls(scene.uri(trunk.token))
    arrived = phone.receive("INVITE")
    redirect = sip.reply(arrived, 302, headers=[("Contact", "<sip:+44900@x>")], to_tag="phone")
    phone.at.send(redirect, scene.edge)
    answer = trunk.server.final(invite, is_initial=True)
    assert answer.status == 480
    assert "Contact" not in answer


@pytest.mark.parametrize(
    ("statuses", "best"),
    [((486, 503), 486), ((503, 486), 486), ((480, 603), 603), ((603, 480), 603)],
)
def test_fork_to_phones_answers_best_of_all(
    scene: OutScene, statuses: tuple[int, int], best: int
) -> None:
    trunk = scene.out_trunk(target=scene.user())
    phones = [scene.phone_of(trunk.target), scene.phone_of(trunk.target)]
    invite = trunk.server.calls(scene.uri(trunk.token))
    arrived = [phone.receive("INVITE") for phone in phones]
    for phone, one, status in zip(phones, arrived, statuses, strict=True):
        phone.at.send(sip.reply(one, status, to_tag="phone"), scene.edge)
        scene.await_edge()
    assert trunk.server.final(invite, is_initial=True).status == best
