"""Answering a challenge: HTTP digest as SIP uses it."""

import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.digest import Challenge, Credentials, answerable, authorization, ha1
from whence.core.sip.secret import Secret

MUFASA = Credentials("Mufasa", Secret("Circle of Life"))

# RFC 7616 3.9.1
RFC_7616_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
RFC_7616_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RFC_7616_OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


def rfc_7616(algorithm: str) -> Challenge:
    return Challenge(
        "http-auth@example.org",
        RFC_7616_NONCE,
        algorithm,
        ("auth", "auth-int"),
        RFC_7616_OPAQUE,
    )


def fields(header: str) -> dict[str, str]:
    """Read an Authorization header back: a parser of its own, with the RFC's quoting."""
    assert header.startswith("Digest ")
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^",\s]+)(?:, |$)', header[len("Digest ") :])
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    return {
        name: re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        for name, value in pairs
    }


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_come_out(algorithm: str, response: str) -> None:
    header = authorization(
        rfc_7616(algorithm), MUFASA, "GET", "/dir/index.html", 1, RFC_7616_CNONCE
    )
    assert fields(header) == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": RFC_7616_NONCE,
        "nc": "00000001",
        "cnonce": RFC_7616_CNONCE,
        "qop": "auth",
        "response": response,
        "opaque": RFC_7616_OPAQUE,
    }


def test_the_example_of_rfc_2617_comes_out() -> None:
    challenge = Challenge(
        "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=("auth", "auth-int")
    )
    credentials = Credentials("Mufasa", Secret("Circle Of Life"))
    header = authorization(challenge, credentials, "GET", "/dir/index.html", 1, "0a4f113b")
    assert fields(header)["response"] == "6629fae49393a05397450978507c4ef1"


