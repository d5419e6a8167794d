"""Users call users, and what such a call may show."""

import pytest

from testkit.calling_phone import Phone
from tests.contract.outbound.scene import OutScene


def pair(scene: OutScene) -> tuple[Phone, Phone]:
    """Return the phones of two users without trunks."""
    return scene.caller([]), scene.caller([])


def test_user_calls_user(scene: OutScene) -> None:
    alice, bob = pair(scene)
    sent = alice.send_call(bob.user)
    arrived = bob.receive("INVITE")
    assert arrived["P-Asserted-Identity"] == f"<{alice.aor}>"
    assert "Proxy-Authorization" not in arrived
    bob.accept(arrived)
    call = alice.answered(sent)
    bob.receive("ACK")
    alice.at.send(alice.request_of(call, "BYE"), scene.edge)
    bob.answer(bob.receive("BYE"))
    assert alice.result("BYE").status == 200


def test_called_user_ends_call(scene: OutScene) -> None:
    alice, bob = pair(scene)
    sent = alice.send_call(bob.user)
    arrived = bob.receive("INVITE")
    bob.accept(arrived)
    alice.answered(sent)
    bob.receive("ACK")
    bob.at.send(bob.request_to_caller(arrived, "BYE"), scene.edge)
    alice.answer(alice.receive("BYE"))
    assert bob.result("BYE").status == 200


def test_user_without_phone_gets_480(scene: OutScene) -> None:
    alice = scene.caller([])
    assert alice.refused(scene.user()).status == 480


@pytest.mark.parametrize(
    "from_uri", ["sip:{other}@edge.example", "sip:+4420@elsewhere.example", "sip:112@edge.example"]
)
def test_user_cannot_show_name_of_another(scene: OutScene, from_uri: str) -> None:
    alice, bob = pair(scene)
    invite = alice.invite(alice.uri(bob.user), from_uri=from_uri.format(other=scene.user()))
    assert alice.refused(bob.user, invite=invite).status == 403
    assert scene.nothing_came(bob.at)


def test_claimed_identity_reaches_no_user(scene: OutScene) -> None:
    alice, bob = pair(scene)
    claims = [
        (name, "<sip:boss@edge.example>")
        for name in ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")
    ]
    alice.send_call(bob.user, invite=alice.invite(alice.uri(bob.user), headers=claims))
    arrived = bob.receive("INVITE")
    assert "boss" not in str(arrived)


def test_user_without_trunks_calls_no_number(scene: OutScene) -> None:
    alice = scene.caller([])
    assert alice.refused("+442079460000").status == 403
