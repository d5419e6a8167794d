"""Loading reports all faults at once, with place and right form, and never shows a secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testkit.certificates import Authority
from whence.agent.config import uris, validators
from whence.agent.config.load import load, targets_without_socket
from whence.agent.config.models import (
    AgentConfig,
    BackoffConfig,
    Config,
    EdgeConfig,
    RegistrationConfig,
    TlsConfig,
)
from whence.agent.config.outbound import (
    LimitsConfig,
    OutboundConfig,
    RouteConfig,
    TrunkOutboundConfig,
)
from whence.agent.config.to_core import node_settings
from whence.agent.config.toml import Table
from whence.agent.config.trunk import Ha1, PinnedNetwork, TrunkConfig, UserConfig
from whence.agent.config.validators import parse_advertised
from whence.agent.provisioning.numbers import account_forms, number_style
from whence.core.sip.digest import ha1
from whence.core.sip.secret import Secret
from whence.core.sip.sockets import AUTO, Advertised
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.errors import ConfigError

EXAMPLE = Path(__file__).parents[4] / "packaging" / "whence.toml"

TRUNK = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
user = "acct1"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
"""

SECRETS = ("hunter2", "topsecret")


def write(folder: Path, text: str) -> Path:
    file = folder / "whence.toml"
    file.write_text(text, encoding="utf-8")
    return file


def loaded(folder: Path, text: str) -> Config:
    return load(write(folder, text))


def faults(folder: Path, text: str) -> list[str]:
    """Return the faults of a file, without the file's name, with which each sentence begins."""
    with pytest.raises(ConfigError) as refused:
        load(write(folder, text))
    found = refused.value.faults
    for shown in (*found, str(refused.value), repr(refused.value)):
        assert not any(secret in shown for secret in SECRETS)
    assert refused.value.__cause__ is None, "the cause would show the content of the file"
    assert str(refused.value) == "\n".join(found)
    assert all(sentence.startswith("whence.toml: ") for sentence in found)
    return [sentence.removeprefix("whence.toml: ") for sentence in found]


# Files with faults, and the exact sentences.

