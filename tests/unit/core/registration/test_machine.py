"""Test the state machine: each rule alone, then all events in any order."""

from __future__ import annotations

import hashlib
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

from tests.examples import examples
from tests.unit.core.registration.trunk import (
    ACCOUNT,
    CHALLENGE,
    DAY,
    FROM_ONE,
    FROM_TWO,
    HOUR,
    IMPOSTOR,
    MINUTE,
    NOW,
    ONE,
    OURS,
    REPLIES,
    STALE,
    STATUSES,
    TARGETS,
    TWO,
    Trunk,
    after_a_restart,
    expected_authorization,
    registered,
)
from whence.core.identification.address import Address, Origin
from whence.core.registration.backoff import WAITS, Failure
from whence.core.registration.events import (
    Action,
    Answered,
    ClockStepped,
    Due,
    Follow,
    ForgetAddresses,
    IgnoreReply,
    KeepAliveFailed,
    Learn,
    MachineEvent,
    Pause,
    Redirected,
    RegisterNow,
    Send,
    Unanswered,
    Unregister,
)
from whence.core.registration.grant import granted
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources, Ground
from whence.core.registration.model import Registration, Reply, State
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.contact import Contact
from whence.core.sip.digest import AuthenticationInfo, Challenge
from whence.core.sip.transport_address import (
    Transport,
    TransportAddress,
    canonical_network,
)
from whence.core.sip.uri import Uri

# The first REGISTER.


def test_first_register_has_first_target_and_no_credentials() -> None:
    assert Trunk().due(ONE, TWO) == Send(1, ONE, 3600)


def test_request_uri_is_the_domain_without_the_user() -> None:
    assert ACCOUNT.request_uri == "sip:provider.example"


def test_due_during_a_request_sends_nothing() -> None:
    trunk = Trunk()
    trunk.due()
    before = trunk.registration
    assert trunk.take(Due((ONE,))) == ()
    assert trunk.registration == before


# The granted time.


def test_granted_time_is_that_of_our_own_contact() -> None:
    trunk = Trunk()
    trunk.due()
    other = Contact(Uri("sip", "someone", "203.0.113.1"), 7200)
    actions = trunk.answer(200, contacts=[other, replace(OURS, expires_s=120)], expires_s=9000)
    assert trunk.registration.granted_s == 120
    assert trunk.registration.expires_at == NOW + 120
    assert actions == (Learn(FROM_ONE, NOW + 120),)


def test_own_contact_rewritten_by_nat_is_found_by_its_token() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, contacts=[Contact(Uri("sip", "token1", "203.0.113.77", 1024), 300)])
    assert trunk.registration.granted_s == 300


def test_own_contact_at_our_address_wins_over_our_token() -> None:
    trunk = Trunk()
    trunk.due()
    before_move = Contact(Uri("sip", "token1", "198.51.100.99", 5060), 60)
    trunk.answer(200, contacts=[before_move, replace(OURS, expires_s=600)])
    assert trunk.registration.granted_s == 600


def test_granted_time_without_contact_time_is_expires_header() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, contacts=[OURS], expires_s=1800)
    assert trunk.registration.granted_s == 1800


def test_granted_time_without_contact_is_expires_header() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, expires_s=1800)
    assert trunk.registration.granted_s == 1800


def test_granted_time_without_any_time_is_the_requested() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.granted_s == 3600


def test_grant_that_lists_only_other_contacts_fails() -> None:
    trunk = Trunk()
    trunk.due()
    actions = trunk.answer(200, contacts=[Contact(Uri("sip", "someone", "203.0.113.1"), 3600)])
    assert actions == ()
    assert trunk.registration.state is State.WAITING
    assert trunk.registration.reason is RegistrationReason.CONTACT_NOT_LISTED
    assert not trunk.registration.granted(NOW)


@pytest.mark.parametrize("granted_s", [0, -1])
def test_grant_of_no_time_fails(granted_s: int) -> None:
    trunk = Trunk()
    trunk.due()
    assert trunk.answer(200, contacts=[replace(OURS, expires_s=granted_s)]) == ()
    assert trunk.registration.reason is RegistrationReason.NO_TIME_GRANTED


# The refresh.


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.7), (0.5, 0.75), (0.999, 0.7999)])
@pytest.mark.parametrize("granted_s", [30, 3600, DAY])
def test_refresh_is_due_at_70_to_80_percent_of_the_grant(
    granted_s: int, chance: float, share: float
) -> None:
    trunk = Trunk(chance=chance)
    trunk.due()
    trunk.answer(200, contacts=[replace(OURS, expires_s=granted_s)])
    assert trunk.wait_s() == pytest.approx(share * granted_s)


def test_refresh_keeps_the_call_id_and_increments_cseq() -> None:
    trunk = registered()
    assert trunk.due().cseq == 2
    assert trunk.registration.call_id == "call-1"


def test_since_is_the_first_grant_until_one_expires() -> None:
    trunk = registered()
    first_at = trunk.registration.since
    trunk.due()
    trunk.answer(503)
    assert trunk.registration.since == trunk.now > first_at
    trunk.due()
    trunk.answer(200, contacts=[replace(OURS, expires_s=3600)])
    assert trunk.registration.state is State.REGISTERED
    assert trunk.registration.since == first_at

    trunk.now += 3601
    trunk.due()
    trunk.answer(200, contacts=[replace(OURS, expires_s=3600)])
    assert trunk.registration.since == trunk.now


def test_grant_by_the_next_server_learns_its_address() -> None:
    trunk = registered()
    trunk.due(ONE, TWO)
    trunk.take(Unanswered())
    expires_at = trunk.now + 3600
    assert trunk.answer(200, contacts=[OURS], source=FROM_TWO) == (Learn(FROM_TWO, expires_at),)
    assert trunk.registration.registrar == FROM_TWO


# The sources that are learned.

IGNORED = IgnoreReply(IMPOSTOR, "udp:192.0.2.1:5060")


def pin(
    network: str, port: int | None = None, transport: str = "udp", until: float | None = None
) -> Address:
    place = canonical_network(network)
    pinned = Origin.PINNED
    return Address(place, port, Transport(transport), pinned, "", 0.0, until, port is not None)