def test_without_qop_the_example_of_rfc_2069_comes_out_and_no_count_is_sent() -> None:
    # With the response of its erratum 749: the one printed is wrong.
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
    credentials = Credentials("Mufasa", Secret("CircleOfLife"))
    said = fields(authorization(challenge, credentials, "GET", "/dir/index.html", 1, "unused"))
    assert said["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert not {"qop", "nc", "cnonce", "opaque"} & said.keys()


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_an_ha1_answers_as_its_password_does(algorithm: str) -> None:
    known = ha1(algorithm, "Mufasa", "http-auth@example.org", Secret("Circle of Life"))
    by_ha1 = Credentials("Mufasa", None, ((algorithm, Secret(known)),))
    by_password, by_its_ha1 = (
        authorization(rfc_7616(algorithm), who, "REGISTER", "sip:provider.example", 9, "cnonce")
        for who in (MUFASA, by_ha1)
    )
    assert by_its_ha1 == by_password


def test_each_use_of_a_nonce_counts_in_eight_hex_digits() -> None:
    said = fields(authorization(rfc_7616("MD5"), MUFASA, "REGISTER", "sip:x", 26, "c"))
    assert said["nc"] == "0000001a"


def test_of_several_challenges_the_strongest_is_answered_whatever_their_order() -> None:
    md5, sha = rfc_7616("MD5"), rfc_7616("SHA-256")
    assert answerable([md5, sha], MUFASA) == (sha,)
    assert answerable([sha, md5], MUFASA) == (sha,)


def test_with_nothing_but_an_md5_ha1_the_md5_challenge_is_answered() -> None:
    only_md5 = Credentials("Mufasa", None, (("MD5", Secret("0" * 32)),))
    assert answerable([rfc_7616("SHA-256"), rfc_7616("MD5")], only_md5) == (rfc_7616("MD5"),)
    assert answerable([rfc_7616("SHA-256")], only_md5) == ()


@pytest.mark.parametrize("algorithm", ["SHA-512", "MD5-sess-sess", "AKAv1-MD5", "", "MD5 "])
def test_an_algorithm_that_is_not_known_is_passed_over(algorithm: str) -> None:
    assert answerable([rfc_7616(algorithm)], MUFASA) == ()
    assert answerable([rfc_7616(algorithm), rfc_7616("MD5")], MUFASA) == (rfc_7616("MD5"),)


def test_the_name_of_an_algorithm_is_read_in_any_case_and_repeated_as_it_came() -> None:
    assert answerable([rfc_7616("md5")], MUFASA) == (rfc_7616("md5"),)
    said = fields(authorization(rfc_7616("md5"), MUFASA, "GET", "/dir/index.html", 1, "c"))
    assert said["algorithm"] == "md5"


def test_sha_512_256_is_not_a_truncated_sha_512() -> None:
    """RFC 7616 3.9.2, with the response that erratum 4897 corrects."""
    challenge = Challenge(
        "api@example.org",
        "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        "SHA-512-256",
        ("auth",),
        "HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS",
    )
    jason = Credentials("J\u00e4s\u00f8n Doe", Secret("Secret, or not?"))
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    said = fields(authorization(challenge, jason, "GET", "/doe.json", 1, cnonce))
    assert said["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


@pytest.mark.parametrize("qop", [(), ("auth",)])
def test_of_a_session_nonce_and_cnonce_are_in_the_first_hash(qop: tuple[str, ...]) -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    challenge = Challenge("r", "n", "MD5-sess", qop)
    said = fields(authorization(challenge, MUFASA, "REGISTER", "sip:x", 1, "c"))
    a1 = md5(md5("Mufasa:r:Circle of Life") + ":n:c")
    middle = "n:00000001:c:auth" if qop else "n"
    assert said["response"] == md5(f"{a1}:{middle}:{md5('REGISTER:sip:x')}")
    assert (said["cnonce"], said["algorithm"]) == ("c", "MD5-sess")


def test_each_realm_is_answered_with_its_strongest() -> None:
    sha, md5 = rfc_7616("SHA-256"), rfc_7616("MD5")
    proxy = replace(md5, proxy=True, realm="proxy.example")
    assert answerable([md5, proxy, sha], MUFASA) == (sha, proxy)


def test_a_protection_other_than_auth_is_passed_over() -> None:
    assert answerable([Challenge("r", "n", qop=("auth-int",))], MUFASA) == ()


def test_a_challenge_without_nonce_is_passed_over() -> None:
    assert answerable([Challenge("r", "")], MUFASA) == ()


def test_where_a_realm_is_given_no_other_realm_gets_a_response_to_guess_from() -> None:
    pinned = Credentials("acct1", Secret("secret"), realm="provider.example")
    own, foreign = Challenge("provider.example", "n"), Challenge("elsewhere.example", "n")
    assert answerable([foreign, own], pinned) == (own,)
    assert answerable([foreign], pinned) == ()


def test_quotes_and_backslashes_are_escaped_and_nothing_breaks_out_of_its_field() -> None:
    challenge = Challenge('a"b\\c", stale=true', 'n"', opaque='\\"')
    credentials = Credentials('me", realm="x\\', Secret("s"))
    said = fields(authorization(challenge, credentials, "REGISTER", "sip:x", 1, "c"))
    assert said["username"] == credentials.user
    assert (said["realm"], said["nonce"], said["opaque"]) == (
        challenge.realm,
        challenge.nonce,
        challenge.opaque,
    )
    assert "stale" not in said


NO_BREAKS = st.text(st.characters(exclude_categories=("Cc", "Cs")))


@given(realm=NO_BREAKS, nonce=NO_BREAKS, opaque=NO_BREAKS, user=NO_BREAKS)
def test_whatever_a_challenge_says_is_said_back_unchanged(
    realm: str, nonce: str, opaque: str, user: str
) -> None:
    challenge = Challenge(realm, nonce, opaque=opaque)
    credentials = Credentials(user, Secret("s"))
    said = fields(authorization(challenge, credentials, "REGISTER", "sip:x", 1, "c"))
    assert (said["realm"], said["nonce"], said["opaque"], said["username"]) == (
        realm,
        nonce,
        opaque,
        user,
    )


def test_a_secret_is_never_seen() -> None:
    credentials = Credentials("u", Secret("hunter2"), (("MD5", Secret("c0ffee")),), "r")
    for seen in (repr(credentials), str(credentials), f"{credentials}", repr(Secret("hunter2"))):
        assert "hunter2" not in seen and "c0ffee" not in seen
    assert str(Secret("hunter2")) == "***"
    assert f"{Secret('hunter2')}" == "***"
    assert Secret("hunter2").reveal() == "hunter2"
