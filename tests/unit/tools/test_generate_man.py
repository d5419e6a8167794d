"""The man page and the completion scripts are current, and work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from tools.generate_man import COMPLETION, PAGE, SCRIPTS, page, script
from whence.cli.main import commands


def test_man_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: make generate"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_completion_script_is_current(shell: str) -> None:
    written = (COMPLETION / SCRIPTS[shell]).read_text(encoding="utf-8")
    assert written == script(shell), "run: make generate"


def test_man_page_has_each_command_and_option() -> None:
    text = page().replace("\\-", "-")
    for name, command in typer.main.get_command(commands()).commands.items():  # type: ignore[attr-defined]
        section = text.partition(f'.SS "whence {name} ')[2].partition(".SS ")[0]
        assert section, name
        for param in command.params:
            if param.param_type_name == "option" and "--help" not in param.opts:
                assert any(f"{one}" in section for one in param.opts), (name, param.opts)


def test_man_page_is_accepted_by_groff() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-K", "utf8", PAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "whence explain" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [("whence tru", {"trunk", "trunks"}), ("whence trunks --wi", {"--wide"})],
)
def test_bash_completion_completes(line: str, expected: set[str]) -> None:
    words = " ".join(f"'{word}'" for word in line.split())
    code = f"""
        source {COMPLETION}/whence.bash
        COMP_WORDS=({words}) COMP_CWORD={len(line.split()) - 1}
        _whence_completion whence
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", code],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (set(done.stdout.split()), done.stderr) == (expected, "")
