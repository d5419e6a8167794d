"""Turn the text of a kamailio.cfg into tokens, as Kamailio's preprocessor would."""

from __future__ import annotations

import re
from pathlib import Path
from stat import S_ISREG

from whence.agent.dropin.kamailio_cfg.model import Cfg, Place, Token

SIZE_LIMIT = 4 * 1024 * 1024
"""Bytes of a file with its includes. It is far above what real configurations have."""

TOKEN_LIMIT = 500_000
"""Tokens of a file with its includes: nested defines could make any number of them."""

DEPTH_LIMIT = 10
"""How deep includes may nest: Kamailio's own limit. For nested defines it is ours."""

SUBSTITUTIONS_LIMIT = 200

_CONDITION = re.compile(r"(?:#!|!!)(ifdef|ifndef|ifexp|else|endif)\b")

_DIRECTIVE = re.compile(
    r"(?:#!|!!)(ifdef|ifndef|ifexp|else|endif|define|def|trydefine|trydef|redefine|redef"
    r"|substdefs|substdef|subst|include_file|import_file|def(?:env|exp)s?|trydefenvs?)\b[ \t]*"
)

_MODULES = re.compile(r"^[ \t]*(?:loadmodulex?|modparamx?)\b", re.MULTILINE)

_TOKEN = re.compile(
    r'"(?P<string>[^"\\]*(?:\\.[^"\\]*)*)"|\'(?P<raw>[^\']*)\'|(?P<word>[A-Za-z0-9_]+)', re.DOTALL
)

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}

_VARIABLE = re.compile(r"\$\((?:[^()\n]|\((?:[^()\n]|\([^()\n]*\))*\))*\)")
"""`$(ru{re.subst,/…//g})`: the quotes and slashes in it begin no string and no comment."""

_SPACE = re.compile(r"\s+")

_INCLUDED = re.compile(r"[ \t]*(?:\"([^\"\n]*)\"|'([^'\n]*)')")

_REST_OF_LINE = re.compile(r"(?:[^\n\\]|\\\r?\n|\\)*")


