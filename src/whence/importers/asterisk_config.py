r"""Read the configuration format of Asterisk: sections, templates, comments.

`[name](!)` is a template, `[name](a,b)` inherits, `[name](+)` continues the section before it.
`;` begins a comment, `\;` is a semicolon, and `;--` to `--;` is a comment of several lines. Lines
that begin with `#` include other files; they become notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from whence.errors import ConfigError
from whence.importers.records import RECORDS_LIMIT, Findings, Place, Source

_SECTION = re.compile(r"\[(?P<name>[^\]]*)\](?:\((?P<options>[^)]*)\))?\s*$")
_SETTING = re.compile(r"(?P<key>[^=+>]+?)\s*(?P<sign>\+=|=>|=)\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a section."""

    key: str
    value: str
    line: int


@dataclass(slots=True)
class Section:
    """A section: its settings, those of its templates first."""

    name: str
    place: Place
    is_template: bool = False
    settings: list[Setting] = field(default_factory=list)

    def all(self, key: str) -> list[Setting]:
        """Return all settings of a key, in order."""
        return [one for one in self.settings if one.key == key]

    def get(self, key: str) -> str:
        """Return the value of a key; empty without one. A later line replaces an earlier one."""
        found = self.all(key)
        return found[-1].value if found else ""


def sections(source: Source, findings: Findings) -> list[Section]:
    """Return the sections of a file, without templates.

    Raises: ConfigError: the file has too many sections, or none.
    """
    read: list[Section] = []
    named: dict[str, Section] = {}
    section: Section | None = None
    for line, text in _lines(source.text):
        place = Place(source.name, line)
        if text.startswith("#"):
            word = text.split()[0]
            findings.note(place, f"{word}: is not followed; give its file to the command, too")
        elif text.startswith("["):
            section = _section(place, text, named, findings)
            if section.place == place:
                named[section.name] = section
                read.append(section)
        elif section is None:
            findings.note(place, "is before the first section; it is left out")
        else:
            _add_setting(place, text, section, findings)
        if len(read) > RECORDS_LIMIT:
            raise ConfigError([f"{place}: more than {RECORDS_LIMIT} sections; split the file"])
    if not read:
        raise ConfigError([f"{Place(source.name)}: has no section; is it a file of Asterisk?"])
    return [section for section in read if not section.is_template]


def _section(place: Place, text: str, named: dict[str, Section], findings: Findings) -> Section:
    """Return the section that a head begins, or the one before that it continues."""
    found = _SECTION.fullmatch(text)
    if found is None:
        findings.note(place, "is no section: write [name] or [name](template); it is left out")
        return Section("", place, is_template=True)
    name = found["name"].strip()
    options = [one.strip() for one in (found["options"] or "").split(",") if one.strip()]
    section = Section(name, place, is_template="!" in options)
    if "+" in options and name in named:
        section = named[name]
    elif "+" in options:
        findings.note(place, f"[{name}](+): there is no section of that name before it")
    for template in options:
        if template not in named and template not in ("!", "+"):
            findings.note(place, f"[{name}]: there is no template [{template}] before it")
        elif template in named:
            section.settings += named[template].settings
    return section


def _add_setting(place: Place, text: str, section: Section, findings: Findings) -> None:
    found = _SETTING.fullmatch(text)
    if found is None:
        findings.note(place, "is neither a section nor key = value; it is left out")
        return
    key, value = found["key"].strip().lower(), found["value"].strip()
    if found["sign"] == "+=" and section.get(key):
        value = section.get(key) + value
        findings.note(place, f"{key} +=: is joined to the value before without a blank; check it")
    section.settings.append(Setting(key, value, place.line))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) without comments and blanks; empty lines are left out."""
    depth = 0
    for number, line in enumerate(text.split("\n"), start=1):
        kept, depth = _without_comment(line, depth)
        if kept.strip():
            yield number, kept.strip()


def _without_comment(line: str, depth: int) -> tuple[str, int]:
    r"""Return a line without its comments, and how many block comments are open behind it.

    `;---` begins no block comment: lines of dashes are usual.
    """
    kept: list[str] = []
    at = 0
    while at < len(line):
        if depth:
            end, begin = line.find("--;", at), _block_begin(line, at)
            if begin != -1 and (end == -1 or begin < end):
                depth, at = depth + 1, begin + 3
            elif end != -1:
                depth, at = depth - 1, end + 3
            else:
                break
        elif line.startswith("\\;", at):
            kept.append(";")
            at += 2
        elif line[at] != ";":
            kept.append(line[at])
            at += 1
        elif _block_begin(line, at) == at:
            depth, at = depth + 1, at + 3
        else:
            break
    return "".join(kept), depth


def _block_begin(line: str, start: int) -> int:
    at = line.find(";--", start)
    while at != -1 and line.startswith("-", at + 3):
        at = line.find(";--", at + 1)
    return at
