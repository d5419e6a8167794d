"""Test registrars as sequences of answers: changing nonces, refused nonces, redirects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.core.registration.registrar import Node, Registrar
from tests.unit.core.registration.trunk import (
    CHALLENGE,
    DAY,
    FROM_TWO,
    HOUR,
    NOW,
    ONE,
    OURS,
    STALE,
    TWO,
    Trunk,
    after_a_restart,
    expected_authorization,
    registered,
)
from whence.core.registration.answers import CONTACTS_LIMIT
from whence.core.registration.backoff import Failure
from whence.core.registration.events import (
    Answered,
    Follow,
    Learn,
    Redirected,
    RegisterNow,
    Send,
    Unanswered,
    Unregister,
)
from whence.core.registration.model import State
from whence.core.registration.nonces import LIMIT, NonceCounts
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.contact import Contact
from whence.core.sip.digest import Challenge
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

THREE = TransportAddress.parse("udp:192.0.2.3:5060")
FOUR = TransportAddress.parse("udp:192.0.2.4:5060")


def nonce(name: str, *, stale: bool = False) -> Challenge:
    return replace(CHALLENGE, nonce=name, stale=stale)


# Nonces.


def test_challenge_with_another_nonce_is_answered_once_more() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[nonce("n1")])
    trunk.answer(401, challenges=[nonce("n2")])
    assert trunk.sent().authorizations == (expected_authorization(nonce("n2"), 1, 2),)
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED
    assert trunk.registration.auth_rejections == ()


def test_third_challenge_ends_the_attempt_as_auth_failed() -> None:
    trunk = Trunk()
    trunk.due()
    for name in ("n1", "n2"):
        trunk.answer(401, challenges=[nonce(name)])
    assert trunk.answer(401, challenges=[nonce("n3")]) == ()
    assert trunk.registration.state is State.AUTH_FAILED
    assert trunk.registration.reason is RegistrationReason.WRONG_CREDENTIALS
    assert trunk.wait_s() == 600


def test_refresh_at_another_node_of_a_cluster_registers() -> None:
    """Both nodes reject the nonce of the other one, without `stale`."""
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[nonce("a1")])
    trunk.answer(200, contacts=[OURS])
    trunk.due()
    trunk.answer(401, challenges=[nonce("b1")])
    trunk.answer(401, challenges=[nonce("a2")])
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED


def test_challenges_by_proxy_and_registrar_once_each_register() -> None:
    proxy = replace(CHALLENGE, proxy=True, realm="proxy.example")
    trunk = Trunk()
    trunk.due()
    for status, challenge in [
        (407, replace(proxy, nonce="p1")),
        (401, nonce("r1")),
        (407, replace(proxy, nonce="p2")),
        (401, nonce("r2")),
    ]:
        trunk.answer(status, challenges=[challenge])
        assert trunk.sent().authorizations
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED


@pytest.mark.parametrize("fails", [False, True])
def test_nonce_that_comes_again_continues_its_count(fails: bool) -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(503 if fails else 200, contacts=[OURS])
    trunk.registration = after_a_restart(trunk.registration, trunk.now)
    assert trunk.due().authorizations == ()
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.sent().authorizations == (expected_authorization(CHALLENGE, 2, 3),)


def test_nonce_over_tls_continues_its_count_at_each_refresh() -> None:
    over_tls = TransportAddress.parse("tls:192.0.2.1:5061")
    trunk = Trunk()
    for count in (1, 2, 3):
        assert trunk.due(over_tls).authorizations == ()
        trunk.answer(401, challenges=[CHALLENGE])
        expected = expected_authorization(CHALLENGE, count, 2 * count - 1)
        assert trunk.sent().authorizations == (expected,)
        trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED


def test_nonce_counts_keep_the_last_nonces_only() -> None:
    counts = NonceCounts()
    for i in range(3 * LIMIT):
        _, counts = counts.used(nonce(f"n{i}"))
    assert counts.used(nonce(f"n{3 * LIMIT - 1}"))[0] == 2
    assert len(counts.text.split()) == LIMIT


@pytest.mark.parametrize("status", [400, 403, 404])
def test_rejection_of_a_reused_nonce_is_answered_without_it(status: int) -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    assert trunk.due().authorizations != ()
    trunk.answer(status)
    assert trunk.sent().authorizations == ()
    trunk.answer(401, challenges=[STALE])
    trunk.answer(200, contacts=[OURS])
    assert (trunk.registration.state, trunk.registration.failures) == (State.REGISTERED, 0)


def test_rejection_without_a_reused_nonce_ends_the_attempt() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    trunk.due()
    trunk.answer(403)
    assert trunk.answer(403) == ()
    assert trunk.registration.reason is RegistrationReason.REJECTED
    assert trunk.wait_s() == 300


def test_unregister_with_a_rejected_nonce_is_sent_without_it() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    trunk.take(Unregister((ONE,)))
    trunk.answer(403)
    assert (trunk.sent().expires_s, trunk.sent().authorizations) == (0, ())
    trunk.answer(200)
    assert trunk.registration.state is State.UNREGISTERED


def test_next_server_gets_no_nonce_of_the_last_one() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    assert trunk.due(ONE, TWO).authorizations != ()
    trunk.take(Unanswered())
    assert trunk.sent() == Send(4, TWO, 3600)


@pytest.mark.parametrize("other", [[], [503], [403]])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("changes", [False, True])
def test_wrong_credentials_are_rejected_three_times_an_hour(
    changes: bool, restarts: bool, other: list[int]
) -> None:
    """Also if the nonce changes each time, and other failures come between."""
    trunk, rejected_at, attempt = Trunk(), list[float](), 0
    while trunk.now < NOW + DAY:
        trunk.due()
        attempt += 1
        if other and attempt % 2 == 0:
            trunk.answer(other[0])
        while trunk.registration.in_flight is not None:
            if trunk.sent().authorizations:
                rejected_at.append(trunk.now)
            name = f"n{len(rejected_at)}" if changes else "n"
            trunk.answer(401, challenges=[nonce(name)])
        if restarts:
            trunk.registration = after_a_restart(trunk.registration, trunk.now)
    for begin in rejected_at:
        assert sum(begin <= at < begin + HOUR for at in rejected_at) <= 3
    assert len(rejected_at) > 3


def test_register_now_resets_the_limit_of_rejections() -> None:
    trunk = Trunk()
    trunk.due()
    for name in ("n1", "n2", "n3"):
        trunk.answer(401, challenges=[nonce(name)])
    trunk.take(RegisterNow())
    assert trunk.registration.auth_rejections == ()
    trunk.due()
    trunk.answer(401, challenges=[nonce("n4")])
    trunk.answer(401, challenges=[nonce("n5")])
    assert trunk.sent().authorizations != ()


# Redirects.


def contact(host: str, q: float = 1.0) -> Contact:
    return Contact(Uri("sip", "", host), q=q)


def test_redirect_follows_its_contacts_by_q() -> None:
    trunk = Trunk()
    trunk.due()
    low, high, middle = contact("low", 0.1), contact("high"), contact("middle", 0.5)
    uris = (high.uri, middle.uri, low.uri)
    assert trunk.answer(302, contacts=[low, high, middle]) == (Follow(uris),)


@pytest.mark.parametrize("status", [403, 404, 503, None])
def test_redirect_contact_that_fails_leads_to_the_next(status: int | None) -> None:
    trunk = Trunk()
    trunk.due(ONE)
    trunk.answer(302, contacts=[contact("a"), contact("b")])
    trunk.take(Redirected((TWO, THREE)))
    if status is None:
        trunk.take(Unanswered())
    else:
        trunk.answer(status, source=FROM_TWO)
    assert trunk.sent().next_hop == THREE
    learned = trunk.answer(200, contacts=[OURS], source=THREE)
    assert learned == (Learn(THREE, NOW + 3600),)


def test_redirect_contacts_exhausted_leads_to_the_next_target() -> None:
    trunk = Trunk()
    trunk.due(ONE, FOUR)
    trunk.answer(302, contacts=[contact("a")])
    trunk.take(Redirected((TWO,)))
    trunk.take(Unanswered())
    assert trunk.sent().next_hop == FOUR


def test_redirect_by_a_redirect_target_is_followed() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    trunk.answer(302, contacts=[contact("a"), contact("b")])
    trunk.take(Redirected((TWO, THREE)))
    assert trunk.answer(302, contacts=[contact("c")], source=FROM_TWO) == (
        Follow((contact("c").uri,)),
    )
    trunk.take(Redirected((FOUR,)))
    assert trunk.sent().next_hop == FOUR
    trunk.take(Unanswered())
    assert trunk.sent().next_hop == THREE


def test_redirect_to_servers_that_were_tried_ends_the_attempt() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    trunk.answer(302, contacts=[contact("a")])
    assert trunk.take(Redirected((ONE,))) == ()
    assert trunk.registration.failure is Failure.REJECTED
    assert trunk.registration.reason is RegistrationReason.REDIRECT_REFUSED


def test_redirects_without_an_end_are_bounded() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    for i in range(100):
        request = trunk.registration.in_flight
        assert request is not None
        source = request.next_hop
        actions = trunk.answer(302, contacts=[contact(f"c{i}")], source=source)
        if not actions:
            break
        trunk.take(Redirected((TransportAddress.parse(f"udp:10.0.0.{i + 1}:5060"),)))
    assert i == CONTACTS_LIMIT
    assert trunk.registration.state is State.WAITING


def test_redirect_with_many_contacts_is_bounded() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    (follow,) = trunk.answer(302, contacts=[contact(f"c{i}") for i in range(100)])
    assert isinstance(follow, Follow) and len(follow.to) == CONTACTS_LIMIT


def test_redirect_without_targets_has_the_reason_of_the_look_up() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    trunk.answer(302, contacts=[contact("a")])
    why = Why(RegistrationReason.REDIRECT_WITHOUT_ADDRESS, "redirected, but: ws")
    trunk.take(Redirected((), why))
    assert trunk.registration.message == "redirected, but: ws"


# A model registrar, in any order.


class AnyRegistrar(RuleBasedStateMachine):
    """A registrar that checks nonces and counts, with failures, refreshes and restarts."""

    trunk: Trunk
    registrar: Registrar

    @initialize(
        nodes=st.integers(1, 3), once=st.booleans(), stale=st.booleans(), forbids=st.booleans()
    )
    def start(self, nodes: int, once: bool, stale: bool, forbids: bool) -> None:
        self.trunk = Trunk()
        self.registrar = Registrar(
            once=once, sends_stale=stale, forbids=forbids, nodes=[Node(n) for n in "abc"[:nodes]]
        )
        self.sent_at: list[float] = []
        self.rejected_at: list[float] = []

    @property
    def open(self) -> Send | None:
        sends = [action for action in self.trunk.actions if isinstance(action, Send)]
        return sends[0] if sends and self.trunk.registration.in_flight is not None else None

    def sent(self) -> None:
        if self.open is not None:
            self.sent_at.append(self.trunk.now)

    @precondition(lambda self: self.open is None)
    @rule()
    def attempt_is_due(self) -> None:
        self.trunk.due()
        self.sent()

    @precondition(lambda self: self.open is not None)
    @rule(at=st.integers(0, 2))
    def node_answers(self, at: int) -> None:
        assert self.open is not None
        self.answer(self.registrar.nodes[at % len(self.registrar.nodes)])

    def answer(self, node: Node) -> None:
        assert self.open is not None
        before = self.registrar.rejected
        reply = self.registrar.answer(self.open, node)
        if self.registrar.rejected > before:
            self.rejected_at.append(self.trunk.now)
        self.trunk.take(Answered(reply, ONE))
        self.sent()

    @precondition(lambda self: self.open is not None)
    @rule()
    def node_does_not_answer(self) -> None:
        self.trunk.now += 36
        self.trunk.take(Unanswered())

    @rule()
    def nonces_expire(self) -> None:
        for node in self.registrar.nodes:
            node.counts.clear()

    @rule()
    def agent_restarts(self) -> None:
        self.trunk.registration = after_a_restart(self.trunk.registration, self.trunk.now)
        self.trunk.actions = ()

    @rule(password=st.sampled_from(["secret", "another"]))
    def registrar_has_another_password(self, password: str) -> None:
        self.registrar.password = password

    @rule()
    def one_node_that_accepts_is_enough(self) -> None:
        """Assert that the trunk registers as soon as one node gets all its requests."""
        self.registrar.password = "secret"
        if self.open is not None:
            self.node_does_not_answer()
        self.attempt_is_due()
        while self.open is not None:
            self.answer(self.registrar.nodes[0])
        assert self.trunk.registration.state is State.REGISTERED

    @precondition(lambda self: len(self.registrar.nodes) > 1 and not self.registrar.forbids)
    @rule()
    def one_change_of_the_node_is_no_failure(self) -> None:
        """Assert that an attempt registers if one more challenge is of another node."""
        self.registrar.password = "secret"
        if self.open is not None:
            self.node_does_not_answer()
        self.trunk.take(RegisterNow())
        self.rejected_at.clear()
        self.sent_at.clear()
        self.attempt_is_due()
        first, second = self.registrar.nodes[:2]
        self.answer(first)
        while self.open is not None:
            self.answer(second)
        assert self.trunk.registration.state is State.REGISTERED

    @invariant()
    def nonce_count_never_repeats(self) -> None:
        assert self.registrar.repeated == []

    @invariant()
    def registrar_is_not_hammered(self) -> None:
        last = self.trunk.now
        assert sum(last - 10 < at for at in self.sent_at) <= 16
        assert sum(last - HOUR < at for at in self.rejected_at) <= 4


@pytest.mark.slow
def test_registrar_of_any_kind_lets_the_trunk_in() -> None:
    run_state_machine_as_test(
        AnyRegistrar, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )


def test_refresh_without_challenge_has_no_credentials() -> None:
    assert registered().due().authorizations == ()
