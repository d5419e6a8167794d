"""Digest authentication to a registrar.

The verifiers share no code with Whence: SIPp, a second Kamailio, and RFC 7616 in `registrar.py`.
"""

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
    are_valid,
    challenge,
    credentials,
    new_registrar,
    requested_s,
)
from tests.system.scene import ALICE, place

AUTH = 'qop="auth"'
SHA_256, SHA_512_256 = "algorithm=SHA-256", "algorithm=SHA-512-256"
MD5 = "algorithm=MD5"


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


def new_provider(rig: Rig, whence: Whence, digest: Digest, **more: object) -> tuple[Provider, str]:
    """Start a provider with this challenge, and add a trunk there; return it and the trunk's id."""
    name = f"kamailio-{len(whence.trunks)}"
    provider = rig.provider(name, accounts={"acct1": PASSWORD}, challenge=digest)
    table = {**trunk(name, provider, "acct1", ALICE), **more}
    add(whence, {key: value for key, value in table.items() if value is not None})
    return provider, name


def register_again(whence: Whence, provider: Provider, name: str, expires: int) -> None:
    """Change `expires` so that the trunk registers again, and wait for the grant."""
    trunks = [{**t, "expires": expires} if t["id"] == name else t for t in whence.trunks]
    whence.edit(trunks=trunks)
    whence.reload()
    eventually(lambda: whence.trunk(name)["granted_s"] == expires, what="the new grant")


# Verified by SIPp.


@pytest.mark.parametrize("qop", [True, False], ids=["qop=auth", "no qop"])
def test_response_is_valid_for_sipp(shared_rig: Rig, whence: Whence, qop: bool) -> None:
    name = f"verifier-{len(whence.trunks)}"
    verifier = shared_rig.verifier(name, user="acct1", password=PASSWORD, qop=qop)
    add(whence, sipp_trunk(name, place(verifier.address), PASSWORD))
    whence.wait_registered(name)
    assert verifier.process.wait(10) == 0


def test_response_to_a_wrong_password_fails_at_sipp(shared_rig: Rig, whence: Whence) -> None:
    """Without this the test above would prove nothing."""
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


# Verified by a second Kamailio.