BROKEN = {
    "tables and types": (
        """
[edge]
listen = "udp:127.0.0.1:5060"
domain = 5
workers = "2"
[agent]
on_stop = "stay"
grace = -1
""",
        [
            'edge: listen: is not a list; write ["…"]',
            "edge: domain: is not a text; write it in quotes",
            "edge: workers: is not a whole number; write it without quotes",
            "agent: on_stop: is not a known value; write 'unregister' or 'leave'",
            "agent: grace: is too small; write at least 0",
        ],
    ),
    "sockets": (
        """
[edge]
listen = ["udp:0.0.0.0:5060", "127.0.0.1:5060", 7, "sctp:127.0.0.1:5061", "udp:127.0.0.1:99999"]
agent_socket = "udp:192.0.2.1:5062"
advertise = "192.0.2"
[agent]
api_listen = "0.0.0.0:8088"
nameserver = "dns.example"
""",
        [
            'edge: listen[0]: "udp:0.0.0.0:5060" means every address of the machine; write '
            'the address that providers reach, "udp:192.0.2.1:5060"',
            'edge: listen[1]: "127.0.0.1:5060" is not a socket; write transport:ip:port, '
            '"udp:192.0.2.1:5060"',
            'edge: listen[2]: "7" is not a socket; write transport:ip:port, "udp:192.0.2.1:5060"',
            'edge: listen[3]: "sctp:127.0.0.1:5061" is not a socket; write transport:ip:port, '
            '"udp:192.0.2.1:5060"',
            'edge: listen[4]: "udp:127.0.0.1:99999" is not a socket; write transport:ip:port, '
            '"udp:192.0.2.1:5060"',
            'edge: agent_socket: "udp:192.0.2.1:5062" is not a loopback UDP socket; write '
            '"udp:127.0.0.1:5062"',
            'edge: advertise: "192.0.2" is not an address; write "203.0.113.7", '
            '"203.0.113.7:5060", "[2001:db8::7]:5060", "sip.example.net", or "auto"',
            'agent: api_listen: "0.0.0.0:8088" can be reached from outside, so the API '
            "needs TLS; write api_certificate and api_key, or api_behind_proxy = true if only a "
            'proxy reaches it, or a loopback address, "127.0.0.1:8088"',
            'agent: nameserver: "dns.example" is not ip:port; write "192.0.2.53:53"',
        ],
    ),
    "networks": (
        TRUNK
        + """networks = [
    "10.0.0/8", "198.51.100.7/24", "0.0.0.0/0", "::/0", "0.0.0.0", "239.0.0.0/8", "fe80::1%eth0",
    "10.0.0.0/255.0.0.0", "10.0.0.0/33", "gw.provider.example", 5, "198.051.100.1",
    "::ffff:0.0.0.0/96",
]
""",
        [
            f'trunk "acme": networks[{i}]: "{given}" {rest}'
            for i, (given, rest) in enumerate(
                {
                    "10.0.0/8": 'is not a network; write "10.0.0.0/8"',
                    "198.51.100.7/24": 'has bits beyond its /24; write "198.51.100.0/24", or '
                    '"198.51.100.7" alone',
                    "0.0.0.0/0": "admits more than any provider has; write networks of /8 at the "
                    "widest",
                    "::/0": "admits more than any provider has; write networks of /16 at the "
                    "widest",
                    "0.0.0.0": 'is no host\'s address; write "198.51.100.0/24"',
                    "239.0.0.0/8": 'is no host\'s address; write "198.51.100.0/24"',
                    "fe80::1%eth0": 'is not a network; write "198.51.100.0/24"',
                    "10.0.0.0/255.0.0.0": 'is not in the form ip/length; write "10.0.0.0/8"',
                    "10.0.0.0/33": 'is not a network; write "198.51.100.0/24"',
                    "gw.provider.example": 'is not a network; write "198.51.100.0/24"',
                    "5": 'is not a network; write "198.51.100.0/24" or '
                    '{network = "198.51.100.0/24", port = 5060}',
                    "198.051.100.1": 'is not a network; write "198.51.100.0/24"',
                    "::ffff:0.0.0.0/96": "admits more than any provider has; write networks of "
                    "/8 at the widest",
                }.items()
            )
        ],
    ),
    "keys of a network": (
        TRUNK
        + """networks = [
    {port = 5060},
    {network = "192.0.2.1", port = 0},
    {network = "192.0.2.1", port = "5060"},
    {network = "192.0.2.1", transport = "sctp"},
    {network = "192.0.2.1", expires_at = "2030-01-01T00:00:00"},
    {network = "192.0.2.1", expires_at = 2030-01-01},
    {network = "192.0.2.1", expires_at = "tomorrow"},
    {network = "192.0.2.1", nte = "x"},
    {network = "10/8", note = "\\u0007"},
]
""",
        [
            'trunk "acme": networks[0]: network: is missing; write network = "198.51.100.0/24"',
            'trunk "acme": networks[1]: port: is too small; write at least 1',
            'trunk "acme": networks[2]: port: is not a whole number; write it without quotes',
            'trunk "acme": networks[3]: transport: is not a known value; write '
            "'udp', 'tcp' or 'tls'",
            'trunk "acme": networks[4]: expires_at: "2030-01-01T00:00:00" has no time zone; '
            'write "2030-12-31T18:00:00Z", or +01:00 for Z',
            'trunk "acme": networks[5]: expires_at: "2030-01-01" is not an instant; write '
            '"2030-12-31T18:00:00Z", or +01:00 for Z',
            'trunk "acme": networks[6]: expires_at: "tomorrow" is not an instant; write '
            '"2030-12-31T18:00:00Z", or +01:00 for Z',
            'trunk "acme": networks[7]: nte: unknown key; did you mean "note"?',
            'trunk "acme": networks[8]: network: "10/8" is not a network; write "10.0.0.0/8"',
            'trunk "acme": networks[8]: note: has control characters; write it without them',
        ],
    ),
    "a network twice": (
        TRUNK + 'networks = ["192.0.2.0/24", {network = "192.0.2.0/24", note = "again"}]\n',
        ['trunk "acme": networks: "192.0.2.0/24" occurs 2 times; write it once'],
    ),
    "countries and numbers": (
        '[edge]\ncountry = "uk"\n'
        + TRUNK
        + 'country = "0044"\nnumbers = ["+020 7123 4567"]\n'
        + TRUNK.replace("acme", "bell")
        + "country = 44\n",
        [
            'edge: country: "uk" is not the calling code of a country; write "44"',
            'trunk "acme": numbers[0]: "+020 7123 4567": no country\'s code begins with 0; write '
            '"+442071234567", or without the + as it is dialled in its country, with '
            'country = "44"',
            'trunk "acme": country: "0044" is not the calling code of a country; write "44"',
            'trunk "bell": country: is not a text; write it in quotes',
        ],
    ),
    "calls that name no trunk": (
        TRUNK
        + 'unmatched = "refuse"\nfallback = true\n'
        + TRUNK.replace("acme", "bell")
        + 'unmatched = false\nfallback = "yes"\n',
        [
            'trunk "acme": fallback: contradicts unmatched = "refuse", which refuses calls that '
            "name no trunk; write one of the two",
            "trunk \"bell\": unmatched: is not a known value; write 'accept' or 'refuse'",
            'trunk "bell": fallback: is neither true nor false; write one of them, without quotes',
        ],
    ),
    "no socket": ("[edge]\nlisten = []\n", ["edge: listen: is empty; write at least one"]),
    "the agent socket in listen": (
        '[edge]\nagent_socket = "udp:127.0.0.1:5060"\n',
        [
            'edge: agent_socket: "udp:127.0.0.1:5060" is in listen, too, but is only for the '
            'agent; write another port, "udp:127.0.0.1:5062"'
        ],
    ),
    "a socket twice": (
        '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:127.0.0.1:5060"]\n',
        ["edge: listen: has the same socket twice; write it once"],
    ),
    "TLS without a certificate": (
        '[edge]\nlisten = ["tls:127.0.0.1:5061"]\n',
        [
            'edge: listen: a "tls:" or "wss:" socket needs a certificate; write [edge.tls] with '
            'certificate = "cert.pem" and key = "key.pem"'
        ],
    ),
    "a certificate without its key": (
        '[edge.tls]\ncertificate = "cert.pem"\n',
        ["edge: tls: certificate and key are needed together; write both"],
    ),
    "a TLS registrar without a socket": (
        TRUNK.replace("sip:192.0.2.1", "sip:192.0.2.1;transport=tls"),
        [
            'trunk "acme": registrar: is reached over tls, on which the edge does not listen; add '
            '"tls:ip:port" to edge listen'
        ],
    ),
    "a TCP proxy without a socket": (
        TRUNK + 'proxy = "sip:proxy.example;transport=tcp"\n',
        [
            'trunk "acme": proxy: is reached over tcp, on which the edge does not listen; add '
            '"tcp:ip:port" to edge listen'
        ],
    ),
    "IPv6 servers without a socket": (
        '[edge]\nlisten = ["udp:127.0.0.1:5060", "tcp:[::1]:5060"]\nadvertise = "2001:db8::7"\n'
        + TRUNK.replace("192.0.2.1", "[2001:db8::1]")
        + TRUNK.replace("acme", "bell")
        + 'proxy = "sip:[2001:db8::1];transport=udp"\n'
        + TRUNK.replace("acme", "coil").replace("192.0.2.1", "[2001:db8::1];transport=tcp")
        + TRUNK.replace("acme", "dyer").replace("192.0.2.1", "[2001:db8::1];transport=tls"),
        [
            *(
                f"trunk {trunk}: is reached over udp at an address of IPv6, for which the edge has "
                'no socket; add "udp:[ip]:port" to edge listen'
                for trunk in ('"acme": registrar', '"bell": proxy')
            ),
            'trunk "dyer": registrar: is reached over tls, on which the edge does not listen; add '
            '"tls:[ip]:port" to edge listen',
        ],
    ),
    "an IPv4 registrar without a socket": (
        '[edge]\nlisten = ["udp:[::1]:5060", "tcp:127.0.0.1:5060"]\n'
        + TRUNK
        + TRUNK.replace("acme", "bell").replace("192.0.2.1", "192.0.2.1;transport=tcp"),
        [
            'trunk "acme": registrar: is reached over udp at an address of IPv4, for which the '
            'edge has no socket; add "udp:ip:port" to edge listen'
        ],
    ),
    "an IPv4-mapped registrar without a socket": (
        '[edge]\nlisten = ["udp:[::1]:5060"]\n' + TRUNK.replace("192.0.2.1", "[::ffff:192.0.2.1]"),
        [
            'trunk "acme": registrar: is reached over udp at an address of IPv4, for which the '
            'edge has no socket; add "udp:ip:port" to edge listen'
        ],
    ),
    "an unknown key of TLS": (
        '[edge.tls]\ncert = "cert.pem"\n',
        ["edge: tls: cert: unknown key; known are certificate, key, ca"],
    ),
    "missing keys": (
        '[[trunk]]\nid = "acme"\n[[trunk]]\n[[user]]\n',
        [
            'trunk "acme": registrar: is missing; write registrar = "sip:sip.provider.example"',
            'trunk "acme": user: is missing; write user = "acct1"',
            'trunk "acme": target: is missing; write target = "sip:alice@edge.example"',
            'trunk number 2: id: is missing; write id = "acme"',
            'trunk number 2: registrar: is missing; write registrar = "sip:sip.provider.example"',
            'trunk number 2: user: is missing; write user = "acct1"',
            'trunk number 2: target: is missing; write target = "sip:alice@edge.example"',
            'user number 1: name: is missing; write name = "alice"',
        ],
    ),
    "unknown keys": (
        "[edge]\nlissen = []\n[agnt]\n[zoo]\n" + TRUNK + 'pasword = "topsecret"\n',
        [
            'edge: lissen: unknown key; did you mean "listen"?',
            'trunk "acme": pasword: unknown key; did you mean "password"?',
            'agnt: unknown key; did you mean "agent"?',
            "zoo: unknown key; known are edge, phones, media, agent, registration, trunk, user, "
            "outbound, route",
        ],
    ),
    "keys of an earlier version": (
        """
[edge]
inside = "udp:127.0.0.1:5062"
[agent]
api = "127.0.0.1:8088"
calls = 5
calls_file = ""
state = "/var/lib/whence"
strangers = 5
strangers_alarm = 5
[registration]
answer = 32
refresh = [0.7, 0.8]
refused = [300, 3600]
unreachable = [30, 1800]
wrong_credentials = [600, 86400]
"""
        + TRUNK
        + 'port = "exact"\n',
        [
            "edge: inside: is now agent_socket",
            "agent: api: is now api_listen",
            "agent: calls: is now call_history_size",
            "agent: calls_file: is now call_log_file",
            "agent: state: is now state_dir",
            "agent: strangers: is now unknown_sources_size",
            "agent: strangers_alarm: is now unknown_requests_per_minute_alarm",
            "registration: answer: is now response_timeout",
            "registration: refresh: is now refresh_fraction",
            "registration: refused: is now rejected of [registration.backoff]",
            "registration: unreachable: is now unreachable of [registration.backoff]",
            "registration: wrong_credentials: is now auth_failed of [registration.backoff]",
            'trunk "acme": port: is now match_port; write match_port = true for "exact"',
        ],
    ),
    "single brackets": (
        '[trunk]\nid = "acme"\npassword = "topsecret"\n',
        ["trunk: is not a list of tables; write [[trunk]] above each"],
    ),
    "a trunk's values": (
        """
[[trunk]]
id = "a b"
registrar = "sip.provider.example"
proxy = "sip:192.0.2.1;transport=ws"
user = "acct1@provider.example"
domain = "provider example"
password = "hunter2"
target = "alice"
numbers = ["+44 20 7123", "alice", 5]
expires = 0
enabled = "yes"
""",
        [
            'trunk "a b": id: "a b" is not a name (letters, digits, _ . + -); write "acme"',
            'trunk "a b": registrar: "sip.provider.example" is not a server; write "sip:host", '
            '"sip:host:port" or "sip:host:port;transport=tcp"',
            'trunk "a b": proxy: "sip:192.0.2.1;transport=ws": transport ws is not known; write '
            "udp, tcp or tls",
            'trunk "a b": user: "acct1@provider.example" is not the user of an '
            'address-of-record; write "acct1", or "acct1%40provider.example" if the @ is part of '
            "the user",
            'trunk "a b": domain: "provider example" is not a domain; write "provider.example", '
            '"provider.example:5070" or "[2001:db8::1]"',
            'trunk "a b": expires: is too small; write at least 1',
            'trunk "a b": target: "alice" is not a target; write "sip:alice@edge.example" or '
            '"sip:{number}@192.0.2.9:5060"',
            'trunk "a b": numbers[1]: "alice" is not a number; write "+442071234567"',
            'trunk "a b": numbers[2]: is not a text; write it in quotes',
            'trunk "a b": enabled: is neither true nor false; write one of them, without quotes',
        ],
    ),
    "secrets of the wrong kind": (
        TRUNK.replace('"hunter2"', '{ topsecret = "topsecret" }')
        + """
[[user]]
name = "a"
password = ["topsecret"]
[[user]]
name = "b"
ha1 = "topsecret"
[[user]]
name = "c"
ha1 = { md5 = "topsecret" }
[[user]]
name = "d"
ha1 = { md5 = 5, sha = "topsecret" }
[[user]]
name = "e"
password = "top\\nsecret\\u0000topsecret"
[[user]]
name = "f"
password = ""
""",
        [
            'trunk "acme": password: is not a text; write it in quotes',
            'user "a": password: is not a text; write it in quotes',
            'user "b": ha1: is not a table; write {key = …}, or its keys below [its name]',
            'user "c": ha1: md5: is not 32 hex digits; write H(user:realm:password) in hex',
            'user "d": ha1: md5: is not a text; write it in quotes',
            'user "d": ha1: sha: unknown key; did you mean "sha256"?',
            'user "e": password: is empty or has control characters; write the password in quotes',
            'user "f": password: is empty or has control characters; write the password in quotes',
        ],
    ),
    "two passwords, and none": (
        TRUNK
        + 'password_file = "topsecret"\n'
        + TRUNK.replace("acme", "bell").replace('password = "hunter2"', "")
        + '[[user]]\nname = "a"\n[[user]]\nname = "b"\nha1 = { sha256 = "'
        + "0" * 64
        + '" }\n',
        [
            'trunk "acme": needs exactly one of password, password_file and ha1; write '
            'password = "…", password_file = "…" or ha1 = {md5 = "…"}',
            'trunk "bell": needs exactly one of password, password_file and ha1; write '
            'password = "…", password_file = "…" or ha1 = {md5 = "…"}',
            'user "a": needs exactly one of password and ha1; write password = "…" or '
            'ha1 = {md5 = "…"}',
            'user "b": ha1: has no md5, which phones need; write ha1 = {md5 = "…"}',
        ],
    ),
    "duplicates and contradictions": (
        TRUNK
        + TRUNK.replace("sip:pbx@192.0.2.9", "sip:bob@edge.example")
        + TRUNK.replace("acme", "bell").replace("sip:192.0.2.1", "sip:192.0.2.1;transport=tcp")
        + '[[user]]\nname = "a"\npassword = "hunter2"\n' * 3,
        [
            'trunk "acme": occurs 2 times; give each its own id',
            'user "a": occurs 3 times; give each its own name',
            'trunk "acme": target: has no user "bob"; add [[user]] with name = "bob"',
            'trunk "bell": registrar: is reached over tcp, on which the edge does not listen; add '
            '"tcp:ip:port" to edge listen',
        ],
    ),
    "a missing password file": (
        TRUNK.replace('password = "hunter2"', 'password_file = "nowhere"'),
        [
            'trunk "acme": password_file: "nowhere" cannot be read or does not hold exactly one '
            "line; write the password into it, and let only the agent's user read it"
        ],
    ),
    "line breaks": (
        TRUNK.replace("sip:192.0.2.1", "sip:h\\r\\nX-Evil")
        + 'auth_user = "a\\r\\nX-Evil: 1"\nrealm = "a\\nb"\n'
        + '[agent]\nstate_dir = "/var/lib/whence\\nlisten=udp:192.0.2.1:5060"\n',
        [
            'agent: state_dir: "/var/lib/whence\\nlisten=udp:192.0.2.1:5060" is not an absolute '
            'path of letters, digits and / _ . + -; write "/var/lib/whence"',
            'trunk "acme": registrar: "sip:h\\r\\nX-Evil" is not a server; write "sip:host", '
            '"sip:host:port" or "sip:host:port;transport=tcp"',
            'trunk "acme": auth_user: has control characters; write it without them',
            'trunk "acme": realm: has control characters; write it without them',
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_load_of_faulty_file_reports_all_faults_at_once(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert faults(tmp_path, text) == expected


PASSWORD_LINES = [
    "password = topsecret",
    'password = "topsecret',
    'password = "top\\qtopsecret"',
    'password = "a"topsecret"',
    "password = topsecret=x",
    'password = "topsecret"\npassword = "topsecret"',
    '"topsecret"',
    'ha1 = { md5 = "topsecret" sha256 = "x" }',
    "password = '''topsecret",
    'password = "topsecret\\u12"',
]


@pytest.mark.parametrize("line", PASSWORD_LINES)
def test_load_of_bad_password_syntax_shows_line_not_password(tmp_path: Path, line: str) -> None:
    (fault,) = faults(tmp_path, TRUNK.replace('password = "hunter2"', line))
    assert fault.startswith("is not TOML: ")
    assert re.search(r"\((at line [67], column \d+|at end of document)\)$", fault)


def test_load_of_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "whence.toml")
    assert refused.value.faults == [
        f"{tmp_path}/whence.toml: cannot be read: No such file or directory"
    ]


def test_load_skips_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_bytes(b'\xef\xbb\xbf[edge]\r\ndomain = "edge.example"\r\n')
    assert load(file).edge.domain == "edge.example"


def test_load_of_file_not_utf8_reports_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_bytes(b'[edge]\ndomain = "\xff"\n')
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert refused.value.faults == ["whence.toml: is not UTF-8 at byte 17"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.recursive(
        st.one_of(st.just('"topsecret"'), st.just("5"), st.just("true"), st.just("1979-05-27")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=2).map(lambda parts: f"[{', '.join(parts)}]"),
            inner.map(lambda part: f"{{ some = {part} }}"),
        ),
        max_leaves=4,
    ),
    st.sampled_from(["password", "ha1", "ha1.md5", "password_file"]),
    st.sampled_from(["trunk", "user"]),
)
def test_load_of_wrong_type_of_secret_never_shows_it(
    tmp_path: Path, value: str, key: str, table: str
) -> None:
    text = f'[[{table}]]\n{key} = {value}\nid = "x"\nname = "x"\n'
    assert faults(tmp_path, text.replace('"topsecret"', '"hunter2\\u0007"'))


# Valid files.


def test_load_of_empty_file_gives_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == Config()


def test_example_is_valid_and_shows_the_defaults() -> None:
    example = load(EXAMPLE)
    assert example.edge == EdgeConfig()
    assert example.agent == AgentConfig()
    assert example.registration == RegistrationConfig()
    assert example.registration.backoff == BackoffConfig()
    assert example.trunk and example.user


@pytest.mark.parametrize(
    ("model", "above"),
    [
        (EdgeConfig, "[edge]"),
        (TlsConfig, "[edge.tls]"),
        (AgentConfig, "[agent]"),
        (RegistrationConfig, "[registration]"),
        (BackoffConfig, "[registration.backoff]"),
        (TrunkConfig, "[[trunk]]"),
        (UserConfig, "[[user]]"),
        (RouteConfig, "[[route]]"),
        (OutboundConfig, "[outbound]"),
    ],
)
def test_example_shows_every_key(model: type[Table], above: str) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    section = text[text.index(f"\n{above}") + 1 :]
    section = re.split(rf"^\[(?!{re.escape(above[1:])})", section, flags=re.MULTILINE)[0]
    keys = [key for key in model.model_fields if f"[{above.strip('[]')}.{key}]" not in text]
    missing = [key for key in keys if not re.search(rf"(^|[\s#]){key}\s*=", section)]
    assert missing == []


@pytest.mark.parametrize("model", [Ha1, PinnedNetwork, TrunkOutboundConfig, LimitsConfig])
def test_example_shows_the_keys_of_inline_tables(model: type[Table]) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert all(f"{key} = " in text for key in model.model_fields)


def test_example_trunk_shows_defaults() -> None:
    shown = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))["trunk"][0]
    for key in ("proxy", "realm", "expires", "follow_dns", "match_port", "networks", "enabled"):
        assert shown[key] == TrunkConfig.model_fields[key].default


