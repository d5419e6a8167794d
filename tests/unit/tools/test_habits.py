"""Makefile, documents, docs site, CI workflow, hooks and tests agree with each other."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / ".github/PULL_REQUEST_TEMPLATE.md",
]
# A command is in backticks, in a code block, or in a step. Prose such as "make sure" is none.
COMMAND = re.compile(r"(?:`|^ {4,}|run: )make ([a-z][a-z-]*)", re.MULTILINE)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pages_of(nav: Any) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    entries = nav.values() if isinstance(nav, dict) else nav
    return set().union(*(pages_of(entry) for entry in entries))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_command_in_document_is_a_target(path: Path) -> None:
    assert set(COMMAND.findall(path.read_text(encoding="utf-8"))) <= TARGETS


def test_ci_run_calls_make_targets() -> None:
    called = re.findall(r"^make ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert {"check", "test"} <= set(called) <= TARGETS


def test_contributing_names_the_daily_targets() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    daily = {
        "setup",
        "setup-dev",
        "check",
        "fmt",
        "test",
        "test-fast",
        "cov",
        "docs",
        "dist",
        "lock",
    }
    assert daily <= set(COMMAND.findall(text))


def test_make_help_lists_each_target() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True)
    listed = set(re.findall(r"^make ([a-z-]+)", shown.stdout.decode(), re.MULTILINE))
    assert listed == TARGETS - {"help"}


def test_phony_names_each_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (phony,) = re.findall(r"^\.PHONY:(.*)", makefile, re.MULTILINE)
    assert set(phony.split()) == TARGETS


def test_docs_nav_names_each_page() -> None:
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= pages_of(load(ROOT / "mkdocs.yml")["nav"])


def test_generated_documents_are_current() -> None:
    check = [sys.executable, str(ROOT / "tools/generate_states.py"), "--check"]
    found = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr


def test_docs_theme_loads_no_font() -> None:
    settings = load(ROOT / "mkdocs.yml")
    assert settings["theme"]["font"] is False
    assert "analytics" not in settings.get("extra", {})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_make_targets(path: Path) -> None:
    called = COMMAND.findall(path.read_text(encoding="utf-8"))
    assert {"check", "test"} <= set(called) <= TARGETS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_actions_are_pinned_by_commit(path: Path) -> None:
    steps = [step for job in load(path)["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used)


def test_pre_commit_hooks_run_the_tools_of_make_check() -> None:
    recipe = subprocess.run(
        ["make", "-n", "check"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    for repo in load(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            assert hook["entry"].split()[0] in recipe.split()


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name
)
def test_issue_template_is_whole(path: Path) -> None:
    form = load(path)
    if path.name == "config.yml":
        assert form["blank_issues_enabled"] is False
    else:
        assert {"name", "description", "body"} <= set(form)


def test_lock_files_name_no_host() -> None:
    for path in ROOT.glob("requirements*.lock"):
        assert not re.search(r"://|--(?:index|extra-index|find-links|trusted)", path.read_text())


def test_files_that_architecture_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+/[\w/]+\.(?:py|cfg\.j2))`", text))
    assert named
    missing = [
        path
        for path in sorted(named)
        if not any((root / path).exists() for root in (ROOT, ROOT / "src/whence"))
    ]
    assert missing == []


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file imports, and the names that it imports from modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ["tests", "testkit", "bench", "demo"])
def test_modules_import_no_test_module(folder: str) -> None:
    modules = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert modules
    # To parse each file takes seconds: only those that name a test module are parsed.
    importers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        if modules & set(re.findall(r"\btest_\w+", path.read_text(encoding="utf-8")))
        for name in imported_by(path)
        if modules.intersection(name.split("."))
    }
    assert importers == set(), "move what is shared into a module that is no test"