def test_grant_by_unexpected_source_learns_nothing() -> None:
    trunk = Trunk()
    trunk.due()
    assert trunk.answer(200, contacts=[OURS], source=IMPOSTOR) == (IGNORED,)
    r = trunk.registration
    assert (r.state, r.granted_s, r.expires_at) == (State.REGISTERED, 3600, NOW + 3600)
    assert r.next_at is not None and NOW < r.next_at < NOW + 3600
    assert (r.registrar, r.home, r.learned_until, r.unexpected) == (None, None, None, IMPOSTOR)
    assert not r.admits(NOW)
    assert r.reason is RegistrationReason.GRANTED_BY_UNEXPECTED_ADDRESS
    assert str(IMPOSTOR) in r.message


def test_grant_by_unexpected_source_keeps_the_learned_end() -> None:
    trunk = registered(600)
    before = trunk.registration
    trunk.due()
    assert trunk.answer(200, contacts=[OURS], source=IMPOSTOR) == (IGNORED,)
    r = trunk.registration
    assert (r.registrar, r.home) == (before.registrar, before.home) == (FROM_ONE, ONE)
    assert r.learned_until == before.expires_at == NOW + 600
    assert r.expires_at == trunk.now + 3600
    assert r.admits(NOW + 599) and not r.admits(NOW + 600)


def test_grant_by_unexpected_source_delays_no_refresh() -> None:
    """A forged grant of a week must not prevent the refresh at the real server."""
    trunk = registered(600)
    trunk.due()
    week = replace(OURS, expires_s=7 * DAY)
    trunk.answer(200, contacts=[week], source=IMPOSTOR)
    assert trunk.registration.granted_s == 3600
    assert trunk.registration.next_at is not None
    assert trunk.now < trunk.registration.next_at < NOW + 600
    trunk.now = NOW + 599.9
    trunk.answer(200, contacts=[week], source=IMPOSTOR)
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, contacts=[week], source=IMPOSTOR)
    assert trunk.registration.next_at is not None
    assert trunk.registration.next_at < NOW + 3600


def test_grant_after_one_by_unexpected_source_is_learned() -> None:
    trunk = registered(600)
    trunk.due()
    trunk.answer(200, contacts=[OURS], source=IMPOSTOR)
    trunk.due()
    assert trunk.answer(200, contacts=[OURS]) == (Learn(FROM_ONE, trunk.now + 3600),)
    assert trunk.registration.unexpected is None
    assert trunk.registration.learned_until == trunk.now + 3600


@pytest.mark.parametrize(
    ("expected", "ground"),
    [
        (ExpectedSources(named=frozenset({IMPOSTOR.ip})), Ground.DNS),
        (ExpectedSources(any_source=True), Ground.ANY),
        (ExpectedSources(networks=(pin("192.0.2.64/29"),)), Ground.NETWORKS),
        (ExpectedSources(networks=(pin("::ffff:192.0.2.66"),)), Ground.NETWORKS),
    ],
)
def test_grant_by_source_in_dns_or_settings_is_learned(
    expected: ExpectedSources, ground: Ground
) -> None:
    trunk = Trunk()
    trunk.due()
    learned = Learn(IMPOSTOR, NOW + 3600, ground)
    assert trunk.answer(200, contacts=[OURS], source=IMPOSTOR, expected=expected) == (learned,)
    assert (trunk.registration.registrar, trunk.registration.home) == (IMPOSTOR, ONE)


@pytest.mark.parametrize(
    "network",
    [
        pin("192.0.2.66", port=5070),
        pin("192.0.2.66", transport="tcp"),
        pin("192.0.2.66", until=NOW),
        pin("192.0.2.67"),
    ],
)
def test_network_permits_only_its_port_transport_and_time(network: Address) -> None:
    trunk = Trunk()
    trunk.due()
    expected = ExpectedSources(networks=(network,))
    assert trunk.answer(200, source=IMPOSTOR, expected=expected) == (IGNORED,)


def test_network_end_and_port_bound_the_learned_address() -> None:
    trunk = Trunk()
    trunk.due()
    expected = ExpectedSources(networks=(pin("192.0.2.66", port=5060, until=NOW + 60),))
    (learn,) = trunk.answer(200, source=IMPOSTOR, expected=expected)
    assert learn == Learn(IMPOSTOR, NOW + 60, Ground.NETWORKS, NOW + 60, exact=True)
    assert isinstance(learn, Learn) and learn.with_grace(32).expires_at == NOW + 60
    assert trunk.registration.learned_until == NOW + 60


def test_asked_ip_is_compared_as_a_value() -> None:
    trunk = Trunk()
    trunk.due(TransportAddress.parse("udp:[::ffff:192.0.2.1]:5080"))
    assert trunk.answer(200) == (Learn(FROM_ONE, NOW + 3600),)


def test_grant_by_former_server_of_a_failover_is_ignored() -> None:
    """The CSeq of its late answer is of another request. Its ip alone does not count."""
    trunk = Trunk()
    trunk.due(ONE, TWO)
    trunk.take(Unanswered())
    assert trunk.answer(200, source=FROM_ONE) == (IgnoreReply(FROM_ONE, str(TWO)),)
    assert trunk.registration.home is None


def test_grant_by_redirect_target_is_learned() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(302, contacts=[Contact(Uri("sip", "", "reg2.provider.example"))])
    three = TransportAddress.parse("udp:192.0.2.3:5060")
    trunk.take(Redirected((TWO, three)))
    from_three = TransportAddress.parse("udp:192.0.2.3:5060")
    assert trunk.answer(200, source=from_three) == (Learn(from_three, NOW + 3600),)


def test_redirect_by_unexpected_source_is_not_followed() -> None:
    """Its target would receive the next REGISTER, and its answer would be learned."""
    trunk = Trunk()
    trunk.due()
    here = Contact(Uri("sip", "", "192.0.2.66"))
    assert trunk.answer(302, contacts=[here], source=IMPOSTOR) == (IGNORED,)
    assert trunk.registration.state is State.WAITING
    assert trunk.registration.unexpected == IMPOSTOR


def test_redirect_by_unexpected_source_tries_next_target() -> None:
    trunk = Trunk()
    trunk.due(ONE, TWO)
    here = Contact(Uri("sip", "", "192.0.2.66"))
    assert trunk.answer(302, contacts=[here], source=IMPOSTOR) == (IGNORED, Send(2, TWO, 3600))


def challenged(challenge: Challenge = CHALLENGE) -> Trunk:
    """Return a trunk whose REGISTER with credentials is in flight."""
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[challenge])
    return trunk


