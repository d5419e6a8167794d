"""Digest, checked by those who did not write it: a second Kamailio, SIPp, and RFC 7616 by hand."""

import hashlib

import pytest

from testkit.provider import Digest, Provider
from testkit.rig import Rig
from testkit.sip import request
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.registrar import (
    DOMAIN,
    PASSWORD,
    add,
    by_hand,
    challenge,
    credentials,
    expires_asked,
    proves,
)
from tests.system.scene import ALICE, place

AUTH = 'qop="auth"'
SHA_256, SHA_512_256 = "algorithm=SHA-256", "algorithm=SHA-512-256"
MD5 = "algorithm=MD5"


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


def at_kamailio(rig: Rig, whence: Whence, asks: Digest, **more: object) -> tuple[Provider, str]:
    """Start a Kamailio that asks like this, and add a trunk there: returns it and its id."""
    name = f"kamailio-{len(whence.trunks)}"
    provider = rig.provider(name, accounts={"acct1": PASSWORD}, challenge=asks)
    table = {**trunk(name, provider, "acct1", ALICE), **more}
    add(whence, {key: value for key, value in table.items() if value is not None})
    return provider, name


def register_again(whence: Whence, provider: Provider, name: str, expires: int) -> None:
    """Have it register once more, by an operator's change, and wait until that is granted."""
    trunks = [{**t, "expires": expires} if t["id"] == name else t for t in whence.trunks]
    whence.edit(trunks=trunks)
    whence.reload()
    eventually(lambda: whence.trunk(name)["granted_s"] == expires, what="the other grant")


# Checked by SIPp.


@pytest.mark.parametrize("qop", [True, False], ids=["qop=auth", "no qop"])
def test_sipp_finds_the_response_right(shared_rig: Rig, whence: Whence, qop: bool) -> None:
    name = f"verifier-{len(whence.trunks)}"
    verifier = shared_rig.verifier(name, user="acct1", password=PASSWORD, qop=qop)
    add(whence, sipp_trunk(name, place(verifier.address), PASSWORD))
    whence.wait_registered(name)
    assert verifier.process.wait(10) == 0


def test_sipp_finds_the_response_to_a_wrong_password_wrong(shared_rig: Rig, whence: Whence) -> None:
    """So that the stories above show something."""
    name = f"verifier-{len(whence.trunks)}"
    verifier = shared_rig.verifier(name, user="acct1", password=PASSWORD)
    add(whence, sipp_trunk(name, place(verifier.address), "another"))
    assert whence.wait_state(name, "waiting")["message"] == "403 Wrong Response"


def sipp_trunk(name: str, registrar: str, password: str) -> dict[str, object]:
    return {
        "id": name,
        "registrar": f"sip:{registrar}",
        "domain": DOMAIN,
        "user": "acct1",
        "password": password,
        "target": ALICE,
    }


# Checked by a second Kamailio.


