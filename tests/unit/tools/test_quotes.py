"""Messages that docs/troubleshoot.md quotes are messages of the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/troubleshoot.md"

QUOTING = ("`nearest` says", "message, reason", "sentence")
"""Heads of the tables whose first column quotes messages."""

_VARIABLE = re.compile(r"…|[:;]|\b[A-Z]+\b|\b\d+(?: s)?\b|\"[^\"]*\"|\b(?:udp|tcp|tls|edge|but)\b")
"""Where a message has a value, or the code joins two texts."""


def quotes() -> list[str]:
    """Return each message that the first column of such a table quotes."""
    found, quoting = [], False
    for line in PAGE.read_text("utf-8").splitlines():
        cell = line.strip("| ").split(" | ")[0]
        if not line.startswith("|"):
            quoting = False
        elif cell in QUOTING:
            quoting = True
        elif quoting:
            found += [quote for quote in re.findall(r"`([^`]+)`", cell) if " " in quote.strip("… ")]
    return found


@cache
def messages() -> str:
    """Return all texts of the code, with … for each value in them."""
    texts = []
    for file in (ROOT / "src/whence").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_troubleshoot_quotes_some_messages() -> None:
    assert len(quotes()) > 10


@pytest.mark.parametrize("quote", quotes())
def test_troubleshoot_quotes_only_messages_of_the_code(quote: str) -> None:
    fragments = [part.strip(" ,;:…()") for part in _VARIABLE.split(quote)]
    code = messages()
    assert [part for part in fragments if " " in part and part not in code] == []
