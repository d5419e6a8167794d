"""What each answer of a registrar means, played by hand; the waits are made short by settings."""

import time

import pytest

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Message, reply
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.registrar import (
    DOMAIN,
    Registrar,
    by_hand,
    challenge,
    credentials,
    expires_asked,
    proves,
)
from tests.system.scene import place

WRONG_S, REFUSED_S, UNREACHABLE_S = 6.0, 0.3, 0.3
ANSWER_S = 8.0  # more than a story may take to read a REGISTER on a busy machine
AUTH = 'qop="auth"'


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(
        users=["alice"],
        agent={"on_stop": "leave"},
        registration={
            "response_timeout": ANSWER_S,
            "backoff": {
                "auth_failed": [WRONG_S, 24],
                "rejected": [REFUSED_S, 2],
                "unreachable": [UNREACHABLE_S, 2],
            },
        },
    )


def waited_s(registrar: Registrar, answered_at: float) -> tuple[float, Message]:
    """Return how long it waited since, and the REGISTER that then came."""
    asked = registrar.asked()
    return time.time() - answered_at, asked


def refused(registrar: Registrar, status: int, *headers: tuple[str, str]) -> float:
    """Answer the next REGISTER with this, and return the moment before."""
    asked = registrar.asked()
    before = time.time()
    registrar.answer(asked, status, *headers)
    return before


def waits(registrar: Registrar, state: str, wait_s: float, answered_at: float) -> bool:
    """Whether, once it is in this state, it waits so long from when it read the answer."""
    stands = registrar.whence.wait_state(registrar.trunk_id, state)
    return bool(answered_at + wait_s <= stands["next_at"] <= time.time() + wait_s)


def wait_failed(registrar: Registrar, reason: str) -> None:
    """Wait until it has failed for this reason, and goes on trying.

    Its wait may be over when the story looks; the reason stands until the next answer.
    """

    def is_told() -> bool:
        stands = registrar.trunk()
        return stands["reason"] == reason and stands["state"] in ("waiting", "registering")

    eventually(is_told, what=f"the failure: {reason}")


