"""Which hosts `uri==myself` accepts, by rules that were tried on Kamailio 5.6.3."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.unit.agent.dropin.existing_cfg import cfg_of
from whence.agent.dropin.own_addresses import HostPort, OwnAddresses, own_addresses

LISTEN = "auto_aliases=no\nlisten=udp:192.0.2.9:5060\nlisten=tcp:192.0.2.9:5070\n"


def own(folder: Path, text: str, *options: str, domains: tuple[str, ...] = ()) -> OwnAddresses:
    return own_addresses(cfg_of(folder, text), ["kamailio", *options], domains)


def place(text: str) -> HostPort:
    found = HostPort.parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        (
            LISTEN,
            ["192.0.2.9", "192.0.2.9:5060", "192.0.2.9:5070"],
            ["192.0.2.9:5099", "192.0.2.8"],
        ),
        (
            LISTEN + 'alias="a.example"\n',
            ["a.example", "A.EXAMPLE", "a.example:5099"],
            ["b.example"],
        ),
        (LISTEN + "alias=a.example b.example\n", ["a.example", "b.example"], ["example"]),
        (
            LISTEN + "alias=udp:a.example:5070\n",
            ["a.example", "a.example:5070"],
            ["a.example:5071"],
        ),
        # Kamailio reads no port in a quoted alias.
        (LISTEN + 'alias="a.example:5060"\n', [], ["a.example", "a.example:5060"]),
        (
            LISTEN.replace(":5060", ":5060 advertise 203.0.113.9:5080"),
            ["203.0.113.9", "203.0.113.9:5080"],
            ["203.0.113.9:5060"],
        ),
        (LISTEN + 'advertised_address="203.0.113.9"\n', [], ["203.0.113.9"]),
        ("auto_aliases=no\nlisten=udp:0.0.0.0:5060\n", ["0.0.0.0"], ["127.0.0.1"]),
        ("auto_aliases=no\nlisten=udp:lo:5060\n", ["127.0.0.1"], ["127.0.0.2"]),
        ("auto_aliases=no\nlisten=udp:localhost:5060\n", ["localhost", "127.0.0.1"], ["127.0.0.2"]),
        (
            "auto_aliases=no\nlisten=[2001:db8::9]:5060\n",
            ["[2001:DB8:0::9]:5060"],
            ["[2001:db8::8]"],
        ),
        ("auto_aliases=no\n", ["127.0.0.1"], ["192.0.2.9", "127.0.0.2", "a.example"]),
    ],
)
def test_has_follows_listen_alias_and_advertise(
    tmp_path: Path, text: str, yes: list[str], no: list[str]
) -> None:
    found = own(tmp_path, text)
    assert [one for one in yes if not found.has(place(one))] == []
    assert [one for one in no if found.has(place(one))] == []


def test_has_reads_options_and_domains(tmp_path: Path) -> None:
    options = ("-l", "udp:192.0.2.9:5060/203.0.113.9:5080", "-ltcp:192.0.2.8")
    found = own(tmp_path, "auto_aliases=no\n", *options, domains=("Dom.example",))
    for text in ("192.0.2.9", "192.0.2.8:5060", "203.0.113.9:5080", "dom.example"):
        assert found.has(place(text))
    assert not found.has(place("192.0.2.7"))


def test_has_a_name_of_reverse_dns_with_auto_aliases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostbyaddr", lambda _: ("Edge.example", [], []))
    assert own(tmp_path, "listen=udp:192.0.2.9:5060\n").has(place("edge.example"))
    assert not own(tmp_path, LISTEN).has(place("edge.example"))


@pytest.mark.parametrize(
    ("text", "contact", "reached"),
    [
        (LISTEN, "192.0.2.9:5060", True),
        (LISTEN, "udp:192.0.2.9:5070", False),
        (LISTEN, "203.0.113.9:5060", False),
        (LISTEN.replace(":5060", ":5060 advertise 203.0.113.9:5080"), "203.0.113.9:5080", True),
        ("listen=udp:0.0.0.0:5060\n", "127.0.0.1:5060", True),
        ("listen=udp:0.0.0.0:5060\n", "127.0.0.1:5061", False),
        ("", "127.0.0.1:5060", True),
        ("", "127.0.0.1:5099", False),
        ("port=5099\n", "127.0.0.1:5099", True),
        ("", "192.0.2.9:5060", False),
    ],
)
def test_listens_needs_a_socket(tmp_path: Path, text: str, contact: str, reached: bool) -> None:
    assert own(tmp_path, text).listens(place(contact)) == reached


@pytest.mark.parametrize(
    ("text", "transports"),
    [
        ("", {"udp", "tcp"}),
        ("disable_tcp=yes\n", {"udp"}),
        ("enable_tls=yes\n", {"udp", "tcp", "tls"}),
        ("listen=udp:192.0.2.9:5060\n", {"udp"}),
        ("listen=192.0.2.9:5060\n", {"udp", "tcp"}),
        ("listen=udp:192.0.2.9:5060 tls:192.0.2.9:5061\nenable_tls=yes\n", {"udp", "tls"}),
    ],
)
def test_transports_are_those_of_sockets(tmp_path: Path, text: str, transports: set[str]) -> None:
    assert own(tmp_path, text).transports == transports


def test_is_unknown_with_a_value_of_the_environment(tmp_path: Path) -> None:
    assert own(tmp_path, "#!defenv MY_IP\nlisten=udp:MY_IP:5060\n").is_unknown
    assert own(tmp_path, "#!defenv MY_NAME\nalias=MY_NAME\n").is_unknown
    assert not own(tmp_path, "#!defenv OTHER\n" + LISTEN).is_unknown


@pytest.mark.parametrize("text", ["", "a b", "192.0.2.9:x", "[::1", "udp:", ":5060"])
def test_parse_of_no_host_is_none(text: str) -> None:
    assert HostPort.parse(text) is None
