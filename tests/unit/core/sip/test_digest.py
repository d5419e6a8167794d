"""Answers to digest challenges, compared with the examples of the RFCs."""

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
    """Parse an Authorization header, independently of the code under test."""
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
def test_authorization_matches_the_examples_of_rfc_7616(algorithm: str, response: str) -> None:
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


def test_authorization_matches_the_example_of_rfc_2617() -> None:
    challenge = Challenge(
        "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=("auth", "auth-int")
    )
    credentials = Credentials("Mufasa", Secret("Circle Of Life"))
    header = authorization(challenge, credentials, "GET", "/dir/index.html", 1, "0a4f113b")
    assert fields(header)["response"] == "6629fae49393a05397450978507c4ef1"


def test_authorization_without_qop_matches_rfc_2069() -> None:
    # The response of erratum 749: the printed one is wrong.
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
    credentials = Credentials("Mufasa", Secret("CircleOfLife"))
    written = fields(authorization(challenge, credentials, "GET", "/dir/index.html", 1, "unused"))
    assert written["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert not {"qop", "nc", "cnonce", "opaque"} & written.keys()


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_authorization_by_ha1_equals_that_by_password(algorithm: str) -> None:
    known = ha1(algorithm, "Mufasa", "http-auth@example.org", Secret("Circle of Life"))
    by_ha1 = Credentials("Mufasa", None, ((algorithm, Secret(known)),))
    by_password, by_its_ha1 = (
        authorization(rfc_7616(algorithm), who, "REGISTER", "sip:provider.example", 9, "cnonce")
        for who in (MUFASA, by_ha1)
    )
    assert by_its_ha1 == by_password


def test_nonce_count_has_eight_hex_digits() -> None:
    written = fields(authorization(rfc_7616("MD5"), MUFASA, "REGISTER", "sip:x", 26, "c"))
    assert written["nc"] == "0000001a"


def test_answerable_picks_the_strongest_in_any_order() -> None:
    md5, sha = rfc_7616("MD5"), rfc_7616("SHA-256")
    assert answerable([md5, sha], MUFASA) == (sha,)
    assert answerable([sha, md5], MUFASA) == (sha,)


def test_answerable_with_an_md5_ha1_picks_md5() -> None:
    only_md5 = Credentials("Mufasa", None, (("MD5", Secret("0" * 32)),))
    assert answerable([rfc_7616("SHA-256"), rfc_7616("MD5")], only_md5) == (rfc_7616("MD5"),)
    assert answerable([rfc_7616("SHA-256")], only_md5) == ()


@pytest.mark.parametrize("algorithm", ["SHA-512", "MD5-sess-sess", "AKAv1-MD5", "", "MD5 "])
def test_answerable_ignores_an_unknown_algorithm(algorithm: str) -> None:
    assert answerable([rfc_7616(algorithm)], MUFASA) == ()
    assert answerable([rfc_7616(algorithm), rfc_7616("MD5")], MUFASA) == (rfc_7616("MD5"),)


def test_algorithm_in_any_case_is_repeated_as_written() -> None:
    assert answerable([rfc_7616("md5")], MUFASA) == (rfc_7616("md5"),)
    written = fields(authorization(rfc_7616("md5"), MUFASA, "GET", "/dir/index.html", 1, "c"))
    assert written["algorithm"] == "md5"


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
    written = fields(authorization(challenge, jason, "GET", "/doe.json", 1, cnonce))
    assert written["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


@pytest.mark.parametrize("qop", [(), ("auth",)])
def test_session_algorithm_hashes_nonce_and_cnonce_into_a1(qop: tuple[str, ...]) -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    challenge = Challenge("r", "n", "MD5-sess", qop)
    written = fields(authorization(challenge, MUFASA, "REGISTER", "sip:x", 1, "c"))
    a1 = md5(md5("Mufasa:r:Circle of Life") + ":n:c")
    middle = "n:00000001:c:auth" if qop else "n"
    assert written["response"] == md5(f"{a1}:{middle}:{md5('REGISTER:sip:x')}")
    assert (written["cnonce"], written["algorithm"]) == ("c", "MD5-sess")


def test_answerable_picks_the_strongest_of_each_realm() -> None:
    sha, md5 = rfc_7616("SHA-256"), rfc_7616("MD5")
    proxy = replace(md5, proxy=True, realm="proxy.example")
    assert answerable([md5, proxy, sha], MUFASA) == (sha, proxy)


def test_answerable_ignores_qop_other_than_auth() -> None:
    assert answerable([Challenge("r", "n", qop=("auth-int",))], MUFASA) == ()


def test_answerable_ignores_a_challenge_without_nonce() -> None:
    assert answerable([Challenge("r", "")], MUFASA) == ()


def test_answerable_with_a_realm_ignores_other_realms() -> None:
    pinned = Credentials("acct1", Secret("secret"), realm="provider.example")
    own, foreign = Challenge("provider.example", "n"), Challenge("elsewhere.example", "n")
    assert answerable([foreign, own], pinned) == (own,)
    assert answerable([foreign], pinned) == ()


def test_authorization_escapes_quotes_and_backslashes() -> None:
    challenge = Challenge('a"b\\c", stale=true', 'n"', opaque='\\"')
    credentials = Credentials('me", realm="x\\', Secret("s"))
    written = fields(authorization(challenge, credentials, "REGISTER", "sip:x", 1, "c"))
    assert written["username"] == credentials.user
    assert (written["realm"], written["nonce"], written["opaque"]) == (
        challenge.realm,
        challenge.nonce,
        challenge.opaque,
    )
    assert "stale" not in written


NO_BREAKS = st.text(st.characters(exclude_categories=("Cc", "Cs")))


@given(realm=NO_BREAKS, nonce=NO_BREAKS, opaque=NO_BREAKS, user=NO_BREAKS)
def test_authorization_repeats_the_challenge_unchanged(
    realm: str, nonce: str, opaque: str, user: str
) -> None:
    challenge = Challenge(realm, nonce, opaque=opaque)
    credentials = Credentials(user, Secret("s"))
    written = fields(authorization(challenge, credentials, "REGISTER", "sip:x", 1, "c"))
    assert (written["realm"], written["nonce"], written["opaque"], written["username"]) == (
        realm,
        nonce,
        opaque,
        user,
    )


def test_secret_is_in_no_repr() -> None:
    credentials = Credentials("u", Secret("hunter2"), (("MD5", Secret("c0ffee")),), "r")
    for seen in (repr(credentials), str(credentials), f"{credentials}", repr(Secret("hunter2"))):
        assert "hunter2" not in seen and "c0ffee" not in seen
    assert str(Secret("hunter2")) == "***"
    assert f"{Secret('hunter2')}" == "***"
    assert Secret("hunter2").reveal() == "hunter2"