def test_aor_without_domain_has_the_registrars_host(tmp_path: Path) -> None:
    (trunk,) = loaded(tmp_path, TRUNK).trunk
    assert trunk.aor == "sip:acct1@192.0.2.1"
    (trunk,) = loaded(tmp_path, TRUNK + 'domain = "provider.example"').trunk
    assert trunk.aor == "sip:acct1@provider.example"
    of_ipv6 = '[edge]\nlisten = ["udp:[::1]:5060"]\n'
    (trunk,) = loaded(tmp_path, of_ipv6 + TRUNK.replace("192.0.2.1", "[2001:db8::1]:5070")).trunk
    assert trunk.aor == "sip:acct1@[2001:db8::1]"


def test_server_with_proxy_is_the_proxy(tmp_path: Path) -> None:
    (trunk,) = loaded(tmp_path, TRUNK + 'proxy = "sip:192.0.2.7:5070"').trunk
    assert (trunk.server.host, trunk.server.port) == ("192.0.2.7", 5070)
    assert trunk.aor == "sip:acct1@192.0.2.1"


def test_credentials_without_auth_user_have_the_aor_user(tmp_path: Path) -> None:
    (trunk,) = loaded(tmp_path, TRUNK).trunk
    assert trunk.credentials().user == "acct1"
    (trunk,) = loaded(tmp_path, TRUNK + 'auth_user = "other"\nrealm = "r"').trunk
    assert (trunk.credentials().user, trunk.credentials().realm) == ("other", "r")


