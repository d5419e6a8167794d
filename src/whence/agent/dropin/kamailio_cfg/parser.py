"""Reading a `kamailio.cfg` in Kamailio's native language, as text: what it loads, sets and routes.

Nothing is executed, and nothing in a file can make it raise: what cannot be read is a fault, with
its place. It knows the preprocessor (defines, conditions, substitutions of plain words, includes),
comments and strings, and of the language what statements and blocks look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from whence.agent.dropin.kamailio_cfg.lexer import Lexer
from whence.agent.dropin.kamailio_cfg.model import Block, Cfg, Param, Place, Token

BLOCKS = frozenset(
    {"route", "request_route", "reply_route", "onreply_route", "failure_route", "branch_route"}
    | {"onsend_route", "event_route"}
)


def read(
    file: Path, defines: Mapping[str, str] | None = None, leave_out: Path | None = None
) -> Cfg:
    """Read a file and all that it includes, but for what is to be left out.

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
    """Finds statements and blocks among the tokens."""

    def __init__(self, cfg: Cfg, tokens: list[Token]) -> None:
        self._cfg = cfg
        self._tokens = tokens
        self._at = 0

    def parse(self) -> None:
        """Read all of it into the `cfg`."""
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
        """Take the strings that stand here: those side by side are one."""
        begun = self._at
        while self._at < len(self._tokens) and self._tokens[self._at].is_string:
            self._at += 1
        return "".join(t.text for t in self._tokens[begun : self._at]) if self._at > begun else None

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
        value = self._string()
        if value is None:
            value, begun = "", self._at
            while self._at < len(self._tokens):
                one = self._tokens[self._at]
                if (self._at > begun and one.apart) or one.text in (";", "{", "}"):
                    break
                value += one.text
                self._at += 1
        self._cfg.settings.append((token.text, value, token.place))

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
        """Take what stands between this brace and its own end."""
        depth, begun = 0, self._at
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if not token.is_string:
                depth += {"{": 1, "}": -1}.get(token.text, 0)
                if depth == 0:
                    return tuple(self._tokens[begun + 1 : self._at - 1])
        self._cfg.faults.append(f"{self._tokens[begun].place}: its closing brace is missing")
        return tuple(self._tokens[begun + 1 :])
