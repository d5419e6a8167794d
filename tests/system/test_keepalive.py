"""Keep-alive: OPTIONS to the server that granted, and what its silence brings about."""

import pytest

from testkit.rig import Rig
from testkit.sip import Message
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.registrar import Registrar, by_hand


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


def options(registrar: Registrar) -> Message:
    """Return the next OPTIONS that the registrar is sent."""
    return registrar.endpoint.expect(
        lambda message: not message.is_reply and message.method == "OPTIONS", what="an OPTIONS"
    )


def keepalive(registrar: Registrar) -> dict[str, int]:
    stands = registrar.trunk()["keepalive"]
    assert isinstance(stands, dict)
    return stands


@pytest.mark.parametrize("status", [200, 404, 501])
def test_whatever_the_server_answers_it_lives(shared_rig: Rig, whence: Whence, status: int) -> None:
    registrar = by_hand(shared_rig, whence, keepalive=1)
    granted = registrar.granted()
    asked = options(registrar)
    assert (asked.source, asked.request_uri) == (whence.address, granted.request_uri)
    assert asked.call_id != granted.call_id
    assert not [name for name, _ in asked.headers if name.lower().startswith("x-whence")]
    registrar.answer(asked, status)
    eventually(lambda: keepalive(registrar)["last_status"] == status, what="the answer counts")
    assert keepalive(registrar)["missed"] == 0


def test_three_silences_bring_the_refresh_forward_and_a_server_that_grants_is_left_in_peace(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence, keepalive=1)
    registrar.granted()
    due_at = registrar.trunk()["next_at"]
    registrar.grant(registrar.asked())
    eventually(lambda: registrar.trunk()["state"] == "registered", what="granted anew")
    assert registrar.trunk()["next_at"] != due_at
    eventually(lambda: keepalive(registrar)["missed"] >= 5, what="it stays silent")
    since = [Message.parse(data).method for data in registrar.endpoint.waiting()]
    assert set(since) <= {"OPTIONS"}, "no REGISTER since"
    events = whence.get(f"/v1/trunks/{registrar.trunk_id}")["events"]
    assert [event["what"] for event in events].count("keepalive_failed") == 1
    assert "unanswered since" in whence.cli("trunk", registrar.trunk_id).stdout
