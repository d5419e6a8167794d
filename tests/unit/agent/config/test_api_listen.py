"""The keys of the API: where it listens, and what it needs there."""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.certificates import Authority
from whence.agent.config.load import load
from whence.agent.config.models import AgentConfig
from whence.errors import ConfigError


def agent(folder: Path, text: str) -> AgentConfig:
    file = folder / "whence.toml"
    file.write_text(f"[agent]\n{text}\n")
    return load(file).agent


def fault(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        agent(folder, text)
    (one,) = refused.value.faults
    return one


@pytest.mark.parametrize(
    ("listen", "url", "needs_token"),
    [
        ("127.0.0.1:8088", "http://127.0.0.1:8088", False),
        ("[::1]:8088", "http://[::1]:8088", False),
        ("unix:/run/whence/api.sock", "unix:/run/whence/api.sock", False),
    ],
)
def test_api_on_this_machine_needs_neither_token_nor_tls(
    tmp_path: Path, listen: str, url: str, needs_token: bool
) -> None:
    own = agent(tmp_path, f'api_listen = "{listen}"')
    assert (own.api_url, own.api_needs_token) == (url, needs_token)


def test_api_token_required_demands_tokens_on_loopback(tmp_path: Path) -> None:
    assert agent(tmp_path, "api_token_required = true").api_needs_token


@pytest.mark.parametrize("listen", ["127.0.0.1:8088", "unix:/run/whence/api.sock"])
def test_api_behind_a_proxy_needs_tokens_on_this_machine(tmp_path: Path, listen: str) -> None:
    """The proxy passes on requests from everywhere."""
    own = agent(tmp_path, f'api_listen = "{listen}"\napi_behind_proxy = true')
    assert own.api_needs_token


def test_api_beyond_loopback_without_tls_is_refused(tmp_path: Path) -> None:
    assert "can be reached from outside" in fault(tmp_path, 'api_listen = "192.0.2.9:8088"')


def test_api_beyond_loopback_behind_a_proxy_needs_tokens(tmp_path: Path) -> None:
    text = 'api_listen = "192.0.2.9:8088"\napi_behind_proxy = true\napi_hosts = ["A.example"]'
    own = agent(tmp_path, text)
    assert own.api_needs_token
    assert own.api_names == ["192.0.2.9", "a.example"]


def test_api_beyond_loopback_with_tls_needs_tokens(tmp_path: Path) -> None:
    made = Authority("ca", tmp_path).certificate("IP:192.0.2.9")
    own = agent(
        tmp_path,
        f'api_listen = "192.0.2.9:8088"\napi_certificate = "{made.certificate.name}"\n'
        f'api_key = "{made.key.name}"',
    )
    assert own.api_needs_token
    assert own.api_url == "https://192.0.2.9:8088"
    assert [named.secret for named in own.named_files()] == [False, True]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('api_certificate = "x.pem"', "api_certificate and api_key are needed together"),
        ('api_certificate = "x.pem"\napi_key = "x.key"', "cannot be read"),
        ('api_listen = "unix:relative"', "is not an absolute path"),
        ('api_listen = "8088"', "is not ip:port"),
        ('api_hosts = ["a/b"]', "is not a host name"),
    ],
)
def test_api_key_that_is_wrong_names_the_right_form(tmp_path: Path, text: str, part: str) -> None:
    assert part in fault(tmp_path, text)
