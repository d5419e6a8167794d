"""Check the language rules of CONTRIBUTING.md in Python files: comments, docstrings, test names.

Usage: ``check_language.py [PATH …]``. Prints ``file:line: what is wrong`` for each fault, and exits
with 1 where there is one. Without a path it checks every Python file of the project.

It checks what a program can check. A sentence has at most 20 words. The words of ``FORBIDDEN`` do
not occur. The name of a test has at most 60 characters, and begins with the unit that it tests.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "testkit", "demo", "bench", "tools")
WORDS = 20
NAME = 60

FORBIDDEN = {
    re.compile(pattern, re.IGNORECASE): instead
    for pattern, instead in {
        r"\b(?:whoever|whomever|whatever|nobody|no one)\b": "name the actor",
        r"\b(?:hears?|heard|hearing|tells?|told|telling|untold|vouch(?:es|ed)?)\b": (
            "a program receives, sends, reports, verifies"
        ),
        r"\b(?:believes?|believed|trusts? to)\b": "a program accepts, assumes, requires",
        r"\b(?:comes? of it|comes? of this|came of)\b": "results, follows",
        r"\bstrangers?\b": "unknown source",
        r"\b(?:clash|clashes|clashed)\b": "conflict",
        r"\b(?:lapse|lapses|lapsed)\b": "expire",
        r"\b(?:seal|seals|sealed)\b": "MAC",
        r"\b(?:wherefore|whence it|thereof|therein|hereof|lest|nought|aught)\b": "plain English",
        r"\b(?:took|takes?|taken) back\b": "unregister, revoke, undo",
    }.items()
}
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[^a-z])|\n\s*\n|\n\s*[-*]\s|\n(?=\w+:\s)|;\s")
_CODE = re.compile(r"``[^`]*``|`[^`]*`|\"[^\"\n]*\"|<[^<>\n]*>")
_VAGUE_NAME = re.compile(
    r"^test_(?:a|an|the|what|who|it|no|nothing|every|each|one|two|and|of|that)_"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at a line of a file: ``message`` says what is wrong."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}: {self.message}"


def main(arguments: list[str]) -> int:
    """Print the faults of the files named (or of all), and return the exit status."""
    paths = [Path(name).resolve() for name in arguments] or [ROOT / name for name in FOLDERS]
    faults = [fault for path in files(paths) for fault in check(path)]
    for fault in faults:
        print(fault)
    if faults:
        print(f"{len(faults)} faults of language")
    return 1 if faults else 0


def files(paths: list[Path]) -> Iterator[Path]:
    """Yield the Python files of the paths, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        elif path.suffix == ".py":
            yield path


def check(path: Path) -> Iterator[Fault]:
    """Yield the faults of one file."""
    source = path.read_text()
    for line, text in [*_docstrings(source), *_comments(source)]:
        for message in prose_faults(text):
            yield Fault(path, line, message)
    if path.name.startswith("test_"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for message in name_faults(node.name):
                    yield Fault(path, node.lineno, message)


def prose_faults(text: str) -> Iterator[str]:
    """Yield what is wrong with a comment or docstring."""
    plain = _CODE.sub("X", text)
    for sentence in _SENTENCE_END.split(plain):
        words = [word for word in sentence.split() if re.search(r"\w", word)]
        if len(words) > WORDS:
            yield f"{len(words)} words in a sentence: {' '.join(words[:6])} …"
    for pattern, instead in FORBIDDEN.items():
        if match := pattern.search(plain):
            yield f'"{match.group()}": {instead}'


def name_faults(name: str) -> Iterator[str]:
    """Yield what is wrong with the name of a test; of other functions nothing."""
    if not name.startswith("test_"):
        return
    if len(name) > NAME:
        yield f"{name} has {len(name)} characters; {NAME} at most"
    if _VAGUE_NAME.match(name):
        yield f"{name} does not begin with the unit that it tests"


def _docstrings(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield node.body[0].lineno, text


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each block of comment lines as one text, with its first line."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#").strip()
        if re.match(r"noqa|type:|pragma|fmt:|mypy:|!/", text):
            continue
        if block and token.start[0] == last + 1:
            block.append(text)
        else:
            if block:
                yield first, "\n".join(block)
            block, first = [text], token.start[0]
        last = token.start[0]
    if block:
        yield first, "\n".join(block)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
