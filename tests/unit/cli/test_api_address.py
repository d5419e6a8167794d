"""`-c FILE` of a command that asks the API: the file has the address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.api import Api, listed
from tests.unit.cli.command import whence
from whence.cli.api_address import api_of
from whence.errors import ConfigError


@pytest.mark.parametrize("name", ["whence.toml", "drop-in.toml"])
def test_command_asks_the_api_of_its_file(api: Api, tmp_path: Path, name: str) -> None:
    api.answers["/v1/trunks"] = (200, listed())
    file = tmp_path / name
    file.write_text(f'[agent]\napi_listen = "{api.url.removeprefix("http://")}"\n[edge]\nx = 1\n')
    done = whence("trunks", "-c", file, WHENCE_API="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, "no trunk is configured\n")


@pytest.mark.parametrize("text", ["", "[agent]\n", "agent = 1\n"])
def test_api_of_a_file_without_the_key_is_the_default(tmp_path: Path, text: str) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(text)
    assert api_of(file) == "http://127.0.0.1:8088"


@pytest.mark.parametrize("value", ['"192.0.2.1"', '"x"', "7", '"127.0.0.1:8088/@evil"'])
def test_api_of_a_faulty_key_names_its_place(tmp_path: Path, value: str) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(f"[agent]\napi_listen = {value}\n")
    with pytest.raises(ConfigError, match=r"^whence.toml: agent: api_listen: "):
        api_of(file)


def test_file_that_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    done = whence("trunks", "-c", tmp_path / "missing.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{tmp_path}/missing.toml: cannot be read")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('api_listen = "192.0.2.1:8088"', "http://192.0.2.1:8088"),
        (
            'api_listen = "192.0.2.1:8088"\napi_certificate = "c.pem"',
            "https://192.0.2.1:8088",
        ),
        ('api_listen = "unix:/run/whence/api.sock"', "unix:/run/whence/api.sock"),
    ],
)
def test_api_of_a_file_has_its_scheme(tmp_path: Path, keys: str, expected: str) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(f"[agent]\n{keys}\n")
    assert api_of(file) == expected