def test_password_file_is_relative_to_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "acme.password").write_text("hunter2\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    text = TRUNK.replace('password = "hunter2"', 'password_file = "acme.password"')
    write(tmp_path / "conf", text)
    (trunk,) = load(Path("conf/whence.toml")).trunk
    assert trunk.credentials().password == Secret("hunter2")
    absolute = text.replace("acme.password", f"{tmp_path}/conf/acme.password")
    (trunk,) = loaded(tmp_path, absolute).trunk
    assert trunk.credentials().password == Secret("hunter2")


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe"])
def test_password_file_without_one_line_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    (fault,) = faults(tmp_path, TRUNK.replace('password = "hunter2"', 'password_file = "p"'))
    assert fault.startswith('trunk "acme": password_file: "p" cannot be read or does not hold')


def test_ha1_replaces_the_password(tmp_path: Path) -> None:
    hashes = {"md5": "ab" * 16, "sha256": "CD" * 32}
    line = f'ha1 = {{ md5 = "{hashes["md5"]}", sha256 = "{hashes["sha256"]}" }}'
    (trunk,) = loaded(tmp_path, TRUNK.replace('password = "hunter2"', line)).trunk
    assert dict(trunk.credentials().ha1) == {
        "MD5": Secret("ab" * 16),
        "SHA-256": Secret("cd" * 32),
    }
    assert trunk.credentials().password is None


def test_user_md5_hashes_name_domain_and_password(tmp_path: Path) -> None:
    (user,) = loaded(tmp_path, '[[user]]\nname = "alice"\npassword = "hunter2"').user
    known = ha1("MD5", "alice", "edge.example", Secret("hunter2"))
    assert user.md5("edge.example").reveal() == known
    (user,) = loaded(tmp_path, f'[[user]]\nname = "alice"\nha1 = {{ md5 = "{known}" }}').user
    assert user.md5("edge.example").reveal() == known


def test_target_in_own_domain_may_be_the_called_number(tmp_path: Path) -> None:
    text = TRUNK.replace("sip:pbx@192.0.2.9", "sip:{number}@edge.example")
    assert loaded(tmp_path, text).trunk[0].target == "sip:{number}@edge.example"


def test_config_as_text_has_no_secret(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("topsecret", encoding="utf-8")
    known = "ab" * 16
    config = loaded(
        tmp_path,
        TRUNK
        + TRUNK.replace("acme", "bell").replace('password = "hunter2"', 'password_file = "p"')
        + '[[user]]\nname = "a"\npassword = "hunter2"\n'
        + f'[[user]]\nname = "b"\nha1 = {{ md5 = "{known}" }}\n',
    )
    seen = [repr(config), str(config), config.model_dump_json(), str(config.model_dump())]
    seen += [repr(node_settings(config))]
    seen += [repr(trunk.credentials()) for trunk in config.trunk]
    seen += [repr(user.md5("edge.example")) for user in config.user]
    for text in seen:
        assert not any(secret in text for secret in (*SECRETS, known))


def test_place_of_socket_is_the_advertised_address(tmp_path: Path) -> None:
    socket = TransportAddress.parse("udp:127.0.0.1:5060")
    assert loaded(tmp_path, "").edge.sockets.place_of(socket) == ("127.0.0.1", 5060)
    advertised = loaded(tmp_path, '[edge]\nadvertise = "203.0.113.1:5070"')
    assert advertised.edge.sockets.place_of(socket) == ("203.0.113.1", 5070)
    by_ip = loaded(tmp_path, '[edge]\nadvertise = "203.0.113.1"')
    assert by_ip.edge.sockets.place_of(socket) == ("203.0.113.1", 5060)
    assert by_ip.edge.sockets.place_of(TransportAddress.parse("udp:[::1]:5060")) == ("::1", 5060)


def test_advertise_of_each_socket_is_its_own(tmp_path: Path) -> None:
    text = """[edge]
listen = ["udp:192.0.2.1:5060", "udp:10.0.0.1:5060", "tcp:192.0.2.1:5060", "tcp:10.0.0.1:5060"]
[edge.advertise]
"udp:192.0.2.1:5060" = "203.0.113.1:5070"
"tcp:192.0.2.1:5060" = "sip.Example.net"
"tcp:10.0.0.1:5060" = "auto"
"""
    edge = loaded(tmp_path, text).edge
    first, second, third, fourth = edge.listen
    assert [edge.sockets.place_of(socket)[0] for socket in edge.listen] == [
        "203.0.113.1",
        "10.0.0.1",
        "192.0.2.1",
        "10.0.0.1",
    ]
    assert edge.sockets.advertised_of(third) == Advertised("sip.example.net")
    assert edge.sockets.advertised_of(fourth) == Advertised(AUTO)
    assert [edge.sockets.follows_nat(socket) for socket in (first, second, third, fourth)] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "value",
    [
        *("a b", "a_b.example", "192.0.2.1:", "192.0.2.1:0", "sip.example:70000", "sip.example:x"),
        *("sip:sip.example", "192.0.2", "localhost", "Auto"),
        *("0.0.0.0", "::", "[::]:5060", "224.0.0.1", "255.255.255.255", "ff02::1", "fe80::1"),
        *("fe80::1%eth0", "[fe80::1%eth0]:5060", "2001:db8::1%eth0"),
        "a.example\\nlisten=udp:192.0.2.9:5060",
    ],
)
def test_advertise_of_wrong_form_is_refused(tmp_path: Path, value: str) -> None:
    for written in (f'"{value}"', f'{{ "udp:127.0.0.1:5060" = "{value}" }}'):
        (fault,) = faults(tmp_path, f"[edge]\nadvertise = {written}\n")
        assert fault.startswith("edge: advertise: ")


@pytest.mark.parametrize(
    ("socket", "given"),
    [
        ("udp:192.0.2.1:5060", "2001:db8::7"),
        ("udp:192.0.2.1:5060", "[2001:db8::7]:5060"),
        ("udp:[2001:db8::1]:5060", "203.0.113.7"),
        ("udp:[2001:db8::1]:5060", "::ffff:203.0.113.7"),
    ],
)
def test_advertise_of_another_ip_version_is_refused(
    tmp_path: Path, socket: str, given: str
) -> None:
    edge = f'[edge]\nlisten = ["{socket}"]\nadvertise = {{ "{socket}" = "{given}" }}\n'
    (fault,) = faults(tmp_path, edge)
    assert fault.startswith(f'edge: advertise: "{given}" is not of the IP version of "{socket}"; ')


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ("[2001:DB8:0::7]", "2001:db8::7", None),
        ("2001:db8::7", "2001:db8::7", None),
        ("[2001:db8::7]:5070", "2001:db8::7", 5070),
        ("::ffff:203.0.113.7", "203.0.113.7", None),
        ("[::ffff:203.0.113.7]:5070", "203.0.113.7", 5070),
    ],
)
def test_parse_advertised_reads_each_form_of_an_ip(given: str, host: str, port: int | None) -> None:
    assert parse_advertised(given) == Advertised(host, port)


