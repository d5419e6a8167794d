"""Test SIP text: requests that the agent writes, replies that it reads."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.agent.registration.messages import (
    Received,
    authentication_infos,
    keep_alive,
    options,
    read,
    register,
)
from whence.core.registration.events import Send
from whence.core.registration.model import Account, Reply
from whence.core.sip.challenges import parse_challenges
from whence.core.sip.contact import Contact
from whence.core.sip.digest import AuthenticationInfo, Challenge, Credentials
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import InvalidReplyError

ACCOUNT = Account(
    "sip:acct1@provider.example",
    Uri("sip", "token1", "198.51.100.1", 5060),
    Credentials("acct1", Secret("hunter2")),
    3600,
)
SEND = Send(7, TransportAddress.parse("udp:192.0.2.1:5060"), 3600)
VIA = "SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKabc"


def reply(*headers: str, status: str = "200 OK") -> bytes:
    lines = [
        f"SIP/2.0 {status}",
        "Via: SIP/2.0/UDP 127.0.0.1:40000;rport=40000;branch=z9hG4bKabc",
        "From: <sip:acct1@provider.example>;tag=a",
        "To: <sip:acct1@provider.example>;tag=b",
        "Call-ID: call-1",
        "CSeq: 7 REGISTER",
        *headers,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def contacts(*headers: str) -> list[tuple[str, str, int | None]]:
    """Return (user, host, expires) of each parsed Contact."""
    return [(c.uri.user, c.uri.host, c.expires_s) for c in read(reply(*headers)).reply.contacts]


# Requests.


def test_register_has_exactly_these_lines() -> None:
    written = register(ACCOUNT, SEND, "call-1", VIA, ["X-Whence-Socket: udp:198.51.100.1:5060"])
    assert written.decode().split("\r\n") == [
        "REGISTER sip:provider.example SIP/2.0",
        f"Via: {VIA}",
        "From: <sip:acct1@provider.example>;tag=call-1",
        "To: <sip:acct1@provider.example>",
        "Call-ID: call-1",
        "CSeq: 7 REGISTER",
        "Contact: <sip:token1@198.51.100.1:5060>;expires=3600",
        "Expires: 3600",
        "Max-Forwards: 70",
        "User-Agent: Whence",
        "X-Whence-Socket: udp:198.51.100.1:5060",
        "Content-Length: 0",
        "",
        "",
    ]


def test_register_has_the_port_that_the_operator_wrote() -> None:
    written = register(replace(ACCOUNT, request_port=5080), SEND, "c", VIA, []).decode()
    assert written.startswith("REGISTER sip:provider.example:5080 SIP/2.0\r\n")
    assert "\r\nTo: <sip:acct1@provider.example>\r\n" in written


def test_register_with_headers_adds_and_replaces() -> None:
    further = (("user-agent", "Phone 1"), ("X-Account", "7"))
    for written in (
        register(replace(ACCOUNT, headers=further), SEND, "c", VIA, []).decode(),
        keep_alive(replace(ACCOUNT, headers=further), "c", VIA, []).decode(),
    ):
        assert "\r\nuser-agent: Phone 1\r\nX-Account: 7\r\n" in written
        assert "Whence" not in written


def test_credentials_are_in_the_requested_header() -> None:
    send = SEND._replace(authorizations=(("Proxy-Authorization", "Digest x"),))
    assert b"\r\nProxy-Authorization: Digest x\r\n" in register(ACCOUNT, send, "c", VIA, [])


def test_contact_with_ipv6_has_brackets_and_transport() -> None:
    account = replace(
        ACCOUNT, contact=Uri("sip", "token1", "2001:db8::1", 5060, {"transport": "tcp"})
    )
    written = register(account, SEND, "c", VIA, [])
    assert b"\r\nContact: <sip:token1@[2001:db8::1]:5060;transport=tcp>;expires=3600\r\n" in written


def test_register_that_unregisters_has_expires_0() -> None:
    written = register(ACCOUNT, SEND._replace(expires_s=0), "c", VIA, [])
    assert b";expires=0\r\nExpires: 0\r\n" in written


def test_options_to_the_edge_has_max_forwards_1() -> None:
    lines = options("sip:127.0.0.1:5062", "call-1", 1, VIA, ["X-Whence-Mac: k"]).decode()
    assert lines.startswith("OPTIONS sip:127.0.0.1:5062 SIP/2.0\r\n")
    assert "\r\nMax-Forwards: 1\r\n" in lines
    assert lines.endswith("\r\n\r\n")


# Replies.


def test_read_reply_has_all_fields() -> None:
    received = read(
        reply(
            "Contact: <sip:token1@198.51.100.1:5060>;expires=120",
            "Expires: 3600",
            "Min-Expires: 60",
            "Retry-After: 5 (busy);duration=10",
            "X-Whence-Source: udp:192.0.2.1:5060",
            "X-Whence-Mac: mac",
        )
    )
    assert received == Received(
        branch="z9hG4bKabc",
        call_id="call-1",
        cseq=7,
        method="REGISTER",
        status=200,
        source="udp:192.0.2.1:5060",
        mac="mac",
        reply=Reply(
            status=200,
            reason="OK",
            cseq=7,
            contacts=(Contact(Uri("sip", "token1", "198.51.100.1", 5060), 120),),
            expires_s=3600,
            min_expires_s=60,
            retry_after_s=5,
        ),
        via="SIP/2.0/UDP 127.0.0.1:40000;rport=40000;branch=z9hG4bKabc",
    )
    assert received.via_seen_at == "127.0.0.1:40000"


def test_read_accepts_compact_and_folded_headers() -> None:
    data = (
        b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKabc\r\ni: call-1\r\n"
        b"CSeq: 7\r\n REGISTER\r\nm: <sip:token1@h>;expires=9\r\nl: 0\r\n\r\n"
    )
    received = read(data)
    assert (received.branch, received.call_id, received.method) == (
        "z9hG4bKabc",
        "call-1",
        "REGISTER",
    )
    assert received.reply.contacts[0].expires_s == 9


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (["Contact: <sip:a@h>;expires=5"], [("a", "h", 5)]),
        (["Contact: <sip:a@h>"], [("a", "h", None)]),
        (["Contact: sip:a@h;expires=5"], [("a", "h", 5)]),
        (["Contact: <sip:a@h>;Expires = 5;q=0.1"], [("a", "h", 5)]),
        (["Contact: <sip:a@h>;q=1;expires=5"], [("a", "h", 5)]),
        (["Contact: <sip:a@h;expires=9>;expires=5"], [("a", "h", 5)]),
        (["Contact: <sip:a@h;expires=9>"], [("a", "h", None)]),
        (["Contact: <sip:a@h>;x-expires=9"], [("a", "h", None)]),
        (["Contact: <sip:a@h>;expires=none"], [("a", "h", None)]),
        (["Contact: <sip:a@h>;expires=5, <sip:b@h>;expires=6"], [("a", "h", 5), ("b", "h", 6)]),
        (["Contact: <sip:a@h>", "Contact: <sip:b@h>"], [("a", "h", None), ("b", "h", None)]),
        (["Contact: <sip:a,b@h>;expires=5, <sip:c@h>"], [("a,b", "h", 5), ("c", "h", None)]),
        (['Contact: "Al, \\"x\\" <sip:m@evil>" <sip:a@h>;expires=5'], [("a", "h", 5)]),
        (['Contact: "<sip:m@evil>" <sip:a@h>, <sip:b@h>'], [("a", "h", None), ("b", "h", None)]),
        (["Contact: Al <sip:a@h>;expires=5"], [("a", "h", 5)]),
        (['Contact: <sip:t@h>;expires=30;+sip.instance="<urn:uuid:0>"'], [("t", "h", 30)]),
        (['Contact: <sip:t@h>;q=1;pub-gruu="sip:x;expires=5"'], [("t", "h", None)]),
        (['m : "a\\"b" <sip:j@h> , <sip:t@h>;expires=35'], [("j", "h", None), ("t", "h", 35)]),
        (['CONTACT: <sip:t@h>;\r\n expires\r\n\t= "39"'], [("t", "h", 39)]),
        # An unreadable Contact is in the list, and is not ours.
        (["Contact: *"], [("", "", None)]),
        (["Contact: <sip:a@b@c>"], [("", "", None)]),
        (["Contact:"], []),
    ],
)
def test_read_contacts_in_the_forms_of_registrars(
    headers: list[str], found: list[tuple[str, str, int | None]]
) -> None:
    assert contacts(*headers) == found


@pytest.mark.parametrize("cseq", ["00000007 REGISTER", "7\tREGISTER", "7\r\n REGISTER"])
def test_read_cseq_in_other_forms_is_its_number(cseq: str) -> None:
    received = read(reply().replace(b"7 REGISTER", cseq.encode()))
    assert (received.cseq, received.method) == (7, "REGISTER")


def test_read_limits_huge_times_and_ignores_bad_ones() -> None:
    received = read(reply("Expires: 99999999999999999999", "Min-Expires: soon", "Retry-After: -5"))
    assert received.reply.expires_s == 2**31
    assert received.reply.min_expires_s is None
    assert received.reply.retry_after_s is None


# Challenges.

MD5 = Challenge("r", "n1", "MD5", ("auth",))
SHA = Challenge("r", "n2", "SHA-256", ("auth",))


def test_read_several_challenges_in_one_header() -> None:
    text = (
        'Digest realm="r", nonce="n2", algorithm=SHA-256, qop="auth", '
        'Digest realm="r", nonce="n1", algorithm=MD5, qop="auth"'
    )
    assert parse_challenges(text, proxy=False) == [SHA, MD5]


def test_read_several_challenges_in_several_headers() -> None:
    received = read(
        reply(
            'WWW-Authenticate: Digest realm="r",nonce="n1",algorithm=MD5,qop="auth"',
            'Proxy-Authenticate: Digest realm="r",nonce="n2",algorithm=SHA-256,qop="auth"',
            'WWW-Authenticate: Digest realm="r",nonce="n2",algorithm=SHA-256,qop="auth"',
            status="401 Unauthorized",
        )
    )
    assert received.reply.challenges == (MD5, SHA, replace(SHA, proxy=True))


def test_read_skips_other_schemes_before_digest() -> None:
    digest = 'Digest realm="r", nonce="n1", algorithm=MD5, qop="auth"'
    assert parse_challenges(f'Basic realm="x", {digest}', proxy=False) == [MD5]
    assert parse_challenges(f'{digest}, Bearer realm="x", error="y"', proxy=False) == [MD5]


@pytest.mark.parametrize("scheme", ["Negotiate", "NTLM", "Digest", 'Basic realm="x"', ""])
def test_read_reply_with_invalid_challenge_succeeds(scheme: str) -> None:
    received = read(
        reply(
            f"WWW-Authenticate: {scheme}",
            'WWW-Authenticate: Digest realm="r", nonce="n1", qop="auth"',
            status="401 Unauthorized",
        )
    )
    assert received.reply.challenges == (MD5,)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Digest realm="a, b", nonce="n"', Challenge("a, b", "n")),
        ('Digest realm="Digest realm=x", nonce="n"', Challenge("Digest realm=x", "n")),
        (
            'Digest realm="x, Digest nonce=\\"y\\"", nonce="n"',
            Challenge('x, Digest nonce="y"', "n"),
        ),
        ('Digest realm="a\\"b\\\\c", nonce="n"', Challenge('a"b\\c', "n")),
        ('digest  REALM = "r" ,  Nonce = "n"', Challenge("r", "n")),
        ("Digest realm=r, nonce=n", Challenge("r", "n")),
        ('Digest realm="r", nonce="n", opaque=""', Challenge("r", "n", opaque="")),
        ('Digest realm="r", nonce="n", stale=TRUE', Challenge("r", "n", stale=True)),
        ('Digest realm="r", nonce="n", stale="true"', Challenge("r", "n", stale=True)),
        ('Digest realm="r", nonce="n", stale=false', Challenge("r", "n")),
        (
            'Digest realm="r", nonce="n", qop="auth-int , AUTH"',
            Challenge("r", "n", qop=("auth-int", "auth")),
        ),
        ('Digest realm="r", nonce="n", qop=auth', Challenge("r", "n", qop=("auth",))),
        ('Digest realm="r", nonce="n", nonce="second"', Challenge("r", "n")),
        ('Digest realm="r", nonce="n", algorithm="MD5"', Challenge("r", "n")),
    ],
)
def test_read_challenge_with_quoted_values(text: str, found: Challenge) -> None:
    assert parse_challenges(text, proxy=False) == [found]


@pytest.mark.parametrize(
    "long",
    [
        "x" * 60_000,
        'a="' + '\\"' * 30_000,
        ", " * 30_000,
        "a=" * 30_000,
        'a="' * 20_000,
        " " * 60_000 + "x=1",
    ],
)
def test_read_long_challenge_is_fast_and_empty(long: str) -> None:
    data = reply(f'WWW-Authenticate: Digest realm="r", {long}', status="401 Unauthorized")
    began = time.process_time()
    assert read(data).reply.challenges == ()
    assert time.process_time() - began < 0.5


# The source header.


def test_read_source_header_twice_is_empty() -> None:
    received = read(
        reply(
            "X-Whence-Source: udp:192.0.2.66:5060",
            "X-Whence-Source: udp:192.0.2.1:5060",
            "X-Whence-Mac: one",
            "X-Whence-Mac: two",
        )
    )
    assert (received.source, received.mac) == ("", "")


# Invalid input.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0" * 20,
        b"SIP/2.0",
        b"SIP/2.0 abc OK\r\n\r\n",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 700 High\r\n\r\n",
        b"REGISTER sip:h SIP/2.0\r\nCSeq: 1 REGISTER\r\n\r\n",
        reply().replace(b"7 REGISTER", b"x REGISTER"),
        reply().replace(b"7 REGISTER", b"9" * 5000 + b" REGISTER"),
        reply() + b"x" * 65_536,
        reply(*["X: y"] * 300),
    ],
)
def test_read_of_other_datagrams_raises(data: bytes) -> None:
    with pytest.raises(InvalidReplyError):
        read(data)


def test_read_bytes_not_utf_8_affect_only_their_header() -> None:
    data = reply("Contact: <sip:token1@h>;expires=5", "Server: X").replace(b"Server: X", b"X: \xff")
    assert read(data).reply.contacts[0].expires_s == 5


def test_read_reason_phrase_is_printable_and_short() -> None:
    received = read(reply(status="403 " + "No\x1b[31m\x07 " + "x" * 500))
    assert received.reply.reason.startswith("No[31m x")
    assert len(received.reply.reason) == 200


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_read_any_bytes_raises_only_invalid_reply(data: bytes) -> None:
    for message in (data, b"SIP/2.0 200 OK\r\n" + data):
        try:
            read(message)
        except InvalidReplyError:
            continue


HEADERS = [
    "Via",
    "Call-ID",
    "CSeq",
    "Contact",
    "Expires",
    "Min-Expires",
    "WWW-Authenticate",
    "X-Whence-Source",
    "Content-Length",
]
WORDS = "sip: a@h expires 7 REGISTER Digest realm nonce SIP/2.0/UDP [::1 ] 99999999999999999999 é"
PIECES = st.sampled_from([*'<>"\\,;= \t\0', *WORDS.split()])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(HEADERS), st.lists(PIECES, max_size=12).map("".join)), max_size=8
    )
)
def test_read_any_headers_raises_only_invalid_reply(headers: list[tuple[str, str]]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    try:
        received = read(f"SIP/2.0 200 OK\r\n{lines}\r\n".encode())
    except InvalidReplyError:
        return
    assert all(0 <= (c.expires_s or 0) <= 2**31 for c in received.reply.contacts)


@given(st.text(st.sampled_from('ab\r\n:"'), max_size=20))
def test_register_from_any_challenge_has_no_extra_line(value: str) -> None:
    """Values of a challenge are copied into Authorization; they must not add a header."""
    data = reply(f'WWW-Authenticate: Digest realm="{value}", nonce="{value}", opaque="{value}"')
    try:
        found = read(data).reply.challenges
    except InvalidReplyError:
        return
    for challenge in found:
        for text in (challenge.realm, challenge.nonce, challenge.opaque or ""):
            assert not re.search(r"[\r\n]", text)


@pytest.mark.parametrize("field", ["realm", "nonce", "opaque", "algorithm"])
@pytest.mark.parametrize("bad", ["\x00", "\r", "\x1b[31m", "\x85", "\u2028", "\u202e", "\udcff"])
def test_read_challenge_with_control_characters_is_empty(field: str, bad: str) -> None:
    """Its values are copied into a header of ours, the log and the API."""
    fields = {"realm": "r", "nonce": "n", "opaque": "o", "algorithm": "MD5"}
    text = ", ".join(f'{name}="{value}"' for name, value in fields.items())
    assert len(parse_challenges(f"Digest {text}", proxy=False)) == 1
    fields[field] += bad
    text = ", ".join(f'{name}="{value}"' for name, value in fields.items())
    assert parse_challenges(f"Digest {text}", proxy=False) == []


def test_read_tab_in_a_challenge_is_a_space() -> None:
    (found,) = parse_challenges('Digest\trealm="r",\tnonce="n"', proxy=False)
    assert (found.realm, found.nonce) == ("r", "n")


INFO = 'nextnonce="a, b", qop=auth, rspauth="6629", cnonce="0a\\"4f", nc=00000001'


@pytest.mark.parametrize("proxy", [False, True])
def test_read_rspauth_of_a_reply(proxy: bool) -> None:
    (info,) = authentication_infos([INFO], proxy=proxy)
    assert info == AuthenticationInfo("6629", '0a"4f', "00000001", "auth", proxy)


@pytest.mark.parametrize(
    "values", [[], [""], ["qop=auth"], ["rspauth"], ["x" * 3000], ["rspauth=\0"]]
)
def test_read_reply_without_rspauth_has_no_proof(values: list[str]) -> None:
    assert authentication_infos(values, proxy=False) == []


def test_read_two_rspauths_takes_the_first() -> None:
    (info,) = authentication_infos(["rspauth=1, RSPAUTH=2", "rspauth=3"], proxy=False)
    assert info.rspauth == "1"


@pytest.mark.parametrize(
    ("headers", "expires_s"),
    [
        (["Expires: 3600", "Expires: 60"], 60),
        (["Expires: 60", "expires : 3600"], 60),
        (["Expires: soon", "Expires: 60"], 60),
        (["Expires: 3600;foo"], 3600),
        (["Expires: soon"], None),
        ([], None),
    ],
)
def test_read_of_several_expires_has_the_shortest(
    headers: list[str], expires_s: int | None
) -> None:
    assert read(reply(*headers)).reply.expires_s == expires_s
