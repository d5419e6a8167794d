"""An operator's setup has all that Whence and the demo need, and no test tool."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pins(group: str = "") -> dict[str, str]:
    """Return library → version of a lock file."""
    text = (ROOT / f"requirements{group}.lock").read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", one)[0].lower() for one in requirements}


def test_lock_has_each_dependency_and_no_test_tool() -> None:
    assert names(PROJECT["project"]["dependencies"]) <= pins().keys()
    tools = names(PROJECT["project"]["optional-dependencies"]["dev"])
    assert not tools & pins().keys()


@pytest.mark.parametrize("group", ["", "-build"])
def test_dev_lock_has_the_same_versions(group: str) -> None:
    assert pins(group).items() <= pins("-dev").items()


def test_demo_imports_no_test_tool() -> None:
    tools = sorted(one.replace("-", "_") for one in pins("-dev").keys() - pins().keys())
    shown = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import sys, demo.steps; print(*set({tools}).intersection(sys.modules))",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.split() == []


def test_debian_packages_are_in_known_sections() -> None:
    text = (ROOT / "tools/debian-packages").read_text("utf-8")
    sections = re.findall(r"^# \[(\w+)\]", text, re.MULTILINE)
    assert sections == ["run", "setup", "demo", "dev"]
    first = text.index("# [run]")
    assert not re.search(r"^[^#\s]", text[:first], re.MULTILINE)