@pytest.mark.parametrize("written", ["5", '["a"]', '{ "udp:127.0.0.1:5060" = 5 }', '{ x = "" }'])
def test_advertise_of_wrong_type_is_refused(tmp_path: Path, written: str) -> None:
    (fault,) = faults(tmp_path, f"[edge]\nadvertise = {written}\n")
    assert fault.startswith("edge: advertise: ")


def test_advertise_of_a_socket_not_in_listen_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[edge]\nadvertise = { "udp:10.0.0.1:5060" = "auto" }\n')
    assert fault.startswith('edge: advertise: "udp:10.0.0.1:5060" is not in listen; write one of')


def test_socket_of_trunk_is_one_of_listen(tmp_path: Path) -> None:
    edge = '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:127.0.0.2:5060", "tcp:127.0.0.2:5060"]\n'
    config = loaded(tmp_path, edge + TRUNK + 'socket = "udp:127.0.0.2:5060"\n')
    (trunk,) = node_settings(config).trunks
    assert trunk.socket == config.edge.listen[1]
    for wrong, message in (
        ("udp:127.0.0.2:5061", "is not in edge listen; write one of udp:127.0.0.1:5060, udp:"),
        ("tcp:127.0.0.2:5060", "cannot reach sip:192.0.2.1; write a socket of the same transport"),
        ("nonsense", "is not a socket"),
    ):
        (fault,) = faults(tmp_path, edge + TRUNK + f'socket = "{wrong}"\n')
        assert fault.startswith(f'trunk "acme": socket: "{wrong}" {message}')


