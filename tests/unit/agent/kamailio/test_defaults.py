"""The note on Kamailio's defaults names each module and each parameter that the templates set."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from testkit.certificates import Authority
from whence.agent.config.load import load
from whence.agent.kamailio.config import render

NOTE = Path(__file__).parents[4] / "docs/decisions/0023-defaults-of-kamailio.md"
TEMPLATES = Path(__file__).parents[4] / "kamailio"

CORE = "core"


def sections() -> dict[str, dict[str, bool]]:
    """Return, for each section of the note, its parameters and whether Whence keeps the default."""
    found: dict[str, dict[str, bool]] = {}
    for section in NOTE.read_text("utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = [line.strip("|").split("|") for line in text.splitlines() if line[:1] == "|"]
        found[title] = {
            name: whence.strip().startswith("kept")
            for names, _default, whence, *_why in (row for row in rows if len(row) >= 3)
            for name in re.findall(r"`(\w+)`", names)
        }
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A kamailio.cfg with every feature."""
    folder = tmp_path_factory.mktemp("config")
    authority = Authority("authority", folder)
    own = authority.certificate("DNS:edge.example")
    file = folder / "whence.toml"
    file.write_text(
        '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:127.0.0.2:5060", "tcp:127.0.0.1:5060", '
        '"tls:127.0.0.1:5061", "ws:127.0.0.1:8080"]\n'
        '[media]\nrtpengine = "udp:127.0.0.1:2223"\n'
        f'[edge.tls]\ncertificate = "{own.certificate}"\nkey = "{own.key}"\n'
        f'ca = "{authority.file}"\n'
    )
    return render(load(file), file)


def set_parameters(config: str) -> dict[str, set[str]]:
    """Return the parameters that a kamailio.cfg sets: of each module, and of the core."""
    found = defaultdict(set)
    for modules, name in re.findall(r'^modparam\("([\w|]+)", "(\w+)"', config, re.MULTILINE):
        for module in modules.split("|"):
            found[module].add(name)
    found[CORE] = set(re.findall(r"^(\w+) *=", config, re.MULTILINE))
    return dict(found)


def test_note_has_a_section_for_each_loaded_module(config: str) -> None:
    text = config + (TEMPLATES / "drop_in.cfg.j2").read_text("utf-8")
    loaded = set(re.findall(r'^loadmodule "(\w+)\.so"', text, re.MULTILINE))
    assert loaded - sections().keys() == set()


def test_note_says_of_each_set_parameter_that_it_is_set(config: str) -> None:
    """Where this fails: write the parameter, its default and the reason into the note."""
    note = sections()
    missing = [
        f"{module} {name}"
        for module, names in set_parameters(config).items()
        for name in names
        if note.get(module, {}).get(name, True)
    ]
    assert missing == []


def test_note_says_kept_of_parameters_that_are_not_set(config: str) -> None:
    given = set_parameters(config)
    given["tls"] |= {"tls_method", "verify_certificate", "require_certificate"}  # in tls.cfg
    given["tls"] |= {"certificate", "private_key", "ca_list", "verify_depth"}
    given[CORE].add("disable_tcp")  # without streams
    wrong = [
        f"{module} {name}"
        for module, parameters in sections().items()
        if module in given
        for name, kept in parameters.items()
        if not kept and name not in given[module]
    ]
    assert wrong == []


def test_note_names_what_the_drop_in_sets() -> None:
    text = (TEMPLATES / "drop_in.cfg.j2").read_text("utf-8")
    names = {name for names in set_parameters(text).values() for name in names}
    section = NOTE.read_text("utf-8").split("\n## drop-in\n")[1]
    assert [name for name in names if f"`{name}`" not in section.partition("\n## ")[0]] == []