class Lexer:
    """Turns a file and its includes into tokens. `take_in` reads a file.

    It follows the preprocessor: defines, conditions, substitutions of plain words, includes.
    """

    def __init__(self, cfg: Cfg, defines: dict[str, str], leave_out: Path | None) -> None:
        self.tokens: list[Token] = []
        self.modules_skipped: list[int] = []
        """Lines of the main file that load or set modules, in conditions that are false."""
        self.regions: list[tuple[int, int]] = []
        """(first, last line) in the main file of each outermost condition."""
        self._cfg = cfg
        self._defines = defines
        self._leave_out = leave_out.resolve() if leave_out is not None else None
        self._substitutions: list[tuple[str, str, bool]] = []
        self._conditions: list[tuple[int, bool]] = []
        """The open conditions: (line in the main file, whether both branches are read)."""
        self._left = SIZE_LIMIT
        self._stack: list[Path] = []

    # Files.

    def take_in(self, path: Path, included_at: Place, *, optional: bool = False) -> None:
        """Read a file where it is included. Line 0 of `included_at` is for the main file."""
        text = self._text(path, included_at, optional=optional)
        if text is not None:
            self._stack.append(_resolved(path))
            self._cfg.includes.append(path)
            self._lex(text, path, included_at.in_main)
            self._stack.pop()

    def _text(self, path: Path, included_at: Place, *, optional: bool) -> str | None:
        where = f"{included_at}: " if included_at.line else ""
        if _resolved(path) in self._stack:
            self._fault(f'{where}"{path}" includes itself; remove the include')
        elif len(self._stack) > DEPTH_LIMIT:
            self._fault(
                f'{where}"{path}" is included too deep; Kamailio allows {DEPTH_LIMIT} levels'
            )
        else:
            try:
                if not S_ISREG(path.stat().st_mode):
                    self._fault(f"{where}{path}: is no file; write the path of a kamailio.cfg")
                    return None
                with path.open("rb") as file:
                    data = file.read(self._left + 1)
            except (OSError, ValueError) as error:
                missing = isinstance(error, FileNotFoundError)
                if not (missing and optional):
                    why = getattr(error, "strerror", None) or "no path"
                    self._fault(f"{where}{path}: cannot be read: {why}")
                return None
            self._left -= len(data)
            if self._left < 0:
                self._fault(
                    f"{where}{path}: is larger than {SIZE_LIMIT >> 20} MB with its includes; "
                    "that is no kamailio.cfg"
                )
                self._left = 0
                return None
            return data.decode("utf-8", "replace")
        return None

    def _fault(self, sentence: str) -> None:
        if len(self._cfg.faults) < 100:
            self._cfg.faults.append(sentence)

    # Text.

    def _lex(self, text: str, path: Path, in_main: int) -> None:
        at, line, apart = 0, 1, True
        is_main = len(self._stack) == 1
        while at < len(text):
            here = Place(path, line, line if is_main else in_main)
            end, apart_next = self._step(text, at, here, apart=apart)
            line += text.count("\n", at, end)
            at, apart = end, apart_next
            if len(self.tokens) > TOKEN_LIMIT:
                self._fault(f"{here}: is too long; that is no kamailio.cfg")
                return
        if is_main and self._conditions:
            start = self._conditions[0][0]
            self._fault(f"{path.name}: line {start}: its #!endif is missing")
            self.regions.append((start, line))

    def _step(self, text: str, at: int, here: Place, *, apart: bool) -> tuple[int, bool]:
        """Read the token at `at`; return its end, and whether space follows it."""
        sign = text[at]
        if sign.isspace():
            space = _SPACE.match(text, at)
            return (space.end() if space is not None else at + 1), True
        if (directive := _DIRECTIVE.match(text, at)) is not None:
            return self._directive(directive, text, here), True
        if sign == "#" or text.startswith("//", at):
            end = text.find("\n", at)
            return (len(text) if end < 0 else end), True
        if text.startswith("/*", at):
            end = text.find("*/", at + 2)
            return (len(text) if end < 0 else end + 2), True
        if sign == "$" and (variable := _VARIABLE.match(text, at)) is not None:
            self.tokens.append(Token(variable[0], here, apart=apart))
            return variable.end(), False
        found = _TOKEN.match(text, at)
        if found is None:
            if sign in "\"'":
                self._fault(f"{here}: a quote is not closed")
                return len(text), True
            self.tokens.append(Token(sign, here, apart=apart))
            return at + 1, False
        if found["word"] in ("include_file", "import_file"):
            return self._include(found["word"], text, found.end(), here), True
        self._take(found, here, apart=apart, depth=0)
        return found.end(), False

    def _take(self, found: re.Match[str], here: Place, *, apart: bool, depth: int) -> None:
        """Append a string, or a word with its define expanded."""
        word, raw = found["word"], found["raw"]
        if word is not None:
            value = self._defines.get(word, "")
            if value and depth < DEPTH_LIMIT:
                self._expand(value, here, apart=apart, depth=depth + 1)
            else:
                self.tokens.append(Token(word, here, apart=apart))
        else:
            string = raw if raw is not None else _unescaped(found["string"])
            self.tokens.append(Token(self._substituted(string), here, True, apart))

    def _expand(self, value: str, here: Place, *, apart: bool, depth: int) -> None:
        at = 0
        while at < len(value) and len(self.tokens) <= TOKEN_LIMIT:
            if value[at].isspace():
                apart, at = True, at + 1
                continue
            found = _TOKEN.match(value, at)
            if found is None:
                self.tokens.append(Token(value[at], here, apart=apart))
                at += 1
            else:
                self._take(found, here, apart=apart, depth=depth)
                at = found.end()
            apart = False

    def _include(self, word: str, text: str, at: int, here: Place) -> int:
        found = _INCLUDED.match(text, at)
        if found is None:
            self._fault(f'{here}: {word} names no file; write {word} "path"')
            return at
        name = self._substituted(found[1] or found[2] or "")
        given = Path(name)
        # Kamailio tries its working directory first, which is "/" for a service.
        path = given if given.is_absolute() else here.file.parent / given
        if self._leave_out is not None and _resolved(path) == self._leave_out:
            self._cfg.left_out = here
            return found.end()
        self.take_in(path, here, optional=word == "import_file")
        return found.end()

    def _substituted(self, string: str) -> str:
        for word, by, everywhere in self._substitutions:
            string = string.replace(word, by, -1 if everywhere else 1)
            if len(string) > 1 << 16:
                return string[: 1 << 16]
        return string

    # The preprocessor.

    def _directive(self, directive: re.Match[str], text: str, here: Place) -> int:
        name, at = directive[1], directive.end()
        if name in ("include_file", "import_file"):
            return self._include(name, text, at, here)
        rest = _REST_OF_LINE.match(text, at)
        operands = rest[0] if rest is not None else ""
        end = rest.end() if rest is not None else at
        if name in ("ifdef", "ifndef", "ifexp"):
            self._conditions.append((here.in_main, name == "ifexp"))
            defined = operands.split()[0] in self._defines if operands.split() else False
            # The expression of ifexp is not evaluated: both branches are read.
            holds = name == "ifexp" or defined == (name == "ifdef")
            return end if holds else self._skip(text, end, here, to_else=True)
        if name == "else":  # of a condition that was true
            both = bool(self._conditions) and self._conditions[-1][1]
            return end if both else self._skip(text, end, here, to_else=False)
        if name == "endif":
            self._close(here.in_main)
            return end
        if name.startswith("subst"):
            self._substitution(name, operands)
        else:
            self._define(name, operands)
        return end

    def _skip(self, text: str, at: int, here: Place, *, to_else: bool) -> int:
        """Skip the branch of a false condition; return where reading continues."""
        depth, start = 0, at
        is_main = len(self._stack) == 1
        for found in _CONDITION.finditer(text, at):
            name = found[1]
            ends = depth == 0 and (name == "endif" or (name == "else" and to_else))
            if ends:
                line = here.line + text.count("\n", start, found.start())
                self._note_modules(text, start, found.start(), here)
                if name == "endif":
                    self._close(line if is_main else here.in_main)
                return found.end()
            depth += {"ifdef": 1, "ifndef": 1, "ifexp": 1, "endif": -1}.get(name, 0)
        self._note_modules(text, start, len(text), here)
        return len(text)

    def _note_modules(self, text: str, start: int, end: int, here: Place) -> None:
        is_main = len(self._stack) == 1
        for found in _MODULES.finditer(text, start, end):
            lines = text.count("\n", start, found.end()) if is_main else 0
            self.modules_skipped.append((here.line if is_main else here.in_main) + lines)

    def _close(self, in_main: int) -> None:
        if self._conditions:
            start, _ = self._conditions.pop()
            if not self._conditions:
                self.regions.append((start, in_main))
        else:
            self._fault(f"{self._stack[-1].name}: line {in_main}: #!endif without #!ifdef")

    def _define(self, name: str, operands: str) -> None:
        unfolded = operands.replace("\\\r\n", " ").replace("\\\n", " ")
        word, _, value = unfolded.strip().partition(" ")
        word, tab, rest = word.partition("\t")
        value = (rest if tab else value).strip()
        if not word or ("try" in name and word in self._defines):
            return
        if "env" in name or "exp" in name:  # the value exists only when Kamailio starts
            self._defines[word.partition("=")[0]] = ""
            self._cfg.from_environment.add(word.partition("=")[0])
        else:
            self._defines[word] = value

    def _substitution(self, name: str, operands: str) -> None:
        quoted = operands.strip()
        inner = quoted[1 : quoted.rfind(quoted[0])] if quoted[:1] in ('"', "'") else ""
        parts = inner[1:].split(inner[0]) if inner else []
        if len(parts) != 3 or len(self._substitutions) >= SUBSTITUTIONS_LIMIT:
            return
        word, by, flags = parts
        if re.fullmatch(r"\w+", word, re.ASCII):  # a pattern is left to Kamailio
            self._substitutions.append((word, by, "g" in flags))
            if name.startswith("substdef"):
                self._defines[word] = f'"{by}"' if name == "substdefs" else by


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # no valid path, or a loop of symbolic links
        return path


def _unescaped(string: str) -> str:
    return _ESCAPED.sub(lambda found: _LETTERS.get(found[1], found[1]), string)