def test_advertised_port_with_several_ports_is_refused(tmp_path: Path) -> None:
    sockets = '"udp:127.0.0.1:5060", "tcp:127.0.0.1:5080"'
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f'[edge]\nadvertise = "203.0.113.1:5060"\nlisten = [{sockets}]\n')
    assert error.value.faults == [
        'whence.toml: edge: advertise: "203.0.113.1:5060" is one port, but listen has several; '
        'write the address alone, "203.0.113.1", and each socket keeps its own port'
    ]


def test_socket_for_target_has_its_transport_and_ip_version(tmp_path: Path) -> None:
    edge = loaded(
        tmp_path, '[edge]\nlisten = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5061", "udp:[::1]:5060"]'
    ).edge
    assert str(edge.sockets.socket_for(Transport.UDP, 4)) == "udp:127.0.0.1:5060"
    assert str(edge.sockets.socket_for(Transport.UDP, 6)) == "udp:[::1]:5060"
    assert str(edge.sockets.socket_for(Transport.TCP, 4)) == "tcp:127.0.0.1:5061"
    assert edge.sockets.socket_for(Transport.TCP, 6) is None


def test_transport_of_core_without_edge_support_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(uris.EDGE_TRANSPORTS) <= set(Transport)
    for module in (uris, validators):
        monkeypatch.setattr(module, "EDGE_TRANSPORTS", (Transport.UDP,))
    text = '[edge]\nlisten = ["tcp:127.0.0.1:5060"]\n' + TRUNK.replace(
        "192.0.2.1", "192.0.2.1;transport=tcp"
    )
    file = tmp_path / "whence.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert '"tcp:127.0.0.1:5060": the edge has no sockets for tcp' in str(refused.value)
    assert "transport tcp is not known; write udp, tcp or tls" in str(refused.value)


def test_registrar_name_without_transport_needs_no_udp_socket(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(
        '[edge]\nlisten = ["tcp:127.0.0.1:5060"]\n'
        '[[trunk]]\nid = "acme"\nregistrar = "sip:sip.provider.example"\nuser = "acct1"\n'
        'password = "secret"\ntarget = "sip:pbx@192.0.2.9"\n'
    )
    assert load(file).trunk[0].registrar == "sip:sip.provider.example"


# The files of [edge.tls].


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority("authority", tmp_path_factory.mktemp("certificates"))


def tls(**keys: object) -> str:
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    return "\n".join(['[edge]\nlisten = ["tls:127.0.0.1:5061"]', "[edge.tls]", *lines, ""])


def test_tls_paths_are_relative_to_the_settings_file(tmp_path: Path, authority: Authority) -> None:
    made = authority.certificate("DNS:edge.example")
    (tmp_path / "cert.pem").write_bytes(made.certificate.read_bytes())
    (tmp_path / "key.pem").write_bytes(made.key.read_bytes())
    read = loaded(tmp_path, tls(certificate="cert.pem", key="key.pem", ca=authority.file)).edge.tls
    assert (read.certificate, read.key) == (f"{tmp_path}/cert.pem", f"{tmp_path}/key.pem")
    assert read.ca == str(authority.file)


def test_tls_file_missing_is_refused(tmp_path: Path, authority: Authority) -> None:
    made = authority.certificate("DNS:edge.example")
    whole = {"certificate": made.certificate, "key": made.key, "ca": authority.file}
    for key in whole:
        assert faults(tmp_path, tls(**(whole | {key: "nowhere.pem"}))) == [
            f'edge: tls: {key}: "{tmp_path}/nowhere.pem" cannot be read: No such file or '
            "directory; write the path of a file in PEM that the user of Whence can read"
        ]


def test_tls_key_of_another_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    made, other = (authority.certificate("DNS:edge.example") for _ in range(2))
    (fault,) = faults(tmp_path, tls(certificate=made.certificate, key=other.key, ca=authority.file))
    assert "do not belong together" in fault


def test_tls_ca_without_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    made = authority.certificate("DNS:edge.example")
    (fault,) = faults(tmp_path, tls(certificate=made.certificate, key=made.key, ca=made.key))
    assert "has no certificates in PEM" in fault


def test_tls_path_with_line_break_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, tls(certificate="a\\nca_list=x", key="b"))
    assert "is not a path of letters, digits" in fault


# Networks.


def test_networks_are_texts_or_tables(tmp_path: Path) -> None:
    text = """networks = [
    "198.51.100.0/24", "198.51.100.7/32", "::ffff:192.0.2.0/120", "2001:0DB8::/32",
    {network = "203.0.113.7", port = 5060, transport = "tls", note = "n", expires_at = "%s"},
    {network = "203.0.113.8", expires_at = 2030-01-01T00:00:00Z},
]
"""
    (trunk,) = loaded(tmp_path, TRUNK + text % "2030-01-01T01:00:00+01:00").trunk
    assert [pin.network for pin in trunk.networks] == [
        "198.51.100.0/24",
        "198.51.100.7",
        "192.0.2.0/24",
        "2001:db8::/32",
        "203.0.113.7",
        "203.0.113.8",
    ]
    assert trunk.networks[0].place == ("198.51.100.0/24", None, "udp")
    assert trunk.networks[4].place == ("203.0.113.7", 5060, "tls")
    assert trunk.networks[4].expires_at == trunk.networks[5].expires_at == 1_893_456_000


def test_network_expired_is_valid_and_in_expired_pins(tmp_path: Path) -> None:
    """An entry that expires at night must not prevent a start in the morning."""
    text = TRUNK + 'networks = [{network = "192.0.2.0/24", expires_at = "2020-01-01T00:00:00Z"}]\n'
    settings = loaded(tmp_path, text)
    assert settings.expired_pins(1_900_000_000) == [
        'trunk "acme": networks[0]: "192.0.2.0/24" has expired; remove it'
    ]
    assert settings.expired_pins(1_500_000_000) == []


# The call log, the state directory, the webhook.


