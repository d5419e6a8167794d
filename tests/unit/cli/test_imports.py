"""What a start must not import: slow libraries that it does not need, or not yet.

An import of one of them delays the first REGISTER, or stays in the memory of each process.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import whence

LIBRARIES = frozenset(
    {
        *("aiosipua", "anyio", "dns", "fastapi", "httpx", "jinja2", "phonenumbers"),
        *("prometheus_client", "pydantic", "rich", "starlette", "typer", "uvicorn", "uvloop"),
    }
)
"""All libraries of Whence, and the largest of theirs."""

FILE = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
user = "acct1"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
"""

SOURCE = str(Path(whence.__file__).parents[1])
PATH = "import sys; sys.path.append(sys.argv[1])\n"
"""Python starts without site-packages, whose .pth files may import modules."""

PRINT_LIBRARIES = """
import sys
print(*{name.partition(".")[0] for name in sys.modules})
"""


def libraries_after(code: str, *arguments: str) -> set[str]:
    """Run Python code in a process of its own; return the libraries that it has imported."""
    command = [sys.executable, "-c", code + PRINT_LIBRARIES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split()) & LIBRARIES


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import whence.cli.main", set()),
        ("import whence.cli.service.preflight", {"pydantic"}),
        ("import whence.agent.config.load", {"pydantic"}),
        ("import whence.agent.main", {"pydantic", "uvloop", "dns"}),
        ("import whence.agent.dropin.main", {"pydantic", "uvloop"}),
    ],
)
def test_import_of_a_start_needs_few_libraries(code: str, allowed: set[str]) -> None:
    assert libraries_after(code) <= allowed


def test_api_without_a_webhook_needs_no_http_client() -> None:
    code = (
        "import whence.agent.http_api, whence.agent.api.actions, whence.agent.runtime.http_server"
    )
    assert not libraries_after(code) & {"httpx", "rich", "typer", "jinja2", "phonenumbers"}


LARGE_MODULES = frozenset(
    {
        *(
            "asyncio",
            "dataclasses",
            "email",
            "http",
            "inspect",
            "ipaddress",
            "json",
            "multiprocessing",
        ),
        *("shlex", "sqlite3", "ssl", "tempfile", "tomllib", "urllib", "uuid"),
    }
)
"""Modules of the standard library that each take a tenth of the memory of `whence run`, or more."""


def test_process_of_whence_run_imports_no_large_module() -> None:
    """It stays in memory as long as the node, and only waits."""
    code = "import whence.cli.main, whence.cli.service.supervisor"
    command = [sys.executable, "-I", "-S", "-c", PATH + code + PRINT_LIBRARIES, SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert set(done.stdout.split()) & (LIBRARIES | LARGE_MODULES) == set()


def test_command_line_imports_nothing_before_it_handles_sigint() -> None:
    """Python itself prints a traceback for SIGINT until then."""
    code = """
import re, signal, sys
before = set(sys.modules)
import whence.cli.main
print(*sorted(set(sys.modules) - before))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["__future__", "whence", "whence.cli", "whence.cli.main"]


@pytest.mark.parametrize("command", ["run", "agent"])
def test_service_command_needs_no_command_line_library(command: str, tmp_path: Path) -> None:
    code = """
import sys
from whence.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 2, end
"""
    missing = tmp_path / "missing.toml"
    assert libraries_after(code, command, "-c", str(missing)) <= {"pydantic", "uvloop", "dns"}


def test_load_of_a_file_without_numbers_needs_pydantic_only(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(FILE, encoding="utf-8")
    code = """
import sys
from pathlib import Path
from whence.agent.config.load import load
load(Path(sys.argv[1]))
"""
    assert libraries_after(code, str(file)) == {"pydantic"}


def test_check_needs_no_library_of_the_api(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(FILE, encoding="utf-8")
    code = """
import sys
from whence.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end
"""
    assert libraries_after(code, "check", "-c", str(file)) <= {"pydantic", "typer"}
