"""Phones call with SHA-256 or MD5; the edge offers both."""

import pytest

from testkit.calling_phone import Phone
from testkit.sip import Message, acknowledgement
from tests.contract.outbound.scene import NUMBER, OutScene

ALGORITHMS = ["SHA-256", "MD5"]


def challenged(phone: Phone, sent: Message) -> Message:
    phone.at.send(sent, phone.edge)
    challenge = phone.at.expect(lambda m: m.status == 407, what="the challenge")
    phone.at.send(acknowledgement(sent, challenge), phone.edge)
    return challenge


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_phone_calls_with_each_algorithm(scene: OutScene, algorithm: str) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    first = phone.invite(phone.uri(NUMBER))
    challenge = challenged(phone, first)
    assert ["SHA-256" in one for one in challenge.all("Proxy-Authenticate")] == [True, False]
    phone.at.send(phone.authorized(first, challenge, only=algorithm), scene.edge)
    arrived = trunk.server.expect("INVITE")
    assert "Authorization" not in str(arrived)
    phone.at.expect(lambda m: m.status == 200, what="the answer")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_call_with_a_wrong_password_is_challenged(scene: OutScene, algorithm: str) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    first = phone.invite(phone.uri(NUMBER))
    wrong = phone.authorized(first, challenged(phone, first), "wrong", only=algorithm)
    again = challenged(phone, wrong)
    assert ["stale" in one for one in again.all("Proxy-Authenticate")] == [False, False]
    assert not trunk.server.requests("INVITE")