@pytest.mark.parametrize("secret", ["password", "ha1"])
@pytest.mark.parametrize("qop", [True, False], ids=["qop=auth", "no qop"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_kamailio_finds_the_response_right(
    shared_rig: Rig, whence: Whence, algorithm: str, qop: bool, secret: str
) -> None:
    key = algorithm.lower().replace("-", "")
    ha1 = hashlib.new(key, f"acct1:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
    more = {"password": None, "ha1": {key: ha1}} if secret == "ha1" else {}
    provider, name = at_kamailio(
        shared_rig,
        whence,
        Digest(algorithm, qop),  # type: ignore[arg-type]
        **more,
    )
    whence.wait_registered(name)
    first, second = provider.registers()
    assert (first.said("nonce"), second.said("algorithm")) == (None, algorithm)
    assert second.said("qop") == ("auth" if qop else None)


@pytest.mark.parametrize(("asked", "known"), [("SHA-256", "md5"), ("MD5", "sha256")])
def test_a_hash_of_another_algorithm_is_no_answer_and_that_is_said(
    shared_rig: Rig, whence: Whence, asked: str, known: str
) -> None:
    ha1 = hashlib.new(known, f"acct1:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
    more = {"password": None, "ha1": {known: ha1}}
    provider, name = at_kamailio(shared_rig, whence, Digest(asked), **more)  # type: ignore[arg-type]
    stands = whence.wait_state(name, "auth_failed")
    assert stands["reason"] == "no_usable_challenge"
    assert f"{asked} for realm {DOMAIN}" in stands["message"]
    assert len(provider.registers()) == 1


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_wrong_password_is_found_wrong(shared_rig: Rig, whence: Whence, algorithm: str) -> None:
    asks = Digest(algorithm)  # type: ignore[arg-type]
    _, name = at_kamailio(shared_rig, whence, asks, password="another")
    assert whence.wait_state(name, "auth_failed")["reason"] == "wrong_credentials"


def test_a_nonce_is_used_again_with_a_true_count_and_a_replay_is_refused(
    shared_rig: Rig, whence: Whence
) -> None:
    provider, name = at_kamailio(shared_rig, whence, Digest(uses="counted"))
    whence.wait_registered(name)
    for expires in (1800, 900):
        register_again(whence, provider, name, expires)
    seen = provider.registers()
    assert [one.said("nc") for one in seen] == [None, "00000001", "00000002", "00000003"]
    assert len({one.said("nonce") for one in seen[1:]}) == 1
    assert len({one.said("cnonce") for one in seen[1:]}) == 3

    unknown_source = shared_rig.endpoint(f"replays-to-{name}")
    replay = request(
        "REGISTER",
        f"sip:{DOMAIN}",
        unknown_source.address,
        from_uri=f"sip:acct1@{DOMAIN}",
        to_uri=f"sip:acct1@{DOMAIN}",
        contact=f"<sip:thief@{place(unknown_source.address)}>",
        headers=[("Authorization", seen[-1].authorization), ("Expires", "60")],
    )
    assert unknown_source.ask(replay, provider.address).status == 401
    assert len(provider.contacts("acct1")) == 1


def test_a_nonce_that_is_good_once_costs_a_challenge_each_time_and_no_failure(
    shared_rig: Rig, whence: Whence
) -> None:
    provider, name = at_kamailio(shared_rig, whence, Digest(uses="once"))
    whence.wait_registered(name)
    register_again(whence, provider, name, 1800)
    nonces = [one.said("nonce") for one in provider.registers()]
    assert len(nonces) == 4
    assert nonces[1] == nonces[2] != nonces[3]
    assert [one.said("nc") for one in provider.registers()][3] == "00000001"
    assert whence.trunk(name)["failures"] == 0


def test_a_nonce_that_is_too_old_is_replaced_at_once_and_that_is_no_failure(
    shared_rig: Rig, whence: Whence
) -> None:
    provider, name = at_kamailio(shared_rig, whence, Digest(nonce_s=1), expires=4)
    whence.wait_registered(name)
    eventually(lambda: len(provider.registers()) >= 4, what="a refresh, challenged anew")
    whence.wait_registered(name)
    stands, seen = whence.trunk(name), provider.registers()
    assert (stands["failures"], stands["last_status"]) == (0, 200)
    assert seen[1].said("nonce") == seen[2].said("nonce") != seen[3].said("nonce")
    assert "expired" not in whence.log


# Checked by hand: what no Kamailio asks.


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ([[MD5], [SHA_256]], "SHA-256"),
        ([[SHA_256], [MD5]], "SHA-256"),
        ([[MD5], [SHA_512_256], [SHA_256]], "SHA-512-256"),
        ([["algorithm=TIGER"], [MD5]], "MD5"),
        ([["algorithm=AKAv1-MD5"], [SHA_256]], "SHA-256"),
        ([['algorithm="SHA-256"', 'qop="auth-int"'], [MD5, 'qop="auth-int,auth"']], "MD5"),
        ([["algorithm=sha-256"]], "sha-256"),
        ([["algorithm=SHA-256-sess", AUTH]], "SHA-256-sess"),
        ([["algorithm=MD5-sess", AUTH]], "MD5-sess"),
        ([["algorithm=MD5-sess"]], "MD5-sess"),
        ([["algorithm=SHA-512-256-sess", 'qop="auth"', 'opaque="o,p=\\"q"']], "SHA-512-256-sess"),
    ],
    ids=str,
)
def test_of_several_challenges_the_strongest_that_is_known_is_answered(
    shared_rig: Rig, whence: Whence, offered: list[list[str]], answered: str
) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    offers = [challenge(DOMAIN, f"n{n}", *more) for n, more in enumerate(offered)]
    registrar.answer(asked, 401, *offers)
    (given,) = credentials(registrar.granted())
    assert given["algorithm"] == answered
    assert proves({**given, "algorithm": answered.replace("sha", "SHA")})
    assert given["uri"] == f"sip:{DOMAIN}"
    if "opaque" in offered[0][-1]:
        assert given["opaque"] == 'o,p=\\"q'


def test_several_challenges_may_share_one_header_line(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    name, md5 = challenge(DOMAIN, "n1", MD5, AUTH)
    _, sha = challenge(DOMAIN, "n2", SHA_256, AUTH)
    registrar.answer(registrar.asked(), 401, (name, f'Basic realm="x", {md5}, {sha}'))
    (given,) = credentials(registrar.granted())
    assert (given["algorithm"], given["nonce"]) == ("SHA-256", "n2")
    assert proves(given)


def test_proxy_and_registrar_are_both_answered_each_in_its_header(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    both = challenge("proxy.example", "p", AUTH, proxy=True), challenge(DOMAIN, "w", SHA_256)
    registrar.answer(registrar.asked(), 407, *both)
    asked = registrar.granted()
    (to_proxy,), (to_registrar,) = credentials(asked, "Proxy-Authorization"), credentials(asked)
    assert (to_proxy["realm"], to_registrar["realm"]) == ("proxy.example", DOMAIN)
    assert proves(to_proxy) and proves(to_registrar)


def test_a_proxys_challenge_and_then_the_registrars_are_no_wrong_credentials(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    registrar.answer(registrar.asked(), 407, challenge("proxy.example", "p", AUTH, proxy=True))
    asked = registrar.asked()
    assert all(map(proves, credentials(asked, "Proxy-Authorization")))
    registrar.answer(asked, 401, challenge(DOMAIN, "w", AUTH))
    asked = registrar.granted()
    (to_proxy,), (to_registrar,) = credentials(asked, "Proxy-Authorization"), credentials(asked)
    assert (to_proxy["nc"], to_registrar["nc"]) == ("00000002", "00000001")
    assert proves(to_proxy) and proves(to_registrar)


def test_two_realms_of_one_reply_are_both_answered(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    two = challenge("one.example", "n1", AUTH), challenge("two.example", "n2", SHA_256, AUTH)
    registrar.answer(registrar.asked(), 401, *two)
    given = credentials(registrar.granted())
    assert {one["realm"] for one in given} == {"one.example", "two.example"}
    assert all(map(proves, given))


def test_only_the_pinned_realm_gets_a_response(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence, realm=DOMAIN)
    two = challenge("thief.example", "n1", SHA_256), challenge(DOMAIN, "n2", MD5)
    registrar.answer(registrar.asked(), 401, *two)
    (given,) = credentials(registrar.granted())
    assert (given["realm"], given["algorithm"]) == (DOMAIN, "MD5")
    assert proves(given)


def test_a_foreign_realm_gets_no_response_where_one_is_pinned(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence, realm=DOMAIN)
    registrar.answer(registrar.asked(), 401, challenge("thief.example", "n1"))
    stands = whence.wait_state(registrar.trunk_id, "auth_failed")
    assert stands["reason"] == "no_usable_challenge"
    assert "MD5 for realm thief.example" in stands["message"]
    assert registrar.asks_no_more()


def test_without_qop_there_is_no_count_and_no_cnonce(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    registrar.answer(registrar.asked(), 401, challenge(DOMAIN, "n1"))
    (given,) = credentials(registrar.granted())
    assert not {"qop", "nc", "cnonce"} & given.keys()
    assert proves(given)


def test_a_stale_nonce_is_answered_a_few_times_and_not_for_ever(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    for n in range(1, 5):
        asked = registrar.asked()
        registrar.answer(asked, 401, challenge(DOMAIN, f"n{n}", AUTH, "stale=TRUE"))
    asked = registrar.asked()
    assert all(map(proves, credentials(asked)))
    registrar.answer(asked, 401, challenge(DOMAIN, "n5", AUTH, "stale=TRUE"))
    stands = whence.wait_state(registrar.trunk_id, "waiting")
    assert stands["reason"] == "challenged_too_often"


def test_third_challenge_that_is_not_stale_is_wrong_credentials(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    for nonce in ("n1", "n2", "n3"):
        registrar.answer(registrar.asked(), 401, challenge(DOMAIN, nonce, AUTH))
    assert whence.wait_state(registrar.trunk_id, "auth_failed")["reason"] == "wrong_credentials"
    assert registrar.asks_no_more()


def test_what_is_unregistered_is_challenged_and_answered_too(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    registrar.answer(registrar.asked(), 401, challenge(DOMAIN, "n1", AUTH))
    registrar.granted()
    registrar.change(enabled=False)
    asked = registrar.asked()
    assert expires_asked(asked) == 0
    assert [one["nc"] for one in credentials(asked)] == ["00000002"]
    registrar.answer(asked, 401, challenge(DOMAIN, "n2", AUTH))
    asked = registrar.asked()
    assert expires_asked(asked) == 0
    assert all(map(proves, credentials(asked)))
    registrar.answer(asked, 200)
    whence.wait_state(registrar.trunk_id, "unregistered")