def proof(
    challenge: Challenge = CHALLENGE,
    *,
    password: str = "secret",
    cnonce: str = "cnonce-1",
    count: int = 1,
) -> AuthenticationInfo:
    """Return the `rspauth` of a server with the password (RFC 7616 3.5), computed here."""
    name = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
    algorithm = challenge.algorithm.removesuffix("-sess")

    def digest(*parts: str) -> str:
        return hashlib.new(name[algorithm], ":".join(parts).encode()).hexdigest()

    a1 = digest("auth1", challenge.realm, password)
    if challenge.algorithm.endswith("-sess"):
        a1 = digest(a1, challenge.nonce, cnonce)
    nc = f"{count:08x}"
    rspauth = digest(a1, challenge.nonce, nc, cnonce, "auth", digest("", "sip:provider.example"))
    return AuthenticationInfo(rspauth, cnonce, nc, "auth", challenge.proxy)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256", "MD5-sess", "SHA-256-sess"])
def test_rspauth_valid_permits_any_source(algorithm: str) -> None:
    challenge = replace(CHALLENGE, algorithm=algorithm)
    trunk = challenged(challenge)
    learned = Learn(IMPOSTOR, NOW + 3600, Ground.RSPAUTH)
    assert trunk.answer(200, source=IMPOSTOR, infos=[proof(challenge)]) == (learned,)


def test_rspauth_in_a_refresh_needs_the_next_nonce_count() -> None:
    trunk = challenged()
    trunk.answer(200)
    trunk.due()
    old, new = proof(cnonce="cnonce-2"), proof(cnonce="cnonce-2", count=2)
    assert trunk.answer(200, source=IMPOSTOR, infos=[old]) == (IGNORED,)
    trunk = challenged()
    trunk.answer(200)
    trunk.due()
    learned = Learn(IMPOSTOR, trunk.now + 3600, Ground.RSPAUTH)
    assert trunk.answer(200, source=IMPOSTOR, infos=[new]) == (learned,)


@pytest.mark.parametrize(
    "info",
    [
        proof(password="wrong"),
        proof(cnonce="cnonce-0"),
        proof(count=2),
        replace(proof(), cnonce=""),
        replace(proof(), nonce_count=""),
        replace(proof(), qop=""),
        replace(proof(), qop="auth-int"),
        replace(proof(), proxy=True),
        replace(proof(), rspauth=""),
        replace(proof(), rspauth="\udcff\u00e9"),
        proof(replace(CHALLENGE, nonce="another")),
        proof(replace(CHALLENGE, algorithm="SHA-256")),
    ],
)
def test_rspauth_invalid_learns_nothing(info: AuthenticationInfo) -> None:
    assert challenged().answer(200, source=IMPOSTOR, infos=[info]) == (IGNORED,)


def test_rspauth_without_qop_learns_nothing() -> None:
    plain = replace(CHALLENGE, qop=())
    ha1 = hashlib.md5(b"auth1:provider.example:secret").hexdigest()
    ha2 = hashlib.md5(b":sip:provider.example").hexdigest()
    rspauth = hashlib.md5(f"{ha1}:nonce-1:{ha2}".encode()).hexdigest()
    info = AuthenticationInfo(rspauth, "cnonce-1", "00000001", "auth")
    assert challenged(plain).answer(200, source=IMPOSTOR, infos=[info]) == (IGNORED,)


def test_rspauth_to_no_credentials_learns_nothing() -> None:
    trunk = Trunk()
    trunk.due()
    empty = [proof(cnonce=""), proof(cnonce="cnonce-0")]
    assert trunk.answer(200, source=IMPOSTOR, infos=empty) == (IGNORED,)


def test_unregister_with_only_a_learned_address_ends_it() -> None:
    """The last grant is from an unexpected source; an older learned one is still valid."""
    trunk = registered(600)
    trunk.due()
    trunk.answer(200, contacts=[replace(OURS, expires_s=1)], source=IMPOSTOR)
    trunk.now += 2
    actions = trunk.take(Unregister((ONE,)))
    assert actions[0] == ForgetAddresses() and isinstance(actions[1], Send)
    assert trunk.registration.learned_until is None


# Challenges.


@pytest.mark.parametrize("status", [401, 407])
def test_challenge_is_answered_at_the_same_server(status: int) -> None:
    trunk = Trunk()
    trunk.due(ONE, TWO)
    challenge = replace(CHALLENGE, proxy=status == 407)
    trunk.answer(status, challenges=[challenge])
    assert trunk.sent() == Send(2, ONE, 3600, (expected_authorization(challenge, 1, 1),))


def test_second_challenge_waits_ten_minutes() -> None:
    trunk = Trunk()
    trunk.due(ONE, TWO)
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.answer(401, challenges=[CHALLENGE]) == ()
    assert trunk.registration.state is State.AUTH_FAILED
    assert trunk.registration.reason is RegistrationReason.WRONG_CREDENTIALS
    assert trunk.wait_s() == 10 * MINUTE


def test_attempt_lost_after_a_failure_counts_as_a_failure() -> None:
    """An agent that dies in each attempt must still wait longer each time."""
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(401, challenges=[CHALLENGE])
    for failures in (2, 3, 4):
        trunk.due()
        trunk.registration = after_a_restart(trunk.registration, trunk.now)
        assert trunk.registration.state is State.AUTH_FAILED
        assert trunk.registration.failures == failures
        assert trunk.wait_s() == 600 * 2 ** (failures - 1)


def test_stale_challenge_is_answered_and_is_no_failure() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(401, challenges=[STALE])
    assert trunk.sent().authorizations == (expected_authorization(STALE, 1, 2),)
    trunk.answer(200, contacts=[OURS])
    assert (trunk.registration.state, trunk.registration.failures) == (State.REGISTERED, 0)


def test_stale_challenge_repeated_ends_the_attempt() -> None:
    trunk = Trunk()
    trunk.due()
    for n in range(4):
        trunk.answer(401, challenges=[replace(STALE, nonce=f"nonce-{n}")])
        assert trunk.sent().authorizations != ()
    assert trunk.answer(401, challenges=[STALE]) == ()
    assert trunk.registration.reason is RegistrationReason.CHALLENGED_TOO_OFTEN
    assert trunk.wait_s() >= 5 * MINUTE


def test_nonce_accepted_is_used_again_with_next_count() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    assert trunk.due().authorizations == (expected_authorization(CHALLENGE, 2, 2),)
    trunk.answer(200, contacts=[OURS])
    assert trunk.due().authorizations == (expected_authorization(CHALLENGE, 3, 3),)


