"""Users, domains and hosts in the settings file, by the grammar of URIs (RFC 3261 25.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.agent.config import uris
from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings
from whence.agent.registration.account import make_account
from whence.agent.registration.messages import uri_text
from whence.core.settings import TrunkSettings
from whence.core.sip.sockets import LOCAL
from whence.core.sip.uri import Uri
from whence.errors import ConfigError

TRUNK = """
[[trunk]]
id = "acme"
registrar = "{registrar}"
user = "{user}"
domain = "{domain}"
password = "secret"
target = "sip:sales@192.0.2.9"
"""


def loaded(
    folder: Path,
    user: str = "acct1",
    domain: str = "",
    registrar: str = "sip:192.0.2.1",
    edge: str = "",
) -> Config:
    file = folder / "whence.toml"
    text = TRUNK.format(user=user, domain=domain, registrar=registrar)
    file.write_text(f"{edge}{text}")
    file.chmod(0o600)
    return load(file)


def trunk_of(config: Config) -> TrunkSettings:
    (trunk,) = node_settings(config).trunks
    return trunk


@pytest.mark.parametrize(
    ("user", "aor_user", "compared"),
    [
        ("a%40b", "a%40b", "a@b"),
        ("%23100", "%23100", "#100"),
        ("a%20b", "a%20b", "a b"),
        ("a;b", "a;b", "a;b"),
        ("a%3bb", "a%3Bb", "a;b"),
        ("a?b", "a?b", "a?b"),
        ("a/b", "a/b", "a/b"),
        ("%61cct1", "acct1", "acct1"),
        ("a%C3%A9", "a%C3%A9", "aé"),
    ],
)
def test_user_with_escapes_is_written_and_compared_by_rfc_3261(
    tmp_path: Path, user: str, aor_user: str, compared: str
) -> None:
    trunk = trunk_of(loaded(tmp_path, user, "provider.example"))
    assert trunk.aor == f"sip:{aor_user}@provider.example"
    assert trunk.user == trunk.credentials.user == compared
    aor = Uri.parse(trunk.aor)
    assert aor is not None and aor.user == compared


@pytest.mark.parametrize("user", ["a%40b", "a;b", "a?b", "%23100"])
def test_contact_in_line_form_escapes_the_user(tmp_path: Path, user: str) -> None:
    settings = replace(trunk_of(loaded(tmp_path, user)), contact="line")
    contact = make_account(settings, "token1", LOCAL).contact
    assert Uri.parse(uri_text(contact)) == contact
    assert (contact.user, contact.params["line"]) == (settings.user, "token1")


@pytest.mark.parametrize(
    ("user", "right"),
    [
        ("a b", 'write "a%20b"'),
        ("#100", 'write "%23100"'),
        ("a@b", 'write "a", or "a%40b" if the @ is part of the user'),
        ("a:b", 'write "a%3Ab"'),
        ("a%4", 'write "acct1"'),
        ("", 'write "acct1"'),
        ("a%0d%0ab", "escapes control characters; write it without them"),
        ("a%ff", "escapes control characters; write it without them"),
    ],
)
def test_user_invalid_is_refused_with_the_right_form(tmp_path: Path, user: str, right: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, user)
    assert right in str(refused.value)


@pytest.mark.parametrize(
    ("domain", "aor", "host", "port"),
    [
        ("provider.example:5070", "sip:acct1@provider.example", "provider.example", 5070),
        ("[2001:db8::1]", "sip:acct1@[2001:db8::1]", "2001:db8::1", None),
        ("2001:DB8:0::1", "sip:acct1@[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:5070", "sip:acct1@[2001:db8::1]", "2001:db8::1", 5070),
        ("192.0.2.7", "sip:acct1@192.0.2.7", "192.0.2.7", None),
        ("provider.example.", "sip:acct1@provider.example.", "provider.example.", None),
        (
            "sip_1.provider.example",
            "sip:acct1@sip_1.provider.example",
            "sip_1.provider.example",
            None,
        ),
        ("Provider.example", "sip:acct1@Provider.example", "provider.example", None),
    ],
)
def test_domain_of_a_trunk_is_each_host_and_port(
    tmp_path: Path, domain: str, aor: str, host: str, port: int | None
) -> None:
    config = loaded(tmp_path, domain=domain)
    assert trunk_of(config).aor == aor
    uri = Uri.parse(f"sip:{config.trunk[0].domain}")
    assert uri is not None and (uri.host, uri.port) == (host, port)


def test_account_key_is_without_the_port_of_the_domain(tmp_path: Path) -> None:
    """RFC 3261 10.2: the address-of-record names a user of a domain, and not a socket."""
    with_port = trunk_of(loaded(tmp_path, domain="provider.example:5070"))
    without = trunk_of(loaded(tmp_path, domain="provider.example"))
    assert with_port.account_key == without.account_key


INVALID_DOMAINS = (
    "provider example,provider.example:0,provider.example:65536,h:,:5060,-h,h..x,[2001:db8::1,"
    "2001:db8::1]:5060x,fe80::1%eth0,a@h,h;x,[192.0.2.1],h/x"
)


@pytest.mark.parametrize("domain", INVALID_DOMAINS.split(","))
def test_domain_invalid_is_refused_with_the_right_form(tmp_path: Path, domain: str) -> None:
    with pytest.raises(ConfigError, match=r'is not a domain; write "provider\.example"'):
        loaded(tmp_path, domain=domain)


@pytest.mark.parametrize(
    ("domain", "written"),
    [
        ("edge_1.example", "edge_1.example"),
        ("edge.example.", "edge.example."),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_domain_of_the_edge_is_each_host(tmp_path: Path, domain: str, written: str) -> None:
    assert loaded(tmp_path, edge=f'[edge]\ndomain = "{domain}"\n').edge.domain == written


def test_domain_of_the_edge_with_a_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a domain without port"):
        loaded(tmp_path, edge='[edge]\ndomain = "edge.example:5060"\n')


@pytest.mark.parametrize("host", ["sip_1.provider.example", "sip.provider.example."])
def test_registrar_host_with_underscore_or_dot_is_accepted(tmp_path: Path, host: str) -> None:
    trunk = trunk_of(loaded(tmp_path, registrar=f"sip:{host}"))
    assert trunk.server.host == host


def test_account_name_is_without_the_dot_at_its_end(tmp_path: Path) -> None:
    """A certificate and SNI name a host without it (RFC 6066 3)."""
    trunk = trunk_of(loaded(tmp_path, registrar="sip:sip.provider.example."))
    assert make_account(trunk, "token1", LOCAL).name == "sip.provider.example"


@given(st.text(max_size=12))
def test_user_and_domain_of_any_text_are_valid_in_a_uri(text: str) -> None:
    for check, form in (
        (uris._aor_user, "sip:{}@h"),
        (uris._account_domain, "sip:a@{}"),
        (uris._domain, "sip:a@{}"),
    ):
        try:
            written = check(text)
        except ValueError:
            continue
        assert not written or Uri.parse(form.format(written)) is not None


@pytest.mark.parametrize(
    "text",
    [
        *(" sip:h", "sip:h ", "sip:h\n", "sip:h?Route=x", "sip:h;transport=udp;transport=tcp"),
        *("sip:0.0.0.0", "sip:[::]:5060", "sip:224.0.0.1", "sip:[ff02::1]", "sip:h;lr", "sip:u@h"),
    ],
)
def test_check_server_of_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a server; write"):
        uris.check_server(text)


@pytest.mark.parametrize(
    "text",
    [
        *("sip:{number}", "sip:{number}.pbx.example", "sip:a@{number}", "sip:{number}@{number}"),
        *("sip:a@h;maddr={number}", "sip:a@h:{number}", "sip:a@h?Route=x", "sip:h?Route=x"),
        *("sip:a@0.0.0.0", "sip:a@[::]", "sip:a@224.0.0.1", "tel:+44", "sip:a@[fe80::1%25eth0]"),
    ],
)
def test_check_target_of_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a target; write"):
        uris.check_target(text)


@pytest.mark.parametrize("text", ["sip:{number};x=y@h", "sip:a{number}@h", "sip:a?b@h"])
def test_check_target_with_number_in_its_user_is_valid(text: str) -> None:
    assert uris.check_target(text) == text