def test_call_log_file_is_relative_and_writable(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").agent.call_log_file == ""
    made = loaded(tmp_path, '[agent]\ncall_log_file = "calls.json"').agent
    assert (made.call_log_file, made.call_history_size) == (f"{tmp_path}/calls.json", 10_000)
    reason = "cannot be written; write the path of a file in a folder that the user of Whence can"
    for wrong in ("nowhere/calls.json", ".", "/proc/1/calls", "a\\nb"):
        (fault,) = faults(tmp_path, f'[agent]\ncall_log_file = "{wrong}"')
        assert fault.startswith("agent: call_log_file: ") and reason in fault


def test_state_dir_leaves_room_for_a_socket_path(tmp_path: Path) -> None:
    longest = "/" + "x" * 91
    assert loaded(tmp_path, f'[agent]\nstate_dir = "{longest}"').agent.state_dir == longest
    (fault,) = faults(tmp_path, f'[agent]\nstate_dir = "{longest}x"')
    assert fault.endswith("is too long for the socket in it; write a path of at most 92 characters")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://hooks.example/a/b?c=d",
        "https://hooks.example:8443",
        "https://192.0.2.1/x",
        "https://[2001:db8::1]:8443/x",
        "http://127.0.0.1:9000/x",
        "http://[::1]:9000/x",
        "http://localhost/x",
    ],
)
def test_webhook_is_https_or_loopback(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, f'[agent]\nwebhook = "{url}"').agent.webhook == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("hunter2", 'is not a URL; write "https://host/path"'),
        ("ftp://x/hunter2", "is not a URL"),
        ("https://", "is not a URL"),
        ("https:///hunter2", "is not a URL"),
        ("https://x:99999/hunter2", "is not a URL"),
        ("https://x:y/hunter2", "is not a URL"),
        ("https://[::1/hunter2", "is not a URL"),
        ("https://x y/hunter2", "is not a URL"),
        ("https://x/hunter2\\n", "is not a URL"),
        ("https://ex\u00e4mple/hunter2", "is not a URL"),
        ("https://me:hunter2@x/", "has a user, password or fragment"),
        ("https://x/#hunter2", "has a user, password or fragment"),
        ("http://hooks.example/hunter2", "is plain http to another machine"),
        ("http://192.0.2.1/hunter2", "is plain http to another machine"),
        ("http://127.0.0.1.evil.example/hunter2", "is plain http to another machine"),
        ("http://127.0.0.1@evil.example/hunter2", "has a user, password or fragment"),
        ("http://localhost.evil.example/hunter2", "is plain http to another machine"),
    ],
)
def test_webhook_of_other_form_is_refused_without_the_url(
    tmp_path: Path, url: str, expected: str
) -> None:
    (fault,) = faults(tmp_path, f'[agent]\nwebhook = "{url}"')
    assert fault.startswith(f"agent: webhook: {expected}")


def test_webhook_token_file_has_one_word(tmp_path: Path) -> None:
    token = tmp_path / "hook.token"
    token.write_text("hunter2\n")
    made = loaded(tmp_path, '[agent]\nwebhook_token_file = "hook.token"').agent
    assert made.webhook_token_file == str(token)
    for wrong in ("", "hunter2 topsecret", "hunter2\ntopsecret", "hunter2\u00e9"):
        token.write_text(wrong, "utf-8")
        (fault,) = faults(tmp_path, '[agent]\nwebhook_token_file = "hook.token"')
        assert "cannot be read or does not hold exactly one word; write the token into" in fault
    (fault,) = faults(tmp_path, '[agent]\nwebhook_token_file = "nowhere"')
    assert fault.startswith(f'agent: webhook_token_file: "{tmp_path / "nowhere"}" cannot be read')


def test_number_headers_and_format_have_defaults(tmp_path: Path) -> None:
    (trunk,) = loaded(tmp_path, TRUNK).trunk
    assert trunk.number_headers == ("p-called-party-id", "to")
    assert trunk.number_format == "as_sent"
    assert loaded(tmp_path, TRUNK).number_headers == []


def test_number_headers_keep_order_in_lower_case(tmp_path: Path) -> None:
    more = 'number_headers = ["X-DID", "Diversion", "history-info", "To"]\n'
    settings = loaded(tmp_path, TRUNK + more)
    assert settings.trunk[0].number_headers == ("x-did", "diversion", "history-info", "to")
    assert settings.number_headers == ["diversion", "history-info", "x-did"]
    assert loaded(tmp_path, TRUNK + "number_headers = []\n").trunk[0].number_headers == ()


NO_HEADERS = ["", "X Called", "X-Called:", "X-Cälled", "X-Called\\r\\nVia", "$hdr(To)", "x" * 65]
STRUCTURE = [
    "Via",
    "v",
    "Route",
    "Record-Route",
    "contact",
    "M",
    "Call-ID",
    "From",
    "CSeq",
    "t",
    "Request-URI",
    "Authorization",
]
OUR_OWN = ["X-Whence-Trunk", "x-whence-anything"]


@pytest.mark.parametrize("name", [*NO_HEADERS, *STRUCTURE, *OUR_OWN])
def test_number_header_without_called_number_is_refused(tmp_path: Path, name: str) -> None:
    (fault,) = faults(tmp_path, TRUNK + f'number_headers = ["To", "{name}"]\n')
    assert fault.startswith('trunk "acme": number_headers[1]: "')


@pytest.mark.parametrize(
    "value", ['"To"', '["To", "to"]', "[1]", str([f"X-{n}" for n in range(9)]).replace("'", '"')]
)
def test_number_headers_of_wrong_form_are_refused(tmp_path: Path, value: str) -> None:
    (fault,) = faults(tmp_path, TRUNK + f"number_headers = {value}\n")
    assert fault.startswith('trunk "acme": number_headers')


def test_number_headers_of_all_trunks_have_a_limit(tmp_path: Path) -> None:
    text = "".join(
        TRUNK.replace('"acme"', f'"acme{n}"') + f'number_headers = ["X-{n}"]\n' for n in range(17)
    )
    (fault,) = faults(tmp_path, text)
    assert fault.startswith("trunk: number_headers: the trunks name 17 different headers")


def test_number_format_national_needs_a_country(tmp_path: Path) -> None:
    more = 'number_format = "national"\n'
    (fault,) = faults(tmp_path, TRUNK + more)
    assert fault.startswith('trunk "acme": number_format: "national" needs a country')
    settings = loaded(tmp_path, TRUNK + more + 'country = "44"\n')
    assert number_style(node_settings(settings).trunks[0]) == "national:44:0:00"
    (fault,) = faults(tmp_path, TRUNK + 'number_format = "sip"\n')
    assert fault.startswith('trunk "acme": number_format: ')


def test_account_forms_of_a_number_follow_its_country(tmp_path: Path) -> None:
    text = TRUNK.replace('user = "acct1"', 'user = "02071234567"') + 'country = "44"\n'
    (trunk,) = node_settings(loaded(tmp_path, text)).trunks
    forms = account_forms(trunk)
    assert set(forms) >= {"02071234567", "+442071234567", "00442071234567", "2071234567"}
    assert set(forms.values()) == {"+442071234567"}
    (trunk,) = node_settings(loaded(tmp_path, TRUNK)).trunks
    assert account_forms(trunk) == {"acct1": ""}