def test_attempt_over_tls_begins_without_credentials() -> None:
    """The connection may be new, and its certificate is checked only with the answer."""
    over_tls = [TransportAddress.parse(f"tls:192.0.2.{n}:5061") for n in (1, 2)]
    trunk = Trunk()
    assert trunk.due(*over_tls).authorizations == ()
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.sent().authorizations == (expected_authorization(CHALLENGE, 1, 1),)
    trunk.answer(200, contacts=[OURS])
    assert trunk.due(*over_tls).authorizations == ()
    trunk.answer(401, challenges=[STALE])
    assert trunk.sent().authorizations != ()
    trunk.take(Unanswered())
    assert trunk.sent().next_hop == over_tls[1]
    assert trunk.sent().authorizations == ()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    trunk.take(Unregister(tuple(over_tls)))
    assert trunk.sent().authorizations == ()


@pytest.mark.parametrize("stale", [True, False])
def test_nonce_replaced_on_refresh_counts_from_one(
    stale: bool,
) -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(200, contacts=[OURS])
    trunk.due()
    fresh = replace(CHALLENGE, nonce="nonce-2", stale=stale)
    trunk.answer(401, challenges=[fresh])
    assert trunk.sent().authorizations == (expected_authorization(fresh, 1, 3),)
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED


@pytest.mark.parametrize(
    ("challenges", "offered"),
    [
        ((), "none was sent"),
        ((replace(CHALLENGE, algorithm="SHA-512"),), "SHA-512 for realm provider.example"),
    ],
)
def test_challenge_unusable_fails_and_names_the_offer(
    challenges: tuple[Challenge, ...], offered: str
) -> None:
    trunk = Trunk()
    trunk.due()
    assert trunk.answer(401, challenges=challenges) == ()
    assert trunk.registration.state is State.AUTH_FAILED
    assert trunk.registration.reason is RegistrationReason.NO_USABLE_CHALLENGE
    assert trunk.registration.message == f"no challenge that can be answered ({offered})"


def test_retry_after_shortens_no_wait_for_credentials() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(401, challenges=[CHALLENGE], retry_after_s=1)
    assert trunk.wait_s() == 10 * MINUTE


# Other answers.


def test_interval_too_brief_is_adopted_and_kept() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(423, min_expires_s=7200)
    assert (trunk.sent().expires_s, trunk.sent().next_hop) == (7200, ONE)
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.granted_s == 7200
    assert trunk.due().expires_s == 7200


@pytest.mark.parametrize("min_expires_s", [None, 0, 3600, 8 * DAY])
def test_interval_too_brief_with_bad_min_expires_fails(min_expires_s: int | None) -> None:
    trunk = Trunk()
    trunk.due()
    assert trunk.answer(423, min_expires_s=min_expires_s) == ()
    assert trunk.wait_s() == 5 * MINUTE


def test_interval_too_brief_twice_ends_the_attempt() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(423, min_expires_s=3601)
    assert trunk.answer(423, min_expires_s=3602) == ()
    assert trunk.wait_s() == 5 * MINUTE


@pytest.mark.parametrize("status", [403, 404, 480, 405, 302])
def test_rejection_waits_5_minutes_doubling_to_an_hour(status: int) -> None:
    trunk = Trunk()
    waits = []
    for _ in range(6):
        trunk.due(ONE, TWO)
        assert trunk.answer(status) == ()
        waits.append(trunk.wait_s() / MINUTE)
    assert waits == [5, 10, 20, 40, 60, 60]
    is_redirect = status == 302
    assert trunk.registration.reason is (
        RegistrationReason.REDIRECT_REFUSED if is_redirect else RegistrationReason.REJECTED
    )
    assert trunk.registration.message == f"{status} Reason"


@pytest.mark.parametrize("status", [408, 500, 503, 600, 603])
def test_server_failure_tries_the_next_target_at_once(status: int) -> None:
    trunk = Trunk()
    trunk.due(ONE, TWO)
    trunk.answer(status)
    assert trunk.sent() == Send(2, TWO, 3600)


def test_unanswered_tries_next_target_then_backs_off() -> None:
    trunk = Trunk(chance=0.0)
    waits = []
    for _ in range(8):
        trunk.due(ONE, TWO)
        trunk.take(Unanswered())
        assert trunk.sent().next_hop == TWO
        assert trunk.take(Unanswered()) == ()
        waits.append(trunk.wait_s())
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900]
    assert trunk.registration.reason is RegistrationReason.NO_ANSWER
    assert trunk.registration.last_status is None


def test_due_without_any_target_backs_off() -> None:
    trunk = Trunk(chance=0.0)
    trunk.take(Due((), Why(RegistrationReason.DNS_SILENT, "DNS is silent")))
    assert trunk.wait_s() == 15
    assert trunk.registration.reason is RegistrationReason.DNS_SILENT


@pytest.mark.parametrize(
    ("retry_after_s", "wait_s"), [(120, 120), (0, 1), (5, 5), (DAY, DAY), (10 * DAY, DAY)]
)
def test_retry_after_is_used_between_a_second_and_a_day(retry_after_s: int, wait_s: int) -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(503, retry_after_s=retry_after_s)
    assert trunk.wait_s() == wait_s


def test_failure_of_another_kind_has_the_first_wait() -> None:
    trunk = Trunk()
    for _ in range(3):
        trunk.due()
        trunk.answer(403)
    trunk.due()
    trunk.answer(503)
    assert trunk.registration.failures == 1
    assert trunk.wait_s() <= 30


def test_grant_resets_the_failures() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(403)
    trunk.due()
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.failures == 0
    trunk.due()
    trunk.answer(403)
    assert trunk.wait_s() == 5 * MINUTE


# Failures keep the grant.


@pytest.mark.parametrize("status", [401, 403, 404, 408, 423, 480, 500, 503, 603, 302])
def test_refresh_that_fails_ends_nothing(status: int) -> None:
    trunk = registered()
    granted_until = trunk.registration.expires_at
    trunk.due()
    trunk.answer(status)
    assert trunk.actions == ()
    assert trunk.registration.expires_at == granted_until
    assert trunk.registration.granted(trunk.now)
    assert trunk.registration.registrar == FROM_ONE


def test_refresh_without_answer_ends_nothing() -> None:
    trunk = registered()
    granted_until = trunk.registration.expires_at
    trunk.due()
    trunk.take(Unanswered())
    assert trunk.registration.expires_at == granted_until


