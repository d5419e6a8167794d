"""The meaning of each reply to a REGISTER. The settings make the waits short."""

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
    are_valid,
    challenge,
    credentials,
    new_registrar,
    requested_s,
)
from tests.system.scene import place

WRONG_S, REFUSED_S, UNREACHABLE_S = 6.0, 0.3, 0.3
ANSWER_S = 8.0  # a busy machine reads a REGISTER within this time
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
    """Return the time from the answer to the next REGISTER, and that REGISTER."""
    register = registrar.next_register()
    return time.time() - answered_at, register


def refused(registrar: Registrar, status: int, *headers: tuple[str, str]) -> float:
    """Answer the next REGISTER with this status, and return the instant just before."""
    register = registrar.next_register()
    before = time.time()
    registrar.answer(register, status, *headers)
    return before


def waits(registrar: Registrar, state: str, wait_s: float, answered_at: float) -> bool:
    """Wait for this state; return whether the next attempt is `wait_s` after the answer."""
    details = registrar.whence.wait_state(registrar.trunk_id, state)
    return bool(answered_at + wait_s <= details["next_at"] <= time.time() + wait_s)


def wait_failed(registrar: Registrar, reason: str) -> None:
    """Wait until the attempt has failed for this reason, and the agent continues to try.

    The wait may be over when the test looks. The reason stays until the next answer.
    """

    def has_failed() -> bool:
        details = registrar.trunk()
        return details["reason"] == reason and details["state"] in ("waiting", "registering")

    eventually(has_failed, what=f"the failure: {reason}")


@pytest.mark.parametrize("status", [400, 403, 404, 480, 493])
def test_refusal_doubles_the_wait(shared_rig: Rig, whence: Whence, status: int) -> None:
    registrar = new_registrar(shared_rig, whence)
    first, register = waited_s(registrar, refused(registrar, status))
    details = registrar.trunk()
    assert details["failures"] == 1
    answered_at = time.time()
    registrar.answer(register, status)
    second, register = waited_s(registrar, answered_at)
    assert first >= REFUSED_S
    assert second >= 2 * REFUSED_S
    registrar.grant(register)
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["failures"] == 0


