"""The generated kamailio.cfg: what the file says, and nothing that the file slips in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from testkit.certificates import Authority
from whence.agent.config.load import load
from whence.agent.config.models import Config, EdgeConfig
from whence.agent.kamailio.config import START_OPTIONS, TLS_FILE, command, render, write_tls_config
from whence.errors import ConfigError, OperatorError


def rendered(folder: Path, text: str = "", name: str = "whence.toml") -> str:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return render(load(file), file)


def lines(config: str, beginning: str) -> list[str]:
    return [line for line in config.splitlines() if line.startswith(beginning)]


def test_a_file_for_tls_that_cannot_be_written_is_named(tmp_path: Path) -> None:
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


def test_each_socket_is_listened_on_and_the_inside_one_has_a_worker_of_its_own(
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


def test_providers_see_the_advertised_place_and_the_agent_socket_has_none(
    tmp_path: Path,
) -> None:
    config = rendered(tmp_path, '[edge]\nadvertise = "203.0.113.1:5070"\n')
    assert lines(config, "listen=") == [
        "listen=udp:127.0.0.1:5060 advertise 203.0.113.1:5070",
        "listen=udp:127.0.0.1:5062",
    ]
    assert 'alias="203.0.113.1:5070"' in lines(config, "alias=")


def test_an_advertised_ip_alone_leaves_each_socket_its_port_and_the_other_family_its_ip(
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


def test_the_domain_is_ours_with_and_without_our_ports(tmp_path: Path) -> None:
    config = rendered(
        tmp_path,
        '[edge]\ndomain = "pbx.example"\nlisten = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5090"]\n',
    )
    assert lines(config, "alias=") == [
        'alias="pbx.example"',
        'alias="pbx.example:5060"',
        'alias="pbx.example:5090"',
    ]


def test_without_a_tcp_socket_there_is_no_tcp(tmp_path: Path) -> None:
    assert lines(rendered(tmp_path), "disable_tcp") == ["disable_tcp=yes"]
    with_tcp = rendered(tmp_path, '[edge]\nlisten = ["tcp:127.0.0.1:5060"]\n')
    assert lines(with_tcp, "disable_tcp") == []
    assert lines(with_tcp, "tcp_children") == ["tcp_children=2"]


def test_the_edge_is_told_what_it_must_know_as_one_line_of_json(tmp_path: Path) -> None:
    (define,) = lines(rendered(tmp_path), "#!define WHENCE_EDGE ")
    said = json.loads(define.removeprefix("#!define WHENCE_EDGE "))
    assert said["directory"] == "/var/lib/whence/directory.db"
    assert said["domain"] == "edge.example"
    assert 'if (dst_port == 5062 && $Ri == "127.0.0.1") {' in rendered(tmp_path)


def test_no_secret_is_in_it(tmp_path: Path) -> None:
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
def test_no_value_of_the_file_brings_a_line_of_its_own(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        rendered(tmp_path, text)


@pytest.mark.parametrize("name", ["a\nlisten=udp:192.0.2.1:5060\n#.toml", 'a"b #!define x.toml'])
def test_the_name_of_the_file_brings_no_line_of_its_own(tmp_path: Path, name: str) -> None:
    plain, odd = rendered(tmp_path).splitlines(), rendered(tmp_path, name=name).splitlines()
    assert len(odd) == len(plain)
    differing = [b for a, b in zip(plain, odd, strict=True) if a != b]
    assert all(line.startswith("# ") for line in differing)


def test_kamailio_is_started_with_the_allocator_and_the_memory_it_needs() -> None:
    assert command(Path("/x/kamailio.cfg")) == [
        "kamailio",
        "-f",
        "/x/kamailio.cfg",
        "-DD",
        "-E",
        *START_OPTIONS,
    ]
    options = " ".join(START_OPTIONS)
    assert "-x tlsf -X tlsf" in options and "-m " in options


def test_the_comment_shows_how_to_start_it(tmp_path: Path) -> None:
    assert f"kamailio -f THIS-FILE {' '.join(START_OPTIONS)}" in rendered(tmp_path)


def test_what_is_rendered_depends_on_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    settings = Config(edge=EdgeConfig())
    assert render(settings, file) == render(settings, file)