# Unregistering.


def test_unregister_ends_the_grant_before_the_answer() -> None:
    trunk = registered()
    actions = trunk.take(Unregister((ONE, TWO)))
    assert actions == (ForgetAddresses(), Send(2, ONE, 0))
    assert not trunk.registration.granted(trunk.now)
    assert trunk.registration.state is State.UNREGISTERING


def test_unregister_without_targets_waits_for_targets() -> None:
    trunk = registered()
    assert trunk.take(Unregister(None)) == (ForgetAddresses(),)
    assert not trunk.registration.admits(trunk.now)
    assert trunk.registration.state.under_way  # so a restart unregisters it, too
    assert trunk.take(Unregister((ONE,))) == (ForgetAddresses(), Send(2, ONE, 0))


def test_unregister_without_dns_goes_to_the_server() -> None:
    trunk = registered()
    assert trunk.take(Unregister(())) == (ForgetAddresses(), Send(2, ONE, 0))


def test_unregister_during_a_refresh_admits_no_call() -> None:
    trunk = registered()
    trunk.due()
    assert trunk.take(Unregister((ONE,))) == (ForgetAddresses(),)
    assert trunk.registration.granted(trunk.now)
    assert not trunk.registration.admits(trunk.now)


def test_pause_admits_calls_until_the_grant_ends() -> None:
    trunk = registered()
    trunk.take(Pause())
    assert trunk.registration.admits(trunk.now)
    assert not trunk.registration.admits(trunk.now + 3600)


@pytest.mark.parametrize("status", [200, 403, 481, 500])
def test_unregister_ends_with_any_final_answer(status: int) -> None:
    trunk = registered()
    trunk.take(Unregister((ONE,)))
    trunk.answer(status)
    assert trunk.registration.state is State.UNREGISTERED
    assert (trunk.registration.in_flight, trunk.registration.next_at) == (None, None)


def test_unregister_answers_a_challenge() -> None:
    trunk = registered()
    trunk.take(Unregister((ONE,)))
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.sent() == Send(3, ONE, 0, (expected_authorization(CHALLENGE, 1, 2),))
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.registration.state is State.UNREGISTERED


def test_unregister_without_answer_tries_each_target_once() -> None:
    trunk = registered()
    trunk.take(Unregister((ONE, TWO)))
    trunk.take(Unanswered())
    assert (trunk.sent().next_hop, trunk.sent().expires_s) == (TWO, 0)
    trunk.take(Unanswered())
    assert trunk.registration.state is State.UNREGISTERED


def test_unregister_without_a_grant_sends_nothing() -> None:
    trunk = Trunk()
    assert trunk.take(Unregister((ONE,))) == (ForgetAddresses(),)
    assert trunk.registration.state is State.UNREGISTERED


def test_unregistered_trunk_ignores_due() -> None:
    trunk = registered()
    trunk.take(Unregister((ONE,)))
    trunk.answer(200)
    assert trunk.take(Due((ONE,))) == ()


def test_grant_after_unregister_is_unregistered() -> None:
    trunk = Trunk()
    trunk.due()
    assert trunk.take(Unregister((ONE,))) == (ForgetAddresses(),)
    assert trunk.answer(200, contacts=[OURS]) == (Send(2, ONE, 0),)
    trunk.answer(200)
    assert trunk.registration.state is State.UNREGISTERED
    assert not trunk.registration.granted(trunk.now)


def test_failure_after_unregister_is_not_tried_again() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.take(Unregister((ONE,)))
    trunk.answer(403)
    assert (trunk.registration.state, trunk.registration.next_at) == (State.UNREGISTERED, None)


def test_register_now_while_unregistering_registers_after_it() -> None:
    trunk = registered()
    trunk.take(Unregister((ONE,)))
    trunk.take(RegisterNow())
    trunk.answer(200)
    assert trunk.due() == Send(3, ONE, 3600)


# Orders of the operator.


def test_register_now_after_a_failure_is_due_at_once() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.take(RegisterNow())
    assert trunk.wait_s() == 0
    assert trunk.registration.failures == 0


# Keep-alives and pauses.


def test_keepalive_failed_makes_the_refresh_due() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    trunk.answer(200, contacts=[OURS])
    before = trunk.registration
    trunk.now += 60
    assert trunk.take(KeepAliveFailed()) == ()
    assert trunk.registration == before._replace(next_at=trunk.now)
    assert trunk.due(ONE).expires_s == 3600


def test_keepalive_failed_without_a_grant_changes_nothing() -> None:
    trunk = Trunk()
    trunk.due(ONE)
    before = trunk.registration
    assert trunk.take(KeepAliveFailed()) == ()
    assert trunk.registration == before
    trunk.answer(403)
    before = trunk.registration
    assert trunk.take(KeepAliveFailed()) == ()
    assert trunk.registration == before


def test_pause_keeps_the_grant_and_sends_nothing() -> None:
    trunk = registered()
    expires_at = trunk.registration.expires_at
    assert trunk.take(Pause()) == ()
    assert trunk.registration.state is State.PAUSED
    assert trunk.registration.suspended
    assert (trunk.registration.expires_at, trunk.registration.next_at) == (expires_at, None)
    assert trunk.take(Due((ONE,))) == ()


def test_pause_during_a_request_changes_nothing() -> None:
    trunk = Trunk()
    trunk.due()
    before = trunk.registration
    assert trunk.take(Pause()) == ()
    assert trunk.registration == before


def test_unregister_by_operator_lasts_until_register_now() -> None:
    trunk = registered()
    trunk.take(Unregister((ONE,), suspended=True))
    trunk.answer(200)
    assert trunk.registration.suspended
    trunk.take(Unregister((ONE,)))
    assert trunk.registration.suspended
    trunk.take(RegisterNow())
    assert not trunk.registration.suspended
    assert trunk.wait_s() == 0


def test_register_now_during_an_attempt_tries_again_after_it() -> None:
    """The operator corrects the password during an attempt with the wrong one."""
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.take(RegisterNow())
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.registration.state is State.AUTH_FAILED
    assert trunk.wait_s() == 0
    trunk.due()
    trunk.answer(403)
    assert trunk.wait_s() == 300


