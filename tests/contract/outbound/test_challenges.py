"""Challenges of a trunk: the edge answers them, and the phone gets none."""

import pytest

from testkit.digest import Realm
from tests.contract.outbound.scene import NUMBER, OutScene

EVERY = ("INVITE", "BYE", "INFO", "UPDATE", "PRACK")


@pytest.mark.parametrize(
    "realm",
    [
        Realm(),
        Realm(status=401),
        Realm(algorithms=("SHA-256",)),
        Realm(algorithms=("SHA-512-256",)),
        Realm(algorithms=("MD5-sess",)),
        Realm(algorithms=("SHA-256-sess",)),
        Realm(algorithms=("AKAv1-MD5", "SHA-256", "MD5")),
        Realm(algorithms=("SHA-256", "MD5"), one_line=True),
        Realm(qop=None),
        Realm(stale=1),
        Realm(stale=2, one_time=False),
    ],
    ids=lambda r: f"{r.status} {' '.join(r.algorithms)} {r.qop} {r.stale}",
)
def test_challenge_of_trunk_is_answered(scene: OutScene, realm: Realm) -> None:
    acks = 2 + realm.stale
    trunk = scene.out_trunk([realm])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    ack = trunk.server.expect("ACK", acks)
    assert ack["CSeq"].split()[0] == trunk.server.requests("INVITE")[-1]["CSeq"].split()[0]
    assert phone.ask(call, "BYE").status == 200


def test_challenges_of_two_realms_are_answered(scene: OutScene) -> None:
    realms = [Realm("proxy.example"), Realm("registrar.example", status=401)]
    trunk = scene.out_trunk(realms)
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    last = trunk.server.requests("INVITE")[-1]
    assert len(last.all("Proxy-Authorization")) == len(last.all("Authorization")) == 1
    assert phone.ask(call, "BYE").status == 200


@pytest.mark.parametrize("status", [401, 407])
def test_challenge_of_each_request_in_call_is_answered(scene: OutScene, status: int) -> None:
    trunk = scene.out_trunk([Realm(methods=EVERY, status=status)])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    for method in ("INVITE", "INFO", "UPDATE", "INVITE", "BYE"):
        assert phone.ask(call, method).status == 200, method


def test_ack_of_challenged_reinvite_has_its_cseq(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm()])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    assert phone.ask(call, "INVITE").status == 200
    ack = trunk.server.expect("ACK", 4)  # of two challenges and two answers
    assert ack["CSeq"].split()[0] == trunk.server.requests("INVITE")[-1]["CSeq"].split()[0]


def test_requests_of_both_parties_have_growing_cseq(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm(methods=EVERY)])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    for _ in range(3):
        assert phone.ask(call, "INFO").status == 200
        sent = trunk.server.send_in(trunk.server.dialog(), "INFO")
        phone.answer(phone.receive("INFO"))
        assert trunk.server.final(sent).status == 200
    assert phone.ask(call, "BYE").status == 200


def test_rejected_credentials_are_sent_once(scene: OutScene) -> None:
    realm = Realm(password="another")
    trunk = scene.out_trunk([realm])
    phone = scene.caller([trunk])
    assert phone.refused(NUMBER).status == 500
    assert len(realm.answers) == 1


def test_phone_gets_403_for_rejected_credentials_in_call(scene: OutScene) -> None:
    realm = Realm(password="another", methods=("INFO",))
    trunk = scene.out_trunk([realm])
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    assert phone.ask(call, "INFO").status == 403
    assert phone.ask(call, "BYE").status == 200


@pytest.mark.parametrize("cseq", [0, 2**28 - 2, 2**31 - 10])
def test_cseq_of_any_size_is_challenged(scene: OutScene, cseq: int) -> None:
    trunk = scene.out_trunk([Realm(methods=EVERY)])
    phone = scene.caller([trunk])
    invite = phone.invite(phone.uri(NUMBER), cseq=cseq)
    call = phone.call(NUMBER, invite=invite)
    if cseq != 2**28 - 2:
        assert phone.ask(call, "INFO").status == 200
        assert phone.ask(call, "BYE").status == 200
