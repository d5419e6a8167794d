"""`whence init` writes a file that `whence check` accepts, and replaces none."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path

import pytest

from tests.unit.cli.command import Terminal, whence
from whence.cli.init import STATE_DIR, can_write


def accepted(file: Path) -> str:
    done = whence("check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


HIDDEN = ("Its password", "Password of the account")
"""The questions whose answers the terminal does not show."""


def answer(terminal: Terminal, *dialog: tuple[str, str]) -> None:
    """Give each answer when its question is on the screen."""
    at = 0

    def is_asked(question: str, screen: str) -> bool:
        return question in screen[at:]

    for question, text in dialog:
        terminal.wait_for(partial(is_asked, question))
        if question in HIDDEN:  # what is typed before the echo ends is lost
            terminal.wait_for(lambda _: not terminal.has_echo())
        at = len(terminal.screen)
        terminal.press(f"{text}\n")


def test_init_without_questions_passes_the_check(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    done = whence("init", "-c", file, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"written: {file}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "0 trunks, 0 users" in accepted(file)
    assert tomllib.loads(file.read_text())["edge"]["listen"][0].startswith("udp:")


EDGE = [
    ("Address of this machine", "127.0.0.1"),
    ("SIP domain", "edge.example"),
    ("Calling code", "44"),
    *([] if can_write(STATE_DIR) else [("Directory for the state", "")]),
]


def test_init_asks_and_repeats_a_faulty_answer(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    with Terminal("init", "-c", file, columns=120) as terminal:
        answer(
            terminal,
            ("Address of this machine", "0.0.0.0"),
            ("means every address", "127.0.0.1"),
            *EDGE[1:],
            ("Name of a phone", "al ice"),
            ("is not a name", "alice"),
            ("Its password", ""),
            ("Registrar", "sip:sip.provider.example;transport=tls"),
            ("reached over tls", "sip.provider.example;transport=tcp"),
            ("Your name for the trunk", ""),
            ("User of the account", ""),
            ("it is needed", "acct1"),
            ("User of the password", ""),
            ("Password of the account", 'hun"ter\\2'),
            ("Numbers of the trunk", "020 x"),
            ("write", "02071234567 +442071234568"),
            ("Where its calls go", ""),
        )
        assert terminal.end() == 0
        assert 'hun"ter' not in terminal.screen
    data = tomllib.loads(file.read_text())
    assert data["trunk"] == [
        {
            "id": "provider",
            "registrar": "sip:sip.provider.example;transport=tcp",
            "user": "acct1",
            "password": 'hun"ter\\2',
            "numbers": ["02071234567", "+442071234568"],
            "target": "sip:alice@edge.example",
        }
    ]
    assert len(data["user"][0]["password"]) >= 20
    assert data["user"][0]["password"] not in terminal.screen
    assert "1 trunk, 1 user" in accepted(file)


def test_init_replaces_no_file(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text("precious")
    done = whence("init", "-c", file, "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"whence: {file} exists already")
    assert file.read_text() == "precious"


def test_init_without_a_terminal_says_what_to_write(tmp_path: Path) -> None:
    done = whence("init", "-c", tmp_path / "whence.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "write --yes" in done.stderr


@pytest.mark.parametrize("before", [0, len(EDGE), len(EDGE) + 1])
def test_ctrl_c_at_a_question_writes_nothing(tmp_path: Path, before: int) -> None:
    file = tmp_path / "whence.toml"
    questions = [*EDGE, ("Name of a phone", "alice"), ("Its password", "")]
    with Terminal("init", "-c", file) as terminal:
        answer(terminal, *questions[:before])
        terminal.wait_for(lambda screen: questions[before][0] in screen)
        terminal.press("\x03")
        assert terminal.end() != 0
        assert "Traceback" not in terminal.screen
        assert terminal.has_echo()
    assert list(tmp_path.iterdir()) == []