def test_unregister_during_failed_refresh_is_sent_after_it() -> None:
    """The older grant is still valid at the registrar."""
    trunk = registered()
    trunk.due()
    assert trunk.take(Unregister((ONE,))) == (ForgetAddresses(),)
    assert trunk.answer(403) == (Send(3, ONE, 0),)
    trunk.answer(200)
    assert trunk.registration.state is State.UNREGISTERED


def test_challenge_after_unregister_is_answered_with_expires_0() -> None:
    trunk = registered()
    trunk.due()
    trunk.take(Unregister((ONE,)))
    trunk.answer(401, challenges=[CHALLENGE])
    assert trunk.sent().expires_s == 0


def test_grant_of_years_is_limited_to_a_week() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, contacts=[replace(OURS, expires_s=2**31)])
    assert trunk.registration.granted_s == 7 * DAY


# Our Contact among others.

LINE = replace(ACCOUNT, contact=Uri("sip", "acct1", "198.51.100.1", 5060, {"line": "token1"}))


def listed(text: str, expires_s: int | None = 60) -> Contact:
    found = Uri.parse(text)
    assert found is not None
    return Contact(found, expires_s)


@pytest.mark.parametrize(
    "text",
    [
        "sip:acct1@198.51.100.1:5060;line=token1",
        "sip:acct1@203.0.113.9:1024;line=token1",
        "sip:acct1@198.51.100.1:5060",
        "sip:acct1@198.51.100.1",
        "sip:acct1@198.51.100.1;transport=UDP",
        "sip:token1@198.51.100.1:5060",
    ],
)
def test_own_contact_with_line_changed_by_registrar_is_found(text: str) -> None:
    reply = Reply(200, "OK", 1, (listed("sip:acct1@192.0.2.99", 7), listed(text, 60)))
    assert granted(reply, LINE, 3600) == 60


def test_own_contact_at_another_host_without_token_is_not_found() -> None:
    reply = Reply(200, "OK", 1, (listed("sip:acct1@192.0.2.99"),))
    assert isinstance(granted(reply, LINE, 3600), Why)


def test_own_contact_of_rewriting_provider_is_the_only_one() -> None:
    rewriting = replace(ACCOUNT, rewritten=True)
    one = Reply(200, "OK", 1, (listed("sip:x@192.0.2.99"),))
    two = Reply(200, "OK", 1, (listed("sip:x@192.0.2.99"), listed("sip:y@192.0.2.99")))
    assert granted(one, rewriting, 3600) == 60
    assert isinstance(granted(one, ACCOUNT, 3600), Why)
    assert isinstance(granted(two, rewriting, 3600), Why)


# Redirects and other servers.


def test_redirect_is_followed_once() -> None:
    trunk = Trunk()
    trunk.due()
    elsewhere = Contact(Uri("sip", "", "reg2.provider.example"))
    assert trunk.answer(302, contacts=[elsewhere]) == (Follow((elsewhere.uri,)),)
    assert trunk.take(Redirected((TWO,))) == (Send(2, TWO, 3600),)
    assert trunk.answer(302, contacts=[elsewhere], source=FROM_TWO) == ()
    assert trunk.registration.failure is Failure.REJECTED


def test_redirect_without_address_tries_the_next_target() -> None:
    trunk = Trunk()
    trunk.due(ONE, TWO)
    trunk.answer(302, contacts=[Contact(Uri("sip", "", "nowhere.example"))])
    assert trunk.take(Redirected(())) == (Send(2, TWO, 3600),)


def test_unregister_during_redirect_sends_no_register() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(302, contacts=[Contact(Uri("sip", "", "reg2.provider.example"))])
    trunk.take(Unregister((ONE,)))
    assert trunk.take(Redirected((TWO,))) == (ForgetAddresses(),)
    assert trunk.registration.state is State.UNREGISTERED


def test_refresh_goes_to_the_server_that_granted() -> None:
    trunk = Trunk()
    trunk.due(ONE, TWO)
    trunk.take(Unanswered())
    trunk.answer(200, contacts=[OURS], source=FROM_TWO)
    assert trunk.due(ONE, TWO).next_hop == TWO
    assert trunk.registration.in_flight is not None
    assert trunk.registration.in_flight.others == (ONE,)


def test_refresh_without_dns_goes_to_the_server_that_granted() -> None:
    """The registrar still answers, so the grant must not expire."""
    trunk = registered()
    trunk.take(Due(()))  # before `next_at`, while the grant is valid
    for _ in range(3):
        assert trunk.sent().next_hop == ONE
        trunk.take(Unanswered())
        trunk.now += 60
        trunk.take(Due(()))
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED


def test_attempt_without_dns_after_the_grant_sends_nothing() -> None:
    """The address may belong to another host by then."""
    trunk = registered()
    trunk.now += 3600
    assert trunk.take(Due((), Why(RegistrationReason.DNS_SILENT, "no answer from DNS"))) == ()
    assert trunk.registration.reason is RegistrationReason.DNS_SILENT


def test_server_that_failed_loses_its_preference() -> None:
    trunk = registered()
    trunk.due(TWO)
    trunk.take(Unanswered())
    trunk.take(Unanswered())
    trunk.due(TWO)
    assert trunk.sent().next_hop == TWO
    assert trunk.registration.in_flight is not None
    assert trunk.registration.in_flight.others == (ONE,)


def test_attempt_after_all_servers_failed_uses_new_targets() -> None:
    trunk = Trunk()
    trunk.due(TWO)
    trunk.answer(200, contacts=[OURS], source=FROM_TWO)
    trunk.due(TWO)
    trunk.take(Unanswered())
    assert trunk.due(ONE).next_hop == ONE


def test_challenges_of_two_realms_are_both_answered() -> None:
    trunk = Trunk()
    trunk.due()
    proxy = replace(CHALLENGE, proxy=True, realm="proxy.example", nonce="p")
    trunk.answer(407, challenges=[proxy])
    assert [name for name, _ in trunk.sent().authorizations] == ["Proxy-Authorization"]
    trunk.answer(401, challenges=[CHALLENGE])
    names = [name for name, _ in trunk.sent().authorizations]
    assert names == ["Proxy-Authorization", "Authorization"]
    trunk.answer(200, contacts=[OURS])
    assert trunk.registration.state is State.REGISTERED


# Steps of the system clock.


