"""What a configuration of Kamailio is read into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; `in_main`: the line of the main file that led there."""

    file: Path
    line: int
    in_main: int

    def __str__(self) -> str:
        return f"{self.file.name}: line {self.line}"


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a string (without its quotes) or a sign."""

    text: str
    place: Place
    is_string: bool = False
    apart: bool = True
    """Whether there is space before it."""


@dataclass(frozen=True, slots=True)
class Param:
    """One `modparam`: a number is written as in the file."""

    module: str
    name: str
    value: str
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A route of any kind; `name` is empty where it has none."""

    kind: str
    name: str
    place: Place
    body: tuple[Token, ...]

    def calls(self, function: str) -> Iterator[tuple[Place, str]]:
        """Where this function is called, with its first argument where that is one word."""
        body = self.body
        for i, token in enumerate(body[:-1]):
            called = token.text == function and not token.is_string and body[i + 1].text == "("
            if called and (i == 0 or body[i - 1].text != "$"):
                yield token.place, body[i + 2].text if i + 2 < len(body) else ""

    def names(self, words: Iterable[str]) -> Iterator[Token]:
        """Find these words in it, outside of strings."""
        wanted = frozenset(words)
        return (token for token in self.body if token.text in wanted and not token.is_string)


@dataclass(slots=True)
class Cfg:
    """What a configuration says, as far as it could be read."""

    file: Path
    modules: dict[str, Place] = field(default_factory=dict)
    params: list[Param] = field(default_factory=list)
    settings: list[tuple[str, str, Place]] = field(default_factory=list)
    """Global parameters: (name, value, where); `listen` and `mpath` may be there several times."""
    blocks: list[Block] = field(default_factory=list)
    includes: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What could not be read, one sentence each."""
    left_out: Place | None = None
    """Where the file is included that was not to be read."""
    after_modules: int = 0
    """The line of the main file after which no module is loaded or set any more; 0: none is."""

    def param(self, module: str, name: str) -> Param | None:
        """Give what a module's parameter is set to last."""
        found = [p for p in self.params if (p.module, p.name) == (module, name)]
        return found[-1] if found else None

    def setting(self, *names: str) -> tuple[str, Place] | None:
        """Give what a global parameter is set to last."""
        found = [(value, place) for name, value, place in self.settings if name in names]
        return found[-1] if found else None

    def block(self, *kinds: str, name: str = "") -> Block | None:
        """Find a block by what it is and is called."""
        return next((b for b in self.blocks if b.kind in kinds and b.name == name), None)

    def within(self, block: Block) -> list[Block]:
        """Give a block, and all routes that are called from it, as often as may be."""
        found, left = [block], [block]
        while left:
            for _, name in left.pop().calls("route"):
                called = self.block("route", name=name)
                if called is not None and called not in found:
                    found.append(called)
                    left.append(called)
        return found
