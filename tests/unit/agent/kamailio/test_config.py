"""The generated kamailio.cfg follows the settings, and no value can inject a line."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from testkit.certificates import Authority
from whence.agent.config.load import load
from whence.agent.config.models import Config, EdgeConfig
from whence.agent.kamailio.config import render, write, write_tls_config
from whence.agent.kamailio.start import START_OPTIONS, TLS_FILE, command
from whence.agent.registration.client import BUFFER_BYTES
from whence.core.registration.grant import GRANT_LIMIT_S
from whence.errors import ConfigError, OperatorError


def rendered(folder: Path, text: str = "", name: str = "whence.toml") -> str:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return render(load(file), file)


def lines(config: str, beginning: str) -> list[str]:
    return [line for line in config.splitlines() if line.startswith(beginning)]


def test_write_tls_config_reports_an_unwritable_file(tmp_path: Path) -> None:
    authority = Authority("authority", tmp_path)
    own = authority.certificate("DNS:edge.example")
    file = tmp_path / "whence.toml"
    file.write_text(
        f'[edge]\nlisten = ["tls:127.0.0.1:5061"]\n[edge.tls]\ncertificate = "{own.certificate}"\n'
        f'key = "{own.key}"\nca = "{authority.file}"\n[agent]\nstate_dir = "{tmp_path}"\n'
    )
    (tmp_path / TLS_FILE).mkdir()
    with pytest.raises(OperatorError, match=r"tls\.cfg cannot be written: Is a directory"):
        write_tls_config(load(file))


def test_render_listens_on_all_sockets_and_the_agent_socket(
    tmp_path: Path,
) -> None:
    config = rendered(
        tmp_path,
        '[edge]\nlisten = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5061", "udp:[::1]:5060"]\n'
        'agent_socket = "udp:127.0.0.1:5070"\nworkers = 3\n',
    )
    assert lines(config, "listen=") == [
        "listen=udp:127.0.0.1:5060",
        "listen=tcp:127.0.0.1:5061",
        "listen=udp:[::1]:5060",
        "listen=udp:127.0.0.1:5070",
    ]
    worker, agent = re.findall(r"^(?:socket_workers=1.*|listen=udp:127.0.0.1:5070)$", config, re.M)
    assert worker.startswith("socket_workers=1") and agent.endswith("5070")
    assert "children=3" in lines(config, "children=")


def test_render_advertises_for_all_but_the_agent_socket(
    tmp_path: Path,
) -> None:
    config = rendered(tmp_path, '[edge]\nadvertise = "203.0.113.1:5070"\n')
    assert lines(config, "listen=") == [
        "listen=udp:127.0.0.1:5060 advertise 203.0.113.1:5070",
        "listen=udp:127.0.0.1:5062",
    ]
    assert 'alias="203.0.113.1:5070"' in lines(config, "alias=")


def test_render_of_advertised_ip_keeps_ports_and_other_family(
    tmp_path: Path,
) -> None:
    sockets = '"udp:127.0.0.1:5060", "tcp:127.0.0.1:5080", "udp:[::1]:5060"'
    config = rendered(tmp_path, f'[edge]\nadvertise = "203.0.113.1"\nlisten = [{sockets}]\n')
    assert lines(config, "listen=")[:3] == [
        "listen=udp:127.0.0.1:5060 advertise 203.0.113.1:5060",
        "listen=tcp:127.0.0.1:5080 advertise 203.0.113.1:5080",
        "listen=udp:[::1]:5060",
    ]
    assert lines(config, "alias=")[-2:] == [
        'alias="203.0.113.1:5060"',
        'alias="203.0.113.1:5080"',
    ]


def test_render_has_the_domain_with_each_port_as_alias(tmp_path: Path) -> None:
    config = rendered(
        tmp_path,
        '[edge]\ndomain = "pbx.example"\nlisten = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5090"]\n',
    )
    assert lines(config, "alias=") == [
        'alias="pbx.example"',
        'alias="pbx.example:5060"',
        'alias="pbx.example:5090"',
    ]


def test_render_with_tls_keeps_idle_connections_as_long_as_tcp(tmp_path: Path) -> None:
    authority = Authority("authority", tmp_path)
    own = authority.certificate("DNS:edge.example")
    config = rendered(
        tmp_path,
        f'[edge]\nlisten = ["tls:127.0.0.1:5061"]\n[edge.tls]\n'
        f'certificate = "{own.certificate}"\nkey = "{own.key}"\nca = "{authority.file}"\n',
    )
    [over_tcp] = re.findall(r"^tcp_connection_lifetime=(\d+)", config, re.MULTILINE)
    [over_tls] = re.findall(r'"tls", "connection_timeout", (\d+)', config)
    assert over_tcp == over_tls


def test_render_udp_buffer_is_as_large_as_the_agents(tmp_path: Path) -> None:
    assert lines(rendered(tmp_path), f"maxbuffer={BUFFER_BYTES} ")


def test_render_has_timer_c_above_three_minutes(tmp_path: Path) -> None:
    config = rendered(tmp_path)
    [timer_c_ms] = re.findall(r'"tm", "fr_inv_timer", (\d+)', config)
    [lifetime_ms] = re.findall(r'"tm", "max_inv_lifetime", (\d+)', config)
    assert 180_000 < int(timer_c_ms) < int(lifetime_ms)


def test_render_keeps_idle_connections_longer_than_any_grant(tmp_path: Path) -> None:
    config = rendered(tmp_path, '[edge]\nlisten = ["tcp:127.0.0.1:5060"]\n')
    [lifetime_s] = re.findall(r"^tcp_connection_lifetime=(\d+)", config, re.MULTILINE)
    assert int(lifetime_s) > GRANT_LIMIT_S


def test_render_without_tcp_socket_disables_tcp(tmp_path: Path) -> None:
    assert lines(rendered(tmp_path), "disable_tcp") == ["disable_tcp=yes"]
    with_tcp = rendered(tmp_path, '[edge]\nlisten = ["tcp:127.0.0.1:5060"]\n')
    assert lines(with_tcp, "disable_tcp") == []
    assert lines(with_tcp, "tcp_children") == ["tcp_children=2"]


def test_render_defines_the_edge_settings_as_json(tmp_path: Path) -> None:
    (define,) = lines(rendered(tmp_path), "#!define WHENCE_EDGE ")
    edge = json.loads(define.removeprefix("#!define WHENCE_EDGE "))
    assert edge["directory"] == "/var/lib/whence/directory.db"
    assert edge["domain"] == "edge.example"
    assert 'if (dst_port == 5062 && $Ri == "127.0.0.1") {' in rendered(tmp_path)


def test_render_has_no_secret(tmp_path: Path) -> None:
    config = rendered(
        tmp_path,
        '[[trunk]]\nid = "acme"\nregistrar = "sip:192.0.2.1"\nuser = "acct1"\n'
        'password = "hunter2"\ntarget = "sip:pbx@192.0.2.9"\n'
        '[[user]]\nname = "alice"\npassword = "topsecret"\n',
    )
    assert "hunter2" not in config and "topsecret" not in config


@pytest.mark.parametrize(
    "text",
    [
        '[agent]\nstate_dir = "/tmp/a\\nlisten=udp:192.0.2.1:5060"\n',
        '[agent]\nstate_dir = "/tmp/a\\")\\nlisten=udp:192.0.2.1:5060"\n',
        '[agent]\nstate_dir = "/tmp/a\\rb"\n',
        '[agent]\nstate_dir = "/tmp/a#!b"\n',
        '[agent]\nstate_dir = "relative"\n',
        '[edge]\ndomain = "a\\nlisten=udp:192.0.2.1:5060"\n',
        '[edge]\ndomain = "a\\"b"\n',
        '[edge]\nadvertise = "192.0.2.1:5060\\nlisten=udp:192.0.2.2:5060"\n',
        '[edge]\nlisten = ["udp:127.0.0.1:5060\\nlisten=udp:192.0.2.2:5060"]\n',
    ],
)
def test_render_of_value_with_line_break_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        rendered(tmp_path, text)


@pytest.mark.parametrize("name", ["a\nlisten=udp:192.0.2.1:5060\n#.toml", 'a"b #!define x.toml'])
def test_render_of_odd_file_name_adds_no_line(tmp_path: Path, name: str) -> None:
    plain, odd = rendered(tmp_path).splitlines(), rendered(tmp_path, name=name).splitlines()
    assert len(odd) == len(plain)
    differing = [b for a, b in zip(plain, odd, strict=True) if a != b]
    assert all(line.startswith("# ") for line in differing)


def test_command_has_the_allocator_and_memory_options() -> None:
    assert command("/x/kamailio.cfg") == [
        "kamailio",
        "-f",
        "/x/kamailio.cfg",
        "-DD",
        "-E",
        *START_OPTIONS,
    ]
    options = " ".join(START_OPTIONS)
    assert "-x tlsf -X tlsf" in options and "-m " in options


def test_render_shows_the_start_command(tmp_path: Path) -> None:
    assert f"kamailio -f THIS-FILE {' '.join(START_OPTIONS)}" in rendered(tmp_path)


def test_render_of_same_settings_is_equal(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    settings = Config(edge=EdgeConfig())
    assert render(settings, file) == render(settings, file)


def test_write_of_the_same_text_keeps_the_file(tmp_path: Path) -> None:
    """A full disk has no space for another one."""
    file = tmp_path / "kamailio.cfg"
    write(file, "text")
    before = file.stat().st_ino
    write(file, "text")
    assert file.stat().st_ino == before
    write(file, "other text")
    assert file.read_text() == "other text"


@pytest.mark.parametrize("fault", ["readable by others", "a link"])
def test_write_of_the_same_text_replaces_an_unsafe_file(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "kamailio.cfg"
    if fault == "a link":
        (tmp_path / "other").write_text("text")
        file.symlink_to(tmp_path / "other")
    else:
        file.write_text("text")
        file.chmod(0o644)
    write(file, "text")
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