@pytest.mark.parametrize("step_s", [-3600.0, 600.0])
def test_clock_stepped_moves_all_instants_and_refreshes(step_s: float) -> None:
    trunk = registered(600)
    before = trunk.registration
    trunk.now += 100
    left_s = 500
    trunk.now += step_s
    assert trunk.take(ClockStepped(step_s)) == ()
    r = trunk.registration
    assert (r.since, r.registered_at) == (before.since + step_s, NOW + step_s)
    assert r.expires_at == r.learned_until == trunk.now + left_s
    assert r.next_at == trunk.now


def test_clock_stepped_keeps_the_wait_after_a_failure() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.answer(401, challenges=[CHALLENGE])
    trunk.now -= 3600
    trunk.take(ClockStepped(-3600))
    assert trunk.wait_s() == 10 * MINUTE
    assert trunk.registration.auth_rejections == (trunk.now,)


# Replies to other requests.


def test_reply_without_a_request_changes_nothing() -> None:
    trunk = registered()
    before = trunk.registration
    assert trunk.answer(200, contacts=[OURS], source=FROM_TWO) == ()
    assert trunk.answer(403) == ()
    assert trunk.registration == before


def test_reply_to_another_cseq_changes_nothing() -> None:
    trunk = Trunk()
    trunk.due()
    trunk.answer(401, challenges=[CHALLENGE])
    before = trunk.registration
    assert trunk.answer(200, contacts=[OURS], cseq=1) == ()
    assert trunk.answer(200, contacts=[OURS], cseq=3) == ()
    assert trunk.registration == before


def test_unanswered_without_a_request_changes_nothing() -> None:
    trunk = registered()
    before = trunk.registration
    assert trunk.take(Unanswered()) == ()
    assert trunk.registration == before


# All events, in any order.

FIRST_WAIT_S = {"wrong_credentials": 600, "rejected": 300, "unreachable": 15}
LONGEST_WAIT_S = {"wrong_credentials": DAY, "rejected": HOUR, "unreachable": 900}

SENDS_OF_AN_ATTEMPT = 32
"""Two targets and two of a 3xx, each with a first REGISTER, four challenges and a 423; then the
unregistering."""


