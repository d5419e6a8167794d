"""Kamailio as the second parser: it reads generated headers as core/sip does.

Kamailio's registrar lists the Contacts that it read in its 200, with their times. Its
pseudo-variables give From, To and CSeq. Mutated headers may be invalid for one of the two parsers;
a header that both accept has one reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testkit import sip_grammar as grammar
from testkit.network import SIP_PORT, Network
from testkit.provider import start_kamailio
from testkit.sip import Address, Endpoint, Message
from testkit.sip_grammar import WrittenContact, WrittenUri
from testkit.wait import eventually
from whence.core.sip.contact import Contact, listed
from whence.core.sip.grammar import parse_cseq
from whence.core.sip.message import Message as CoreMessage
from whence.core.sip.uri import Uri

CONFIG = """#!KAMAILIO
listen=udp:{ip}:{port}
children=1
disable_tcp=yes
log_stderror=yes
debug=-1
auto_aliases=no
loadmodule "kex.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "default_expires", {default_s})
modparam("registrar", "max_expires", 0)
modparam("registrar", "min_expires", 0)
modparam("registrar", "max_contacts", 0)

request_route {{
	if (is_method("REGISTER")) {{
		save("location");
		exit;
	}}
	append_to_reply("X-From: $fU|$fd|$(fu{{uri.port}})|\\r\\n");
	append_to_reply("X-To: $tU|$td|$(tu{{uri.port}})|\\r\\n");
	append_to_reply("X-CSeq: $cs $rm\\r\\n");
	sl_send_reply("200", "OK");
}}
"""

DEFAULT_S = 777_777
"""Kamailio's time of a Contact without `expires`."""

EXAMPLES = 40


class Kamailio:
    """A Kamailio that answers with its own reading of a request."""

    def __init__(self, address: Address, client: Endpoint) -> None:
        self._address = address
        self._client = client
        self._numbers = count(1)

    def ask(self, method: str, *lines: str, **replaced: str) -> Message | None:
        """Send a request with further header lines; return the answer, or None if it gets none."""
        number = next(self._numbers)
        headers = {
            "Via": f"SIP/2.0/UDP {self._client.address[0]}:{self._client.address[1]}"
            f";branch=z9hG4bK{number}",
            "From": "<sip:a@b>;tag=1",
            "To": f"<sip:user{number}@{self._address[0]}>",
            "Call-ID": f"call{number}",
            "CSeq": f"1 {method}",
            "Max-Forwards": "70",
        } | replaced
        text = [f"{method} sip:{self._address[0]} SIP/2.0"]
        text += [f"{name}: {value}" for name, value in headers.items()]
        data = "\r\n".join([*text, *lines, "Content-Length: 0", "", ""])
        self._client.send(data.encode("utf-8", "surrogateescape"), self._address)
        # Kamailio may drop the request. It has one worker: a second answer comes after the first.
        self._client.send(_fence(self._client, number).encode(), self._address)
        answers = [self._client.receive()]
        while answers[-1].call_id != f"fence{number}":
            answers.append(self._client.receive())
        return answers[0] if len(answers) > 1 else None

    def contacts(self, lines: list[str]) -> list[tuple[str, int]] | None:
        """Return (URI as written, seconds) of all Contacts; None if Kamailio refuses them."""
        answer = self.ask("REGISTER", *lines)
        if answer is None or answer.status != 200:
            return None
        values = [value for one in answer.all("Contact") for value in one.split(", <")]
        found = [re.search(r"<?([^<>]*)>;(?:q=[\d.]+;)?expires=(\d+)", value) for value in values]
        return sorted((one[1], int(one[2])) for one in found if one is not None)


def _fence(client: Endpoint, number: int) -> str:
    ip, port = client.address
    return (
        f"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP {ip}:{port};branch=z9hG4bKf{number}\r\n"
        f"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: fence{number}\r\nCSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n"
    )


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    folder = tmp_path_factory.mktemp("grammar")
    config = folder / "kamailio.cfg"
    with Network() as network, Endpoint(network.ip("client")) as client:
        ip = network.ip("kamailio")
        config.write_text(CONFIG.format(ip=ip, port=SIP_PORT, default_s=DEFAULT_S))
        with start_kamailio("grammar", config, folder):
            started = Kamailio((ip, SIP_PORT), client)

            def answers() -> bool:
                client.send(_fence(client, 0), (ip, SIP_PORT))
                return client.receive(within_s=0.3).status == 200

            eventually(answers, what="Kamailio's answer")
            client.waiting()
            yield started