@pytest.mark.parametrize("status", [408, 500, 503, 600, 603])
def test_failing_server_is_retried_with_jitter(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = new_registrar(shared_rig, whence)
    first, register = waited_s(registrar, refused(registrar, status))
    assert registrar.trunk()["last_status"] == status
    answered_at = time.time()
    registrar.answer(register, status)
    second, _ = waited_s(registrar, answered_at)
    assert first >= 0.5 * UNREACHABLE_S
    assert second >= UNREACHABLE_S


def test_silent_registrar_is_retried_as_no_answer(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    registrar.next_register()
    details = whence.wait_state(registrar.trunk_id, "waiting")
    assert (details["reason"], details["last_status"]) == ("no_answer", None)
    registrar.granted()


def test_refresh_stays_with_the_server_that_granted(shared_rig: Rig, whence: Whence) -> None:
    """The redirect's target is used until it is silent; then the agent resolves the name again."""
    registrar = new_registrar(shared_rig, whence)
    other = shared_rig.endpoint(f"other-of-{registrar.trunk_id}", SIP_PORT)
    away = Registrar(other, whence, registrar.trunk_id)
    registrar.answer(registrar.next_register(), 302, ("Contact", f"<sip:{place(other.address)}>"))
    away.granted()
    assert away.addresses() == [other.address[0]]
    registrar.cseq = away.cseq
    away.change(expires=1800)
    away.granted()
    away.change(expires=900)
    away.next_register()  # without an answer
    registrar.granted()


@pytest.mark.parametrize("status", [300, 301, 302, 305])
def test_redirect_is_followed_and_its_challenge_answered(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = new_registrar(shared_rig, whence)
    other = shared_rig.endpoint(f"other-of-{registrar.trunk_id}", SIP_PORT)
    away = Registrar(other, whence, registrar.trunk_id)
    first = registrar.next_register()
    registrar.answer(first, status, ("Contact", f"<sip:{place(other.address)}>;expires=60"))
    register = away.next_register()
    assert (register.request_uri, register.call_id) == (first.request_uri, first.call_id)
    away.answer(register, 401, challenge(DOMAIN, "n1", AUTH))
    register = away.granted()
    assert all(map(are_valid, credentials(register)))
    assert away.addresses() == [other.address[0]]


def test_redirect_twice_is_a_failure(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    here = ("Contact", f"<sip:{place(registrar.endpoint.address)}>")
    for _ in range(2):
        registrar.answer(registrar.next_register(), 302, here)
    wait_failed(registrar, "redirect_refused")
    registrar.granted()


@pytest.mark.parametrize(
    "contact", ["<sip:>", "<tel:+1>", "*", '"><', "<http://192.0.2.1/>", "<sip:@:0>"]
)
def test_redirect_to_an_invalid_contact_is_a_failure(
    shared_rig: Rig, whence: Whence, contact: str
) -> None:
    registrar = new_registrar(shared_rig, whence)
    registrar.answer(registrar.next_register(), 302, ("Contact", contact))
    whence.wait_state(registrar.trunk_id, "waiting")
    registrar.granted()


def test_interval_too_brief_is_raised_at_once(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, expires=60)
    register = registrar.next_register()
    assert requested_s(register) == 60
    registrar.answer(register, 423, ("Min-Expires", "600"))
    register = registrar.next_register()
    assert requested_s(register) == 600
    registrar.grant(register)
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["granted_s"] == 600


@pytest.mark.parametrize("least", ["60", "0", "-1", "99999999999999", "soon", ""])
def test_interval_too_brief_without_a_minimum_is_a_failure(
    shared_rig: Rig, whence: Whence, least: str
) -> None:
    registrar = new_registrar(shared_rig, whence, expires=60)
    registrar.answer(registrar.next_register(), 423, ("Min-Expires", least))
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
def test_retry_after_replaces_the_backoff(
    shared_rig: Rig, whence: Whence, status: int, value: str
) -> None:
    registrar = new_registrar(shared_rig, whence)
    answered_at = refused(registrar, status, ("Retry-After", value))
    assert waits(registrar, "waiting", 30, answered_at)


def test_retry_after_0_waits_a_second_at_least(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    waited, _ = waited_s(registrar, refused(registrar, 503, ("Retry-After", "0")))
    assert waited >= 1


def test_retry_after_is_limited_to_a_day(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    answered_at = refused(registrar, 503, ("Retry-After", "4294967295"))
    assert waits(registrar, "waiting", 86_400, answered_at)


def test_retry_after_does_not_shorten_auth_failed(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    refused(registrar, 401, challenge(DOMAIN, "n1", AUTH))
    answered_at = refused(registrar, 401, challenge(DOMAIN, "n1", AUTH), ("Retry-After", "0"))
    assert waits(registrar, "auth_failed", WRONG_S, answered_at)
    registrar.granted()


@pytest.mark.parametrize("status", [401, 403, 408, 423, 503, 603])
def test_refresh_that_fails_keeps_the_address(shared_rig: Rig, whence: Whence, status: int) -> None:
    registrar = new_registrar(shared_rig, whence)
    registrar.granted()
    before = registrar.trunk()["expires_at"]
    registrar.change(expires=1800)
    refused(registrar, status)
    state = "auth_failed" if status == 401 else "waiting"
    assert whence.wait_state(registrar.trunk_id, state)["expires_at"] == before
    assert registrar.addresses() == [registrar.endpoint.address[0]]


def test_provisional_reply_is_ignored(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    registrar.endpoint.send(reply(register, 100, "Trying"), whence.address)
    registrar.grant(register)
    whence.wait_registered(registrar.trunk_id)