class AnyOrder(RuleBasedStateMachine):
    """Every answer, timeout, restart and order, in any sequence, while time passes."""

    trunk: Trunk
    open: Send | None
    """The REGISTER that was sent and not answered."""

    @initialize(chance=st.floats(0, 1, exclude_max=True))
    def start(self, chance: float) -> None:
        self.trunk = Trunk(chance=chance)
        self.open = None
        self.following = self.was_redirected = False
        self.learned_until: float | None = None
        self.last_cseq = 0
        self.sends_of_attempt = 0
        self.failed_as: list[str] = []

    @property
    def registration(self) -> Registration:
        return self.trunk.registration

    def take(self, event: MachineEvent, answered: Send | None = None) -> tuple[Action, ...]:
        """Take one event. `answered`: the request that it answers, if any."""
        if answered is not None:
            self.open = None
        before = self.registration
        actions = self.trunk.take(event)
        assert self.registration.call_id == before.call_id
        for action in actions:
            if isinstance(action, Learn):
                assert before.wanted
                self.check_learned_address(action, event, answered)
            elif isinstance(action, Send):
                assert self.open is None, "two requests in flight"
                assert action.cseq > self.last_cseq
                self.open, self.last_cseq = action, action.cseq
                self.sends_of_attempt += 1
        self.following = any(isinstance(action, Follow) for action in actions) or (
            self.following and not isinstance(event, Redirected)
        )
        if isinstance(event, Due):
            self.was_redirected = False
        self.was_redirected |= isinstance(event, Redirected)
        if self.open is None and not self.following:
            self.sends_of_attempt = 0
        return actions

    def check_learned_address(
        self, learn: Learn, event: MachineEvent, answered: Send | None
    ) -> None:
        """Assert that a 2xx to a request in flight is learned, with our Contact or without any."""
        assert isinstance(event, Answered) and answered is not None
        assert answered.expires_s > 0 and event.reply.cseq == answered.cseq
        assert 200 <= event.reply.status < 300
        contacts = event.reply.contacts
        assert not contacts or any(c.uri.user == "token1" for c in contacts)
        assert learn.source == event.source != IMPOSTOR
        if learn.source.ip not in event.expected.named:
            assert learn.ground is Ground.ASKED
            assert answered.next_hop.ip == learn.source.ip or self.was_redirected
        self.learned_until = learn.expires_at
        assert learn.expires_at == self.registration.expires_at
        assert learn.expires_at is not None and learn.expires_at > self.trunk.now

    def check_wait(self, retry_after_s: int | None) -> None:
        """Assert the wait after a failure: of its kind, doubled each time, or Retry-After."""
        kind = str(self.registration.failure)
        self.failed_as.append(kind)
        if retry_after_s is not None and kind != "wrong_credentials":
            assert self.trunk.wait_s() == pytest.approx(max(1, min(retry_after_s, DAY)))
            return
        in_a_row = 0
        for failed_as in reversed(self.failed_as):
            if failed_as != kind:
                break
            in_a_row += 1
        least = min(FIRST_WAIT_S[kind] * 2.0 ** (in_a_row - 1), LONGEST_WAIT_S[kind])
        assert self.trunk.wait_s() >= least - 1e-3

    @precondition(lambda self: self.registration.next_at is not None)
    @rule(hops=TARGETS, late_s=st.sampled_from([0.0, 0.5, 100.0]))
    def attempt_is_due(self, hops: tuple[TransportAddress, ...], late_s: float) -> None:
        assert self.registration.next_at is not None
        self.trunk.now = max(self.trunk.now, self.registration.next_at) + late_s
        self.take(Due(hops))
        if hops:
            return
        if self.open is None:
            self.check_wait(None)
        else:
            assert self.registration.granted(self.trunk.now)
            assert self.open.next_hop == self.registration.home

    @precondition(lambda self: self.open is not None)
    @rule(
        reply=REPLIES,
        source=st.sampled_from([FROM_ONE, FROM_TWO, IMPOSTOR]),
        expected=st.sampled_from([ASKED_ONLY, ExpectedSources(named=frozenset({FROM_TWO.ip}))]),
        after_s=st.floats(0, 36),
    )
    def registrar_answers(
        self, reply: Reply, source: TransportAddress, expected: ExpectedSources, after_s: float
    ) -> None:
        assert self.open is not None
        self.trunk.now += after_s
        answer = Answered(reply._replace(cseq=self.open.cseq), source, expected)
        self.check_outcome(answer, reply.retry_after_s)

    @precondition(lambda self: self.open is not None)
    @rule()
    def registrar_does_not_answer(self) -> None:
        self.trunk.now += 36
        self.check_outcome(Unanswered(), None)

    def check_outcome(self, event: MachineEvent, retry_after_s: int | None) -> None:
        """Assert that a failure keeps the grant and waits, and a success resets failures."""
        before, answered = self.registration, self.open
        actions = self.take(event, answered)
        after = self.registration
        if after.state in (State.WAITING, State.AUTH_FAILED):
            assert all(isinstance(action, IgnoreReply) for action in actions)
            assert after.expires_at == before.expires_at
            if before.again:  # RegisterNow during the attempt
                assert self.trunk.wait_s() == 0
                self.failed_as.clear()
            else:
                self.check_wait(retry_after_s)
        elif self.open is None and not self.following:
            self.failed_as.clear()

    @precondition(lambda self: self.following)
    @rule(hops=TARGETS)
    def redirect_target_is_looked_up(self, hops: tuple[TransportAddress, ...]) -> None:
        self.check_outcome(Redirected(hops), None)

    @rule(status=STATUSES, back=st.integers(1, 5))
    def reply_to_another_request_is_received(self, status: int, back: int) -> None:
        before = self.registration
        cseq = before.cseq - back if self.open else before.cseq
        assert self.take(Answered(Reply(status, "", cseq, (OURS,)), FROM_TWO)) == ()
        assert self.registration == before

    @rule(hops=TARGETS, cleanly=st.booleans())
    def agent_restarts(self, hops: tuple[TransportAddress, ...], cleanly: bool) -> None:
        before = self.registration
        if cleanly and (before.granted(self.trunk.now) or before.in_flight is not None):
            self.take(Unregister(hops))
        ended = self.registration
        after = self.trunk.registration = after_a_restart(ended, self.trunk.now)
        self.open = None
        self.following = False
        self.sends_of_attempt = 0
        assert (after.suspended, after.wanted) == (before.suspended, not before.suspended)
        if after.wanted:
            lost = ended.state.under_way and ended.failure is not None
            assert after.failures == before.failures + lost
            self.check_resumption(before, after)
        elif after.state.under_way:
            self.take(Unregister(hops, suspended=True))

    def check_resumption(self, before: Registration, after: Registration) -> None:
        """Assert that a restart makes no attempt earlier than it was due."""
        assert after.next_at is not None
        if before.next_at is not None and after.expires_at == before.expires_at:
            assert after.next_at >= before.next_at
        if after.failure is not None and before.in_flight is not None:
            wait_s = WAITS.after(after.failure).wait_s(after.failures, 0.0)
            assert after.next_at >= min(after.since + wait_s, before.since + wait_s)

    @rule(hops=st.none() | TARGETS, suspended=st.booleans())
    def trunk_is_unregistered(
        self, hops: tuple[TransportAddress, ...] | None, suspended: bool
    ) -> None:
        actions = self.take(Unregister(hops, suspended))
        assert isinstance(actions[0], ForgetAddresses)
        assert not self.registration.admits(self.trunk.now)
        assert self.registration.suspended or not suspended
        self.failed_as.clear()

    @rule()
    def keepalive_fails(self) -> None:
        before = self.registration
        assert self.take(KeepAliveFailed()) == ()
        registered = before.state is State.REGISTERED
        assert self.registration.next_at == before.next_at or registered
        assert self.registration._replace(next_at=before.next_at) == before

    @precondition(lambda self: self.registration.wanted)
    @rule()
    def operator_pauses_trunk(self) -> None:
        before = self.registration
        assert self.take(Pause()) == ()
        assert self.registration.expires_at == before.expires_at
        if before.in_flight is None:
            self.failed_as.clear()

    @rule()
    def operator_registers_trunk(self) -> None:
        self.take(RegisterNow())
        in_flight = self.open is not None or self.following
        assert in_flight or self.registration.next_at == self.trunk.now
        self.failed_as.clear()

    @invariant()
    def request_in_flight_is_the_sent_one(self) -> None:
        in_flight = self.registration.in_flight
        assert self.following == bool(in_flight and in_flight.following)
        if self.following:
            assert self.open is None
            return
        ours = in_flight and (in_flight.next_hop, in_flight.expires_s)
        assert ours == (self.open and (self.open.next_hop, self.open.expires_s))

    @invariant()
    def wanted_registration_is_in_flight_or_due(self) -> None:
        r = self.registration
        if r.in_flight is not None or not r.wanted:
            assert r.next_at is None
        else:
            assert r.next_at is not None
        if not r.wanted and r.state is not State.PAUSED:
            assert not r.admits(self.trunk.now)
            # Nothing is granted, or Unregister has had no targets yet.
            has_ended = r.in_flight is None and r.state is not State.UNREGISTERING
            assert r.expires_at is None or not has_ended

    @invariant()
    def unexpected_source_changes_no_learned_address(self) -> None:
        r = self.registration
        assert r.registrar != IMPOSTOR
        assert r.learned_until in (None, self.learned_until)
        assert r.learned_until is None or r.registrar is not None

    @invariant()
    def attempt_has_a_bounded_number_of_requests(self) -> None:
        assert self.sends_of_attempt <= SENDS_OF_AN_ATTEMPT


@pytest.mark.slow
def test_invariants_hold_for_any_order_of_events() -> None:
    bounds = settings(max_examples=examples(120), stateful_step_count=50, deadline=None)
    run_state_machine_as_test(AnyOrder, settings=bounds)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    "answers", [[CHALLENGE], [CHALLENGE, replace(CHALLENGE, nonce="n2")], [STALE, CHALLENGE]]
)
def test_wrong_credentials_send_seven_registers_an_hour(
    answers: list[Challenge], restarts: bool
) -> None:
    """Providers ban fast retries; a restart of the agent must not reset the wait."""
    trunk = Trunk()
    sent_at: list[float] = []
    while trunk.now < NOW + 3 * DAY:
        trunk.due()
        sent_at.append(trunk.now)
        while trunk.registration.in_flight is not None:
            trunk.now += 0.05
            trunk.answer(401, challenges=[answers[len(sent_at) % len(answers)]])
            sent_at.extend(trunk.now for a in trunk.actions if isinstance(a, Send))
        if restarts:
            trunk.registration = after_a_restart(trunk.registration, trunk.now)
    for begin in sent_at:
        assert sum(begin <= at < begin + HOUR for at in sent_at) <= 7
