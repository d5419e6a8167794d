"""What `whence check` warns of, though the file is valid."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from whence.agent.config.doubts import RENEW_WITHIN_S, config_doubts
from whence.agent.config.load import checked_config
from whence.trust.certificates import expires_at

TRUNK: dict[str, Any] = {
    "id": "acme",
    "registrar": "sip:192.0.2.1",
    "user": "acct1",
    "password": "hunter2",
    "target": "sip:{number}@192.0.2.9",
}
USER = {"name": "alice", "password": "topsecret"}


def doubts(now: float = 0.0, **tables: Any) -> list[str]:
    config, faults = checked_config(tables, Path("whence.toml"))
    assert config is not None and not faults, faults
    return list(config_doubts(config, now))


def test_config_without_a_doubt_has_no_warning() -> None:
    other = {**TRUNK, "id": "bell", "user": "acct2"}
    home = {**TRUNK, "id": "home", "user": "acct3", "target": "sip:alice@edge.example"}
    assert doubts(trunk=[TRUNK, other, home], user=[USER]) == []


@pytest.mark.parametrize("listen", ["udp:203.0.113.77:5060", "tcp:[2001:db8::77]:5060"])
def test_socket_of_another_machine_is_a_doubt(listen: str) -> None:
    (doubt,) = doubts(edge={"listen": [listen]})
    assert doubt.startswith(f'edge: listen: "{listen}" is no address of this machine')


def test_password_of_an_example_is_a_doubt() -> None:
    trunk, user = {**TRUNK, "password": "secret"}, {**USER, "password": "change me"}
    found = doubts(trunk=[trunk], user=[user])
    assert [one.partition(": is that")[0] for one in found] == [
        'trunk "acme": password',
        'user "alice": password',
    ]


def test_account_that_occurs_twice_is_a_doubt() -> None:
    again = {**TRUNK, "id": "again"}
    (doubt,) = doubts(trunk=[TRUNK, again])
    assert doubt.startswith('trunk "again": has the account of trunk "acme"')
    assert doubts(trunk=[TRUNK, {**again, "enabled": False}]) == []
    assert doubts(trunk=[TRUNK, {**again, "registrar": "sip:192.0.2.2"}]) == []


@pytest.mark.parametrize(
    ("target", "names", "expected"),
    [
        ("sip:{number}@edge.example", ["alice"], 1),
        ("sip:{number}@127.0.0.1:5060", [], 1),
        ("sip:{number}@127.0.0.1", ["442071234567"], 0),
        ("sip:{number}@127.0.0.1:5080", [], 0),
        ("sip:alice@127.0.0.1", ["alice"], 0),
        ("sip:bob@127.0.0.1", ["alice"], 1),
    ],
)
def test_target_at_the_edge_needs_a_user(target: str, names: list[str], expected: int) -> None:
    users = [{**USER, "name": name} for name in names]
    found = doubts(trunk=[{**TRUNK, "target": target}], user=users)
    assert [one.partition(": ")[0] for one in found] == ['trunk "acme"'] * expected


def test_certificate_that_ends_is_a_doubt(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=e", "-days", "30"),
        ],
        check=True,
        capture_output=True,
    )
    printed = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-enddate", "-dateopt", "iso_8601"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    end = expires_at(certificate.read_text(encoding="ascii"))
    day = printed.removeprefix("notAfter=")[:10]
    edge = {
        "listen": ["tls:127.0.0.1:5061"],
        "tls": {"certificate": str(certificate), "key": str(key)},
    }
    assert doubts(end - RENEW_WITHIN_S - 1, edge=edge) == []
    (soon,) = doubts(end - 1, edge=edge)
    assert soon == f'edge: tls: certificate: "{certificate}" expires on {day}; renew it'
    (over,) = doubts(end, edge=edge)
    assert f'certificate: "{certificate}" expired on {day}, so phones' in over
