"""Answers to the challenges of a trunk, against a digest server of the tests."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.outbound.provider import HASHES, PASSWORD, USER, Realm
from whence.core.outbound.rounds import ROUNDS_LIMIT, ChallengeFault, Rounds
from whence.core.sip.challenges import parse_challenges
from whence.core.sip.digest import Challenge, Credentials
from whence.core.sip.secret import Secret

URI = "sip:+493012345678@provider.example"
CREDENTIALS = Credentials(USER, Secret(PASSWORD))
METHODS = ["INVITE", "UPDATE", "INFO", "PRACK", "BYE", "MESSAGE", "REFER"]


def read(values: list[tuple[bool, str]]) -> list[Challenge]:
    return [one for proxy, text in values for one in parse_challenges(text, proxy=proxy)]


def call(
    *realms: Realm, method: str = "INVITE", credentials: Credentials = CREDENTIALS
) -> Rounds | ChallengeFault:
    """Send a request through servers until the last one accepts it, or until a fault."""
    rounds = Rounds()
    while True:
        headers = rounds.authorizations(credentials, method, URI, f"cnonce-{rounds.tries}")
        for realm in realms:
            verdict = realm.accepts(method, URI, headers)
            if verdict != "ok":
                challenges = read(realm.challenge(stale=verdict == "stale"))
                break
        else:
            return rounds
        following = rounds.challenged(challenges, credentials)
        if isinstance(following, ChallengeFault):
            return following
        assert following.tries == rounds.tries + 1
        rounds = Rounds.from_text(following.to_text())
        assert rounds.tries == following.tries


@pytest.mark.parametrize("algorithm", [*HASHES, *(f"{name}-sess" for name in HASHES)])
@pytest.mark.parametrize("qop", ["auth", "auth,auth-int", None])
@pytest.mark.parametrize("proxy", [True, False])
def test_challenge_of_each_form_is_answered(algorithm: str, qop: str | None, proxy: bool) -> None:
    if qop != "auth" and qop is not None:
        realm = Realm("r", (algorithm,), "auth", proxy)
        value = [(p, text.replace('qop="auth"', f'qop="{qop}"')) for p, text in realm.challenge()]
        following = Rounds().challenged(read(value), CREDENTIALS)
        assert isinstance(following, Rounds)
        headers = following.authorizations(CREDENTIALS, "INVITE", URI, "c")
        assert realm.accepts("INVITE", URI, headers) == "ok"
    else:
        assert isinstance(call(Realm("r", (algorithm,), qop, proxy)), Rounds)


@pytest.mark.parametrize("method", METHODS)
def test_answer_covers_method(method: str) -> None:
    assert isinstance(call(Realm("r"), method=method), Rounds)
    realm = Realm("r", new_nonces=False)
    following = Rounds().challenged(read(realm.challenge()), CREDENTIALS)
    assert isinstance(following, Rounds)
    headers = following.authorizations(CREDENTIALS, method, URI, "c")
    assert realm.accepts("OPTIONS", URI, headers) == "wrong"


def test_strongest_challenge_of_realm_is_answered() -> None:
    realm = Realm("r", ("SHA3-999", "MD5", "SHA-512-256", "SHA-256"))
    assert isinstance(call(realm), Rounds)
    assert [given["algorithm"] for given in realm.seen] == ["SHA-512-256"]


def test_realms_one_after_another_are_answered() -> None:
    first = Realm("a", new_nonces=False)
    second, third = Realm("b", ("SHA-256",)), Realm("c", ("MD5-sess",), proxy=False)
    rounds = call(first, second, third)
    assert isinstance(rounds, Rounds)
    assert rounds.tries == 3
    assert [given["nc"] for given in first.seen] == ["00000001", "00000002", "00000003"]


def test_realms_of_one_answer_get_one_round() -> None:
    realms = [Realm("a"), Realm("a", proxy=False), Realm("b")]
    following = Rounds().challenged(read([c for r in realms for c in r.challenge()]), CREDENTIALS)
    assert isinstance(following, Rounds)
    headers = following.authorizations(CREDENTIALS, "INVITE", URI, "c")
    assert [realm.accepts("INVITE", URI, headers) for realm in realms] == ["ok"] * 3


def test_stale_nonce_gets_another_round() -> None:
    rounds = call(Realm("r", stale=1))
    assert isinstance(rounds, Rounds)
    assert rounds.tries == 2


def test_stale_nonce_that_is_sent_again_counts_up() -> None:
    realm = Realm("r", stale=1, new_nonces=False)
    assert isinstance(call(realm), Rounds)
    assert [given["nc"] for given in realm.seen] == ["00000001", "00000002"]


def test_wrong_password_is_sent_once() -> None:
    realm = Realm("r", password="another")
    assert call(realm) is ChallengeFault.CREDENTIALS_REJECTED
    assert len(realm.seen) == 1


def test_server_that_is_always_stale_ends_at_limit() -> None:
    realm = Realm("r", stale=1000)
    assert call(realm) is ChallengeFault.CHALLENGED_TOO_OFTEN
    assert len(realm.seen) == ROUNDS_LIMIT


@pytest.mark.parametrize(
    "header",
    [
        'Digest realm="r", nonce="n", algorithm=SHA3-999',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce=""',
        'Basic realm="r"',
        "",
    ],
)
def test_challenge_that_cannot_be_answered_gets_no_round(header: str) -> None:
    fault = Rounds().challenged(read([(True, header)]), CREDENTIALS)
    assert fault is ChallengeFault.NO_USABLE_CHALLENGE


def test_challenge_of_another_realm_gets_no_digest() -> None:
    only_r = replace(CREDENTIALS, realm="r")
    assert call(Realm("evil"), credentials=only_r) is ChallengeFault.NO_USABLE_CHALLENGE
    assert isinstance(call(Realm("r"), credentials=only_r), Rounds)


@given(
    st.lists(
        st.builds(
            Realm,
            st.sampled_from(["a", 'b "quoted" \\', "ü"]),
            st.lists(st.sampled_from([*HASHES, "MD5-sess", "X"]), min_size=1, max_size=3).map(
                tuple
            ),
            st.sampled_from(["auth", None]),
            st.booleans(),
            st.sampled_from([PASSWORD, PASSWORD, "another"]),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=4,
        unique_by=lambda realm: (realm.name, realm.proxy),
    )
)
def test_call_through_any_servers_ends(realms: list[Realm]) -> None:
    for realm in realms:
        realm.name = realm.name.replace('"', "").replace("\\", "")
    result = call(*realms)
    tried = sum(len(realm.seen) for realm in realms)
    assert tried <= len(realms) * ROUNDS_LIMIT
    if isinstance(result, Rounds):
        assert result.tries <= ROUNDS_LIMIT
        assert all(realm.password == PASSWORD for realm in realms)
    # A password that is wrong is sent once, so that no provider blocks the account.
    for realm in realms:
        if realm.password != PASSWORD:
            assert len(realm.seen) <= 1


def test_text_of_rounds_is_read_back() -> None:
    challenge = Challenge('r"', "n\\", "SHA-256-sess", ("auth", "auth-int"), None, proxy=True)
    other = Challenge("ü", "n", opaque="")
    rounds = Rounds().challenged([challenge, other], CREDENTIALS)
    assert isinstance(rounds, Rounds)
    assert Rounds.from_text(rounds.to_text()) == rounds
    assert Rounds.from_text("") == Rounds()
    assert rounds.to_text().isascii()
