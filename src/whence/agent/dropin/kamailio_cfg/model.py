"""The parts of a kamailio.cfg: places, tokens, parameters, routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file. `in_main`: the line of the main file that includes it."""

    file: Path
    line: int
    in_main: int

    def __str__(self) -> str:
        return f"{self.file.name}: line {self.line}"


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a string without its quotes, or a sign."""

    text: str
    place: Place
    is_string: bool = False
    apart: bool = True
    """Whether space precedes it."""


@dataclass(frozen=True, slots=True)
class Param:
    """One `modparam`. A number has the form of the file."""

    module: str
    name: str
    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Setting:
    """One global parameter, as `listen=udp:192.0.2.9:5060 advertise 203.0.113.9:5060`."""

    name: str
    value: str
    place: Place
    is_string: bool = False
    """Whether the value is in quotes. Kamailio reads no transport or port in a quoted `alias`."""
    advertise: str = ""
    """Of `listen`: the address that Kamailio writes into messages instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A route of any kind. `name` is empty if it has none."""

    kind: str
    name: str
    place: Place
    body: tuple[Token, ...]

    def calls(self, function: str) -> Iterator[tuple[Place, str]]:
        """Yield each call of a function: (place, first argument if it is one word)."""
        body = self.body
        for i, token in enumerate(body[:-1]):
            called = token.text == function and not token.is_string and body[i + 1].text == "("
            if called and (i == 0 or body[i - 1].text != "$"):
                yield token.place, body[i + 2].text if i + 2 < len(body) else ""

    def names(self, words: Iterable[str]) -> Iterator[Token]:
        """Yield these words in the body, outside of strings."""
        wanted = frozenset(words)
        return (token for token in self.body if token.text in wanted and not token.is_string)


@dataclass(slots=True)
class Cfg:
    """The content of a configuration, as far as it can be read."""

    file: Path
    modules: dict[str, Place] = field(default_factory=dict)
    params: list[Param] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    """Global parameters in their order. `listen`, `alias` and `mpath` may occur several times."""
    blocks: list[Block] = field(default_factory=list)
    includes: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """The parts that cannot be read, one sentence each."""
    from_environment: set[str] = field(default_factory=set)
    """Names of defines whose value exists only when Kamailio starts (`#!defenv`, `#!defexp`)."""
    left_out: Place | None = None
    """Where the file is included that the caller leaves out."""
    after_modules: int = 0
    """The line of the main file after which it loads and sets no module; 0: it loads none."""

    def param(self, module: str, name: str) -> Param | None:
        """Return the last setting of a module's parameter."""
        found = [p for p in self.params if (p.module, p.name) == (module, name)]
        return found[-1] if found else None

    def setting(self, *names: str) -> tuple[str, Place] | None:
        """Return the last value of a global parameter, and its place."""
        found = [one for one in self.settings if one.name in names]
        return (found[-1].value, found[-1].place) if found else None

    def is_from_environment(self, value: str) -> bool:
        """Return whether a value has a define that only the starting Kamailio knows."""
        return any(word in self.from_environment for word in re.findall(r"\w+", value))

    def block(self, *kinds: str, name: str = "") -> Block | None:
        """Return the first route of these kinds with this name."""
        return next((b for b in self.blocks if b.kind in kinds and b.name == name), None)

    def within(self, block: Block) -> list[Block]:
        """Return a route and all routes that it calls, directly or indirectly."""
        found, left = [block], [block]
        while left:
            for _, name in left.pop().calls("route"):
                called = self.block("route", name=name)
                if called is not None and called not in found:
                    found.append(called)
                    left.append(called)
        return found