# The Request-URI and the headers of a REGISTER.


@pytest.mark.parametrize(
    ("registrar", "domain", "port"),
    [
        ("sip:192.0.2.1", "", None),
        ("sip:192.0.2.1:5080", "", 5080),
        ("sip:192.0.2.1:5060", "", 5060),
        ("sip:192.0.2.1:5080", "192.0.2.1", 5080),
        ("sip:sip.provider.example:5080", "SIP.provider.example", 5080),
        ("sip:192.0.2.1:5080", "provider.example", None),
    ],
)
def test_request_port_is_the_one_that_was_written(
    tmp_path: Path, registrar: str, domain: str, port: int | None
) -> None:
    text = TRUNK.replace("sip:192.0.2.1", registrar)
    config = loaded(tmp_path, text + (f'domain = "{domain}"\n' if domain else ""))
    assert config.trunk[0].request_port == port
    assert node_settings(config).trunks[0].request_port == port


def test_headers_of_trunk_are_kept_in_order(tmp_path: Path) -> None:
    more = 'headers = { "User-Agent" = "Phone 1", Supported = "path", X-Account = "a\u00e9" }\n'
    (trunk,) = node_settings(loaded(tmp_path, TRUNK + more)).trunks
    assert trunk.headers == (
        ("User-Agent", "Phone 1"),
        ("Supported", "path"),
        ("X-Account", "a\u00e9"),
    )


OWN_HEADERS = [
    *("Via", "v", "From", "F", "to", "Call-ID", "i", "CSeq", "Contact", "m", "Expires", "Route"),
    *("Authorization", "Proxy-Authorization", "Max-Forwards", "Content-Length", "l", "k"),
    *("Require", "Record-Route", "Path", "X-Whence-Trunk", "x-whence-anything"),
]


@pytest.mark.parametrize("name", [*OWN_HEADERS, "", "X Y", "X:", "X-\u00e4"])
def test_header_that_whence_writes_is_refused(tmp_path: Path, name: str) -> None:
    (fault,) = faults(tmp_path, TRUNK + f'headers = {{ "{name}" = "x" }}\n')
    assert fault.startswith(f'trunk "acme": headers: "{name}" is ')


@pytest.mark.parametrize("value", ["a\\r\\nVia: x", "a\\nb", "", " ", "x ", "\\u0000", "x" * 501])
def test_header_value_of_wrong_form_is_refused(tmp_path: Path, value: str) -> None:
    (fault,) = faults(tmp_path, TRUNK + f'headers = {{ X-A = "{value}" }}\n')
    assert fault.startswith('trunk "acme": headers: the value of "X-A" is ')


@pytest.mark.parametrize(
    "value",
    ['{ X-A = "1", x-a = "2" }', "{ X-A = 5 }", '["X-A: 1"]', "%s"],
)
def test_headers_of_wrong_form_are_refused(tmp_path: Path, value: str) -> None:
    many = "{ " + ", ".join(f'X-{n} = "x"' for n in range(17)) + " }"
    (fault,) = faults(tmp_path, TRUNK + f"headers = {many if value == '%s' else value}\n")
    assert fault.startswith('trunk "acme": headers: ')


@pytest.mark.parametrize(
    ("listen", "target", "missing"),
    [
        ("tcp:192.0.2.5:5060", "sip:pbx@192.0.2.9", '"udp:ip:port"'),
        ("tcp:192.0.2.5:5060", "sip:pbx@pbx.example:5070", '"udp:ip:port"'),
        ("udp:[2001:db8::5]:5060", "sip:pbx@192.0.2.9", '"udp:ip:port"'),
        ("udp:192.0.2.5:5060", "sip:pbx@[2001:db8::9]", '"udp:[ip]:port"'),
        ("udp:192.0.2.5:5060", "sip:{number}@pbx.example;transport=TCP", '"tcp:ip:port"'),
        ("udp:192.0.2.5:5060", "sips:pbx@pbx.example", '"tls:ip:port"'),
        ("udp:192.0.2.5:5060", "sip:pbx@pbx.example;transport=ws", "write udp or tcp or tls"),
        ("tcp:192.0.2.5:5060", "sip:pbx@pbx.example", ""),
        ("tcp:192.0.2.5:5060", "sip:pbx@192.0.2.5", ""),
        ("tcp:192.0.2.5:5060", "sip:{number}@edge.example", ""),
        ("udp:192.0.2.5:5060", "sip:pbx@192.0.2.9;transport=UDP", ""),
    ],
)
def test_targets_without_socket_names_each(
    tmp_path: Path, listen: str, target: str, missing: str
) -> None:
    trunk = TRUNK.replace("sip:pbx@192.0.2.9", target).replace("192.0.2.1", "provider.example")
    config = loaded(tmp_path, f'[edge]\nlisten = ["{listen}"]\n{trunk}')
    warnings = targets_without_socket(config)
    assert len(warnings) == bool(missing)
    for warning in warnings:
        assert warning.startswith('trunk "acme": target: ') and missing in warning


# [phones], [media] and sockets for browsers.

PHONES_FAULTS = {
    "expires": ("[phones]\nexpires = [3, 60]\n", "phones: expires: lies outside of 10 to 7200 s"),
    "timeout": ("[phones]\nkeepalive_timeout = 30\n", "phones: keepalive_timeout: 30 s is not"),
    "origin": (
        '[phones]\nwebsocket_origins = ["https://a.example/"]\n',
        'phones: websocket_origins[0]: "https://a.example/" is not an origin',
    ),
    "rtpengine": ('[media]\nrtpengine = "tcp:127.0.0.1:2223"\n', 'media: rtpengine: "tcp:'),
    "browsers only": (
        '[edge]\nlisten = ["ws:127.0.0.1:8080"]\n',
        "edge: listen: has sockets for browsers only",
    ),
    "two streams": (
        '[edge]\nlisten = ["tcp:127.0.0.1:5060", "ws:127.0.0.1:5060"]\n',
        "edge: listen: has two TCP sockets at one ip and port",
    ),
}


@pytest.mark.parametrize(("text", "expected"), PHONES_FAULTS.values(), ids=PHONES_FAULTS.keys())
def test_load_of_faulty_phone_settings_names_the_fault(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert any(expected in fault for fault in faults(tmp_path, text))


def test_socket_of_a_trunk_is_no_websocket(tmp_path: Path) -> None:
    text = '[edge]\nlisten = ["udp:127.0.0.1:5060", "ws:127.0.0.1:8080"]\n' + TRUNK
    found = faults(tmp_path, text + 'socket = "ws:127.0.0.1:8080"\n')
    assert any("is for phones in browsers" in fault for fault in found)