def core_contacts(lines: list[str]) -> list[Contact]:
    """Return the Contacts of these header lines as core/sip reads them."""
    head = "\r\n".join(["SIP/2.0 200 OK", *lines])
    values = CoreMessage(f"{head}\r\n\r\n").fields().get("contact", [])
    return [one for value in values for one in listed(value)]


def same(core: list[Contact], second: list[tuple[str, int]]) -> bool:
    """Return whether two readings have the same URIs and times; a second may have passed."""
    ours = sorted(
        (_key(one.uri), DEFAULT_S if one.expires_s is None else one.expires_s)
        for one in core
        if one.expires_s != 0
    )
    theirs = sorted((_key(Uri.parse(text)), seconds) for text, seconds in second)
    return [key for key, _ in ours] == [key for key, _ in theirs] and all(
        abs(one - other) <= 5 for (_, one), (_, other) in zip(ours, theirs, strict=True)
    )


def _key(uri: Uri | None) -> tuple[str, str, int]:
    return ("", "", 0) if uri is None else (uri.user, uri.host, uri.port or 0)


SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def distinct(generated: tuple[list[str], list[WrittenContact]]) -> bool:
    """Return whether no two Contacts are one for Kamailio, and each has a time that it keeps.

    Two Contacts with the same `+sip.instance` are one phone for Kamailio.
    """
    if "\n".join(generated[0]).count("+sip.instance") > 1:
        return False
    uris = [(one.uri.user, one.uri.host, one.uri.port) for one in generated[1]]
    return len(set(uris)) == len(uris) and all(
        one.expires_s is None or one.expires_s > 60 for one in generated[1]
    )


HEADERS = grammar.contact_headers(folds=False, escapes=False)
"""Without escapes in quotes: Kamailio 5.6.3 misreads what follows them.

It ends a quoted parameter at an escaped quote, and no display name at an escaped backslash.
"""


@pytest.mark.slow
def test_contacts_generated_are_read_as_kamailio_reads_them(kamailio: Kamailio) -> None:
    compared = 0

    @SETTINGS
    @given(HEADERS.filter(distinct))
    def compare(generated: tuple[list[str], list[WrittenContact]]) -> None:
        nonlocal compared
        lines, written = generated
        second, core = kamailio.contacts(lines), core_contacts(lines)
        assert [one.uri.host for one in core] == [one.uri.host for one in written]
        if second is not None:  # Kamailio refuses some valid headers
            compared += 1
            assert same(core, second), (lines, core, second)

    compare()
    assert compared > EXAMPLES // 2


@pytest.mark.slow
@SETTINGS
@given(HEADERS.filter(distinct), st.integers(0, 2**32))
def test_contacts_mutated_have_no_second_reading(
    kamailio: Kamailio, generated: tuple[list[str], list[WrittenContact]], seed: int
) -> None:
    dice, lines = Random(seed), list(generated[0])
    number = dice.randrange(len(lines))
    name, colon, value = lines[number].partition(":")
    at = dice.randrange(len(value) + 1)
    piece = dice.choice(["", '"', "\\", "<", ">", ",", ";", "=", "expires", '\\"', "@", " "])
    lines[number] = name + colon + value[:at] + piece + value[at + dice.randrange(2) :]
    second, core = kamailio.contacts(lines), core_contacts(lines)
    if second is not None and all(one.uri.scheme for one in core):
        assert same(core, second), (lines, core, second)


@pytest.mark.slow
@SETTINGS
@given(
    grammar.name_addrs(folds=False, escapes=False).filter(lambda one: bool(one[1].user)),
    grammar.name_addrs(folds=False, escapes=False).filter(lambda one: bool(one[1].user)),
    grammar.cseqs(folds=False),
)
def test_from_to_and_cseq_are_read_as_kamailio_reads_them(
    kamailio: Kamailio,
    from_: tuple[str, WrittenUri],
    to: tuple[str, WrittenUri],
    cseq: tuple[str, int, str],
) -> None:
    number, method = f"{cseq[0].split()[0]} OPTIONS", "OPTIONS"
    answer = kamailio.ask(method, **{"From": f"{from_[0]};tag=1", "To": to[0], "CSeq": number})
    assert answer is not None and answer.status == 200, (from_, to, cseq)
    for name, (text, _) in (("X-From", from_), ("X-To", to)):
        uri = Uri.of_header(text)
        assert uri is not None
        user, host, port = answer[name].split("|")[:3]
        if host == "<null>":  # Kamailio refuses the header
            continue
        read = Uri.parse(f"sip:{user}@{host}:{port}" if port else f"sip:{user}@{host}")
        assert (_key(read)[:2], port) == (_key(uri)[:2], str(uri.port or port)), answer[name]
    digits, method = answer["X-CSeq"].split()
    assert parse_cseq(number) == (int(digits), method)