@pytest.mark.parametrize("status", [400, 403, 404, 480, 493])
def test_a_refusal_is_tried_again_after_a_while_that_doubles(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = by_hand(shared_rig, whence)
    first, asked = waited_s(registrar, refused(registrar, status))
    stands = registrar.trunk()
    assert stands["failures"] == 1
    answered_at = time.time()
    registrar.answer(asked, status)
    second, asked = waited_s(registrar, answered_at)
    assert first >= REFUSED_S
    assert second >= 2 * REFUSED_S
    registrar.grant(asked)
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["failures"] == 0


@pytest.mark.parametrize("status", [408, 500, 503, 600, 603])
def test_a_server_in_trouble_is_tried_again_soon_with_jitter(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = by_hand(shared_rig, whence)
    first, asked = waited_s(registrar, refused(registrar, status))
    assert registrar.trunk()["last_status"] == status
    answered_at = time.time()
    registrar.answer(asked, status)
    second, _ = waited_s(registrar, answered_at)
    assert first >= 0.5 * UNREACHABLE_S
    assert second >= UNREACHABLE_S


def test_who_does_not_answer_is_tried_again_and_that_is_said(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    registrar.asked()
    stands = whence.wait_state(registrar.trunk_id, "waiting")
    assert (stands["reason"], stands["last_status"]) == ("no_answer", None)
    registrar.granted()


def test_a_refresh_stays_with_the_server_that_granted_until_it_is_dead(
    shared_rig: Rig, whence: Whence
) -> None:
    """Redirected once, it is at home there; when that one is dead, the name is asked again."""
    registrar = by_hand(shared_rig, whence)
    other = shared_rig.endpoint(f"other-of-{registrar.trunk_id}", SIP_PORT)
    away = Registrar(other, whence, registrar.trunk_id)
    registrar.answer(registrar.asked(), 302, ("Contact", f"<sip:{place(other.address)}>"))
    away.granted()
    assert away.addresses() == [other.address[0]]
    registrar.cseq = away.cseq
    away.change(expires=1800)
    away.granted()
    away.change(expires=900)
    away.asked()  # and no answer
    registrar.granted()


@pytest.mark.parametrize("status", [300, 301, 302, 305])
def test_a_redirection_is_followed_and_its_challenge_answered(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = by_hand(shared_rig, whence)
    other = shared_rig.endpoint(f"other-of-{registrar.trunk_id}", SIP_PORT)
    away = Registrar(other, whence, registrar.trunk_id)
    first = registrar.asked()
    registrar.answer(first, status, ("Contact", f"<sip:{place(other.address)}>;expires=60"))
    asked = away.asked()
    assert (asked.request_uri, asked.call_id) == (first.request_uri, first.call_id)
    away.answer(asked, 401, challenge(DOMAIN, "n1", AUTH))
    asked = away.granted()
    assert all(map(proves, credentials(asked)))
    assert away.addresses() == [other.address[0]]


def test_a_second_redirection_is_a_refusal(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    here = ("Contact", f"<sip:{place(registrar.endpoint.address)}>")
    for _ in range(2):
        registrar.answer(registrar.asked(), 302, here)
    wait_failed(registrar, "redirect_refused")
    registrar.granted()


@pytest.mark.parametrize(
    "contact", ["<sip:>", "<tel:+1>", "*", '"><', "<http://192.0.2.1/>", "<sip:@:0>"]
)
def test_a_redirection_to_no_server_is_a_failure_and_no_harm(
    shared_rig: Rig, whence: Whence, contact: str
) -> None:
    registrar = by_hand(shared_rig, whence)
    registrar.answer(registrar.asked(), 302, ("Contact", contact))
    whence.wait_state(registrar.trunk_id, "waiting")
    registrar.granted()


def test_too_brief_is_obeyed_at_once(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence, expires=60)
    asked = registrar.asked()
    assert expires_asked(asked) == 60
    registrar.answer(asked, 423, ("Min-Expires", "600"))
    asked = registrar.asked()
    assert expires_asked(asked) == 600
    registrar.grant(asked)
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["granted_s"] == 600


@pytest.mark.parametrize("least", ["60", "0", "-1", "99999999999999", "soon", ""])
def test_too_brief_without_sense_is_a_refusal(shared_rig: Rig, whence: Whence, least: str) -> None:
    registrar = by_hand(shared_rig, whence, expires=60)
    registrar.answer(registrar.asked(), 423, ("Min-Expires", least))
    wait_failed(registrar, "interval_too_brief")


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (403, "30"),
        (480, "30 (I'm in a meeting)"),
        (500, "30;duration=3600"),
        (503, "30"),
        (603, "30"),
    ],
)
def test_retry_after_wins_over_the_table(
    shared_rig: Rig, whence: Whence, status: int, value: str
) -> None:
    registrar = by_hand(shared_rig, whence)
    answered_at = refused(registrar, status, ("Retry-After", value))
    assert waits(registrar, "waiting", 30, answered_at)


def test_retry_after_does_not_make_it_hammer(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    waited, _ = waited_s(registrar, refused(registrar, 503, ("Retry-After", "0")))
    assert waited >= 1


def test_retry_after_does_not_make_it_fall_silent(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    answered_at = refused(registrar, 503, ("Retry-After", "4294967295"))
    assert waits(registrar, "waiting", 86_400, answered_at)


def test_no_retry_after_makes_wrong_credentials_be_tried_sooner(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    refused(registrar, 401, challenge(DOMAIN, "n1", AUTH))
    answered_at = refused(registrar, 401, challenge(DOMAIN, "n1", AUTH), ("Retry-After", "0"))
    assert waits(registrar, "auth_failed", WRONG_S, answered_at)
    registrar.granted()


@pytest.mark.parametrize("status", [401, 403, 408, 423, 503, 603])
def test_a_refresh_that_fails_takes_nothing_away(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = by_hand(shared_rig, whence)
    registrar.granted()
    before = registrar.trunk()["expires_at"]
    registrar.change(expires=1800)
    refused(registrar, status)
    state = "auth_failed" if status == 401 else "waiting"
    assert whence.wait_state(registrar.trunk_id, state)["expires_at"] == before
    assert registrar.addresses() == [registrar.endpoint.address[0]]


def test_a_provisional_answer_is_none(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    registrar.endpoint.send(reply(asked, 100, "Trying"), whence.address)
    registrar.grant(asked)
    whence.wait_registered(registrar.trunk_id)