@pytest.mark.parametrize("secret", ["password", "ha1"])
@pytest.mark.parametrize("qop", [True, False], ids=["qop=auth", "no qop"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_response_is_valid_for_kamailio(
    shared_rig: Rig, whence: Whence, algorithm: str, qop: bool, secret: str
) -> None:
    key = algorithm.lower().replace("-", "")
    ha1 = hashlib.new(key, f"acct1:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
    more = {"password": None, "ha1": {key: ha1}} if secret == "ha1" else {}
    provider, name = new_provider(
        shared_rig,
        whence,
        Digest(algorithm, qop),  # type: ignore[arg-type]
        **more,
    )
    whence.wait_registered(name)
    first, second = provider.registers()
    assert (first.auth_param("nonce"), second.auth_param("algorithm")) == (None, algorithm)
    assert second.auth_param("qop") == ("auth" if qop else None)


@pytest.mark.parametrize(("algorithm", "stored"), [("SHA-256", "md5"), ("MD5", "sha256")])
def test_ha1_of_another_algorithm_is_auth_failed(
    shared_rig: Rig, whence: Whence, algorithm: str, stored: str
) -> None:
    ha1 = hashlib.new(stored, f"acct1:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
    more = {"password": None, "ha1": {stored: ha1}}
    provider, name = new_provider(shared_rig, whence, Digest(algorithm), **more)  # type: ignore[arg-type]
    details = whence.wait_state(name, "auth_failed")
    assert details["reason"] == "no_usable_challenge"
    assert f"{algorithm} for realm {DOMAIN}" in details["message"]
    assert len(provider.registers()) == 1


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_wrong_password_is_auth_failed(shared_rig: Rig, whence: Whence, algorithm: str) -> None:
    digest = Digest(algorithm)  # type: ignore[arg-type]
    _, name = new_provider(shared_rig, whence, digest, password="another")
    assert whence.wait_state(name, "auth_failed")["reason"] == "wrong_credentials"


def test_nonce_is_reused_with_a_count_and_no_replay(shared_rig: Rig, whence: Whence) -> None:
    provider, name = new_provider(shared_rig, whence, Digest(uses="counted"))
    whence.wait_registered(name)
    for expires in (1800, 900):
        register_again(whence, provider, name, expires)
    seen = provider.registers()
    assert [one.auth_param("nc") for one in seen] == [None, "00000001", "00000002", "00000003"]
    assert len({one.auth_param("nonce") for one in seen[1:]}) == 1
    assert len({one.auth_param("cnonce") for one in seen[1:]}) == 3

    replayer = shared_rig.endpoint(f"replays-to-{name}")
    replay = request(
        "REGISTER",
        f"sip:{DOMAIN}",
        replayer.address,
        from_uri=f"sip:acct1@{DOMAIN}",
        to_uri=f"sip:acct1@{DOMAIN}",
        contact=f"<sip:thief@{place(replayer.address)}>",
        headers=[("Authorization", seen[-1].authorization), ("Expires", "60")],
    )
    assert replayer.ask(replay, provider.address).status == 401
    assert len(provider.contacts("acct1")) == 1


def test_nonce_valid_once_costs_a_challenge_and_no_failure(shared_rig: Rig, whence: Whence) -> None:
    provider, name = new_provider(shared_rig, whence, Digest(uses="once"))
    whence.wait_registered(name)
    register_again(whence, provider, name, 1800)
    nonces = [one.auth_param("nonce") for one in provider.registers()]
    assert len(nonces) == 4
    assert nonces[1] == nonces[2] != nonces[3]
    assert [one.auth_param("nc") for one in provider.registers()][3] == "00000001"
    assert whence.trunk(name)["failures"] == 0


def test_nonce_expired_is_replaced_without_a_failure(shared_rig: Rig, whence: Whence) -> None:
    provider, name = new_provider(shared_rig, whence, Digest(nonce_s=1), expires=4)
    whence.wait_registered(name)
    eventually(lambda: len(provider.registers()) >= 4, what="a refresh, with a new challenge")
    whence.wait_registered(name)
    details, seen = whence.trunk(name), provider.registers()
    assert (details["failures"], details["last_status"]) == (0, 200)
    assert seen[1].auth_param("nonce") == seen[2].auth_param("nonce") != seen[3].auth_param("nonce")
    assert "expired" not in whence.log


# Verified by RFC 7616 in `registrar.py`: challenges that Kamailio cannot send.


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
def test_strongest_supported_challenge_is_answered(
    shared_rig: Rig, whence: Whence, offered: list[list[str]], answered: str
) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    offers = [challenge(DOMAIN, f"n{n}", *more) for n, more in enumerate(offered)]
    registrar.answer(register, 401, *offers)
    (given,) = credentials(registrar.granted())
    assert given["algorithm"] == answered
    assert are_valid({**given, "algorithm": answered.replace("sha", "SHA")})
    assert given["uri"] == f"sip:{DOMAIN}"
    if "opaque" in offered[0][-1]:
        assert given["opaque"] == 'o,p=\\"q'


def test_challenges_in_one_header_line_are_split(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    name, md5 = challenge(DOMAIN, "n1", MD5, AUTH)
    _, sha = challenge(DOMAIN, "n2", SHA_256, AUTH)
    registrar.answer(registrar.next_register(), 401, (name, f'Basic realm="x", {md5}, {sha}'))
    (given,) = credentials(registrar.granted())
    assert (given["algorithm"], given["nonce"]) == ("SHA-256", "n2")
    assert are_valid(given)


def test_proxy_and_registrar_challenges_are_both_answered(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    both = challenge("proxy.example", "p", AUTH, proxy=True), challenge(DOMAIN, "w", SHA_256)
    registrar.answer(registrar.next_register(), 407, *both)
    register = registrar.granted()
    (to_proxy,) = credentials(register, "Proxy-Authorization")
    (to_registrar,) = credentials(register)
    assert (to_proxy["realm"], to_registrar["realm"]) == ("proxy.example", DOMAIN)
    assert are_valid(to_proxy) and are_valid(to_registrar)


def test_registrar_challenge_after_a_proxys_is_answered(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    registrar.answer(
        registrar.next_register(), 407, challenge("proxy.example", "p", AUTH, proxy=True)
    )
    register = registrar.next_register()
    assert all(map(are_valid, credentials(register, "Proxy-Authorization")))
    registrar.answer(register, 401, challenge(DOMAIN, "w", AUTH))
    register = registrar.granted()
    (to_proxy,) = credentials(register, "Proxy-Authorization")
    (to_registrar,) = credentials(register)
    assert (to_proxy["nc"], to_registrar["nc"]) == ("00000002", "00000001")
    assert are_valid(to_proxy) and are_valid(to_registrar)


def test_challenges_of_two_realms_are_both_answered(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    two = challenge("one.example", "n1", AUTH), challenge("two.example", "n2", SHA_256, AUTH)
    registrar.answer(registrar.next_register(), 401, *two)
    given = credentials(registrar.granted())
    assert {one["realm"] for one in given} == {"one.example", "two.example"}
    assert all(map(are_valid, given))


def test_pinned_realm_alone_gets_a_response(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, realm=DOMAIN)
    two = challenge("thief.example", "n1", SHA_256), challenge(DOMAIN, "n2", MD5)
    registrar.answer(registrar.next_register(), 401, *two)
    (given,) = credentials(registrar.granted())
    assert (given["realm"], given["algorithm"]) == (DOMAIN, "MD5")
    assert are_valid(given)


def test_foreign_realm_gets_no_response(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, realm=DOMAIN)
    registrar.answer(registrar.next_register(), 401, challenge("thief.example", "n1"))
    details = whence.wait_state(registrar.trunk_id, "auth_failed")
    assert details["reason"] == "no_usable_challenge"
    assert "MD5 for realm thief.example" in details["message"]
    assert registrar.sent_no_more()


def test_response_without_qop_has_no_count_and_no_cnonce(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    registrar.answer(registrar.next_register(), 401, challenge(DOMAIN, "n1"))
    (given,) = credentials(registrar.granted())
    assert not {"qop", "nc", "cnonce"} & given.keys()
    assert are_valid(given)


def test_stale_nonces_five_in_a_row_end_the_attempt(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    for n in range(1, 5):
        register = registrar.next_register()
        registrar.answer(register, 401, challenge(DOMAIN, f"n{n}", AUTH, "stale=TRUE"))
    register = registrar.next_register()
    assert all(map(are_valid, credentials(register)))
    registrar.answer(register, 401, challenge(DOMAIN, "n5", AUTH, "stale=TRUE"))
    details = whence.wait_state(registrar.trunk_id, "waiting")
    assert details["reason"] == "challenged_too_often"


def test_third_challenge_not_stale_is_auth_failed(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    for nonce in ("n1", "n2", "n3"):
        registrar.answer(registrar.next_register(), 401, challenge(DOMAIN, nonce, AUTH))
    assert whence.wait_state(registrar.trunk_id, "auth_failed")["reason"] == "wrong_credentials"
    assert registrar.sent_no_more()


def test_unregister_challenge_is_answered(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    registrar.answer(registrar.next_register(), 401, challenge(DOMAIN, "n1", AUTH))
    registrar.granted()
    registrar.change(enabled=False)
    register = registrar.next_register()
    assert requested_s(register) == 0
    assert [one["nc"] for one in credentials(register)] == ["00000002"]
    registrar.answer(register, 401, challenge(DOMAIN, "n2", AUTH))
    register = registrar.next_register()
    assert requested_s(register) == 0
    assert all(map(are_valid, credentials(register)))
    registrar.answer(register, 200)
    whence.wait_state(registrar.trunk_id, "unregistered")
