"""Read a kamailio.cfg in Kamailio's native language, as text: its modules, settings and routes.

The parser executes nothing. No content of a file makes it raise. A part that it cannot read is a
fault, with its place. It knows only the outer form of statements and blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from whence.agent.dropin.kamailio_cfg.lexer import Lexer
from whence.agent.dropin.kamailio_cfg.model import Block, Cfg, Param, Place, Setting, Token

BLOCKS = frozenset(
    {"route", "request_route", "reply_route", "onreply_route", "failure_route", "branch_route"}
    | {"onsend_route", "event_route"}
)

LISTS = frozenset({"listen", "alias"})
"""Global parameters with several values, separated by spaces."""


def read(
    file: Path, defines: Mapping[str, str] | None = None, leave_out: Path | None = None
) -> Cfg:
    """Read a file and its includes, except the include `leave_out`.

    `defines`: those of Kamailio's command line (-A).
    """
    cfg = Cfg(file)
    lexer = Lexer(cfg, dict(defines or {}), leave_out)
    lexer.take_in(file, Place(file, 0, 0))
    _Parser(cfg, lexer.tokens).parse()
    ends = [*lexer.modules_skipped, cfg.after_modules]
    last = max(ends)
    cfg.after_modules = max([last, *(end for start, end in lexer.regions if start <= last <= end)])
    return cfg


class _Parser:
    """Fills a Cfg with the statements and blocks among the tokens."""

    def __init__(self, cfg: Cfg, tokens: list[Token]) -> None:
        self._cfg = cfg
        self._tokens = tokens
        self._at = 0

    def parse(self) -> None:
        """Read all tokens."""
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            word = "" if token.is_string else token.text
            if word in ("loadmodule", "loadmodulex"):
                self._module(token)
            elif word in ("modparam", "modparamx"):
                self._param(token)
            elif word in BLOCKS:
                self._block(token)
            elif word == "{":
                self._body()
            elif word in ("mpath", "loadpath", "cfgengine") or (word and self._text(1) == "="):
                self._setting(token)
            else:
                self._at += 1

    def _text(self, ahead: int) -> str:
        at = self._at + ahead
        return self._tokens[at].text if at < len(self._tokens) else ""

    def _string(self) -> str | None:
        """Take the strings at this place; adjacent strings are one. None: there is none."""
        start = self._at
        while self._at < len(self._tokens) and self._tokens[self._at].is_string:
            self._at += 1
        return "".join(t.text for t in self._tokens[start : self._at]) if self._at > start else None

    def _module(self, token: Token) -> None:
        self._at += 1
        self._at += self._text(0) == "("
        name = self._text(0) if self._at < len(self._tokens) else ""
        if name and self._tokens[self._at].is_string:
            self._at += 1
            self._cfg.modules.setdefault(Path(name).name.removesuffix(".so"), token.place)
            self._ends_here()

    def _param(self, token: Token) -> None:
        self._at += 1
        self._at += self._text(0) == "("
        module = self._string()
        self._at += self._text(0) == ","
        name = self._string()
        self._at += self._text(0) == ","
        value = self._string()
        if value is None:
            value = ""
            while self._at < len(self._tokens) and self._text(0) not in (")", "{", ";"):
                value += self._text(0)
                self._at += 1
        if module is None or name is None:
            return
        for one in module.split("|"):
            self._cfg.params.append(Param(one, name, value, token.place))
        self._at += self._text(0) == ")"
        self._ends_here()

    def _ends_here(self) -> None:
        ended = self._tokens[self._at - 1].place.in_main
        self._cfg.after_modules = max(self._cfg.after_modules, ended)

    def _setting(self, token: Token) -> None:
        self._at += 1
        self._at += self._text(0) == "="
        value, is_string = self._value()
        found = [Setting(token.text, value, token.place, is_string)]
        while token.text in LISTS and self._has_value_on(token.place.line):
            value, is_string = self._value()
            if value == "advertise":
                found[-1] = replace(found[-1], advertise=self._value()[0])
            elif value == "name":  # of a socket
                self._value()
            else:
                found.append(Setting(token.text, value, token.place, is_string))
        self._cfg.settings += found

    def _has_value_on(self, line: int) -> bool:
        """Return whether another value of a list follows on this line."""
        if self._at >= len(self._tokens):
            return False
        token = self._tokens[self._at]
        starts_statement = self._text(1) == "=" or token.text in (";", "{", "}", *BLOCKS)
        return token.place.line == line and not starts_statement

    def _value(self) -> tuple[str, bool]:
        """Take a value up to the next space; return it, and whether it is in quotes."""
        string = self._string()
        if string is not None:
            return string, True
        value, start = "", self._at
        while self._at < len(self._tokens):
            one = self._tokens[self._at]
            if (self._at > start and one.apart) or one.text in (";", "{", "}"):
                break
            value += one.text
            self._at += 1
        return value, False

    def _block(self, token: Token) -> None:
        self._at += 1
        name = ""
        if self._text(0) == "[":
            self._at += 1
            while self._at < len(self._tokens) and self._text(0) not in ("]", "{"):
                name += self._text(0)
                self._at += 1
            self._at += 1
        if self._text(0) == "{":
            kind = {"reply_route": "onreply_route"}.get(token.text, token.text)
            if kind == "route" and not name:
                kind = "request_route"
            self._cfg.blocks.append(Block(kind, name, token.place, self._body()))

    def _body(self) -> tuple[Token, ...]:
        """Take the tokens between this brace and its closing brace."""
        depth, start = 0, self._at
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if not token.is_string:
                depth += {"{": 1, "}": -1}.get(token.text, 0)
                if depth == 0:
                    return tuple(self._tokens[start + 1 : self._at - 1])
        self._cfg.faults.append(f"{self._tokens[start].place}: its closing brace is missing")
        return tuple(self._tokens[start + 1 :])
