"""Lines to add to an existing kamailio.cfg, and reasons why it does not suit; no secret of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.agent.dropin.existing_cfg import INCLUDE, RECIPE, ROUTES, SECRET, VALID, cfg_of
from whence.agent.dropin import advice
from whence.agent.dropin.advice import missing_modules
from whence.agent.dropin.install import ExistingKamailio, render
from whence.agent.dropin.kamailio_cfg.parser import read
from whence.agent.dropin.running import defines, option, running_user, start_options
from whence.errors import OperatorError


def faults(folder: Path, text: str) -> list[str]:
    return list(advice.faults(cfg_of(folder, text)))


def add(folder: Path, text: str) -> list[str]:
    cfg = cfg_of(folder, text)
    assert list(advice.faults(cfg)) == []
    return list(advice.lines_to_add(cfg, INCLUDE))


# Reasons why a configuration does not suit


def test_faults_of_a_valid_file_are_none(tmp_path: Path) -> None:
    assert faults(tmp_path, VALID + ROUTES) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": is no kamailio.cfg: it loads no module and has no route"),
        ("[edge]\nlisten = 5\n", ": is no kamailio.cfg"),
        (
            VALID.replace('loadmodule "uac.so"\n', ""),
            "kamailio.cfg: no trunk is registered: module uac is not",
        ),
        (VALID.replace('loadmodule "tm.so"\n', ""), "kamailio.cfg: module tm is not loaded; write"),
        (VALID.replace("reg_db_url", "other"), "kamailio.cfg: line 4: uac: reg_db_url is not set"),
        (
            VALID + "route[WHENCE] { exit; }\n",
            "line 11: route[WHENCE]: a route of the include has this name",
        ),
        (VALID + 'cfgengine "python"\n', "kamailio.cfg: line 11: cfgengine: the routing is"),
        (
            VALID + 'modparam("app_python3", "load", "/etc/kamailio/mine.py")\n',
            "kamailio.cfg: line 11: app_python3 runs a script of yours",
        ),
    ],
)
def test_faults_name_what_the_drop_in_cannot_serve(tmp_path: Path, text: str, message: str) -> None:
    [fault] = faults(tmp_path, text)
    assert message in fault
    assert SECRET not in fault


def test_faults_are_all_named_at_once(tmp_path: Path) -> None:
    script = 'modparam("app_python3", "load", "/etc/kamailio/mine.py")\n'
    assert len(faults(tmp_path, f'loadmodule "pv.so"\n{script}')) == 4  # tm, sl, uac and this


def test_faults_accept_an_explicit_native_cfgengine(tmp_path: Path) -> None:
    assert faults(tmp_path, f'cfgengine "native"\n{VALID}') == []


# The lines to add


def test_lines_to_add_have_their_place(tmp_path: Path) -> None:
    assert add(tmp_path, VALID + ROUTES) == [
        f'kamailio.cfg: after line 10: add include_file "{INCLUDE}"',
        "kamailio.cfg: line 16: replace route(AUTH); by: if (!route(WHENCE)) route(AUTH);",
    ]


def test_include_is_added_after_an_open_condition(tmp_path: Path) -> None:
    text = VALID + '#!ifdef WITH_X\n#!ifdef WITH_Y\nmodparam("x", "y", 1)\n#!endif\n#!endif\n'
    assert add(tmp_path, text + ROUTES)[0].startswith("kamailio.cfg: after line 15: ")


@pytest.mark.parametrize("function", ["allow_source_address()", 'proxy_authorize("$fd", "s")'])
def test_lines_to_add_find_authentication_by_its_functions(tmp_path: Path, function: str) -> None:
    text = VALID + ROUTES.replace("AUTH", "WHO").replace("auth_check", f"{function} || f")
    assert "line 16: replace route(WHO); by:" in add(tmp_path, text)[1]


def test_lines_to_add_find_authentication_in_request_route(tmp_path: Path) -> None:
    text = VALID + ROUTES.replace("route(AUTH);", 'if (!auth_check("a", "b", "1")) { exit; }')
    assert add(tmp_path, text)[1] == (
        "kamailio.cfg: line 16: before the call of auth_check: add if (!route(WHENCE)) { … }, with "
        "that call in the braces"
    )


def test_lines_to_add_replace_the_look_up_of_the_recipe(tmp_path: Path) -> None:
    text = VALID + ROUTES.replace("route(AUTH)", "route(WHO)") + RECIPE
    text += "route[WHO] { if ($sht(trunks=>$si) == $null) { exit; } }\n"
    assert "replace route(WHO); by: if (!route(WHENCE)) route(WHO);" in add(tmp_path, text)[1]


def test_lines_to_add_without_authentication_say_where(tmp_path: Path) -> None:
    text = VALID + ROUTES.replace("route(AUTH);", "")
    assert "line 12: in this route: after the requests inside dialogs" in (add(tmp_path, text)[1])


def test_own_event_route_is_to_call_ours(tmp_path: Path) -> None:
    text = VALID + ROUTES + 'event_route[tm:local-request] { xlog("x"); }\n'
    assert advice.existing_kamailio(cfg_of(tmp_path, text)).own_event_route
    assert add(tmp_path, text)[2] == (
        "kamailio.cfg: line 22: at the end of your event_route[tm:local-request]: "
        'add python_exec("whence_local_request");'
    )
    calls = text.replace('xlog("x")', 'python_exec("whence_local_request")')
    assert len(add(tmp_path, calls)) == 2


def test_lines_to_add_leave_out_those_present(tmp_path: Path) -> None:
    text = VALID + f'include_file "{INCLUDE}"\n' + ROUTES.replace("route(AUTH)", "route(WHENCE)")
    cfg = cfg_of(tmp_path, text)
    assert list(advice.lines_to_add(cfg, INCLUDE)) == []
    assert advice.existing_kamailio(cfg) == ExistingKamailio(frozenset({"tm", "sl", "pv", "uac"}))


def test_existing_kamailio_ignores_our_own_include(tmp_path: Path) -> None:
    """Otherwise the next include would not load the modules that the last one loaded."""
    include = tmp_path / "whence.cfg"
    include.write_text('loadmodule "app_python3.so"\nmodparam("app_python3", "load", "/x.py")\n')
    file = tmp_path / "kamailio.cfg"
    file.write_text(f'{VALID}include_file "whence.cfg"\n{ROUTES}')
    cfg = read(file, leave_out=include)
    assert list(advice.faults(cfg)) == []
    assert "app_python3" not in advice.existing_kamailio(cfg).modules


# A failover of tm

FAILOVER = "use_dns_failover=on\n"
ONSEND = 'onsend_route { xlog("$rm"); }\n'


def test_failover_without_onsend_route_gets_ours(tmp_path: Path) -> None:
    for text, needed in (
        ("", False),
        (FAILOVER, True),
        ("use_dns_failover = yes\n", True),
        ("use_dns_failover=off\n", False),
        (FAILOVER + ONSEND, False),
    ):
        cfg = cfg_of(tmp_path, text + VALID + ROUTES)
        assert advice.existing_kamailio(cfg).failover == needed
        include = render(tmp_path, advice.existing_kamailio(cfg))
        assert ("onsend_route {" in include) == needed


def test_onsend_route_with_failover_needs_a_line(tmp_path: Path) -> None:
    def needs_line(text: str) -> bool:
        return any("whence_sent_to" in line for line in add(tmp_path, text + VALID + ROUTES))

    assert needs_line(FAILOVER + ONSEND)
    assert not needs_line(ONSEND)
    assert not needs_line(FAILOVER)
    assert not needs_line(FAILOVER + "onsend_route { $avp(whence_sent_to) = $sndto(ip); }\n")


# The running Kamailio


def test_option_is_read_as_kamailio_reads_it() -> None:
    words = ["/usr/sbin/kamailio", "-A", "WITH_X", "-A", "N=5", "-f", "/x", "-m64"]
    assert (option(words, "f"), option(words, "m"), option(words, "x")) == ("/x", "64", None)
    assert defines(words) == {"WITH_X": "", "N": "5"}


def test_start_options_find_the_kamailio_of_the_file(tmp_path: Path) -> None:
    file, processes = tmp_path / "kamailio.cfg", tmp_path / "proc"
    for pid, words in (
        ("self", ["kamailio", "-f", str(file)]),
        ("7", ["kamailio", "-f", "/other.cfg"]),
        ("8", ["vi", "-f", str(file)]),
        ("9", ["/usr/sbin/kamailio", "-f", str(file), "-m", "64"]),
        ("10", ["/usr/sbin/kamailio", "-P", "/run/x"]),
        ("11", []),
    ):
        (processes / pid).mkdir(parents=True)
        (processes / pid / "cmdline").write_bytes(b"".join(w.encode() + b"\0" for w in words))
    assert start_options(file, False, processes) == [
        "/usr/sbin/kamailio", "-f", str(file), "-m", "64",
    ]  # fmt: skip
    assert start_options(tmp_path / "none.cfg", True, processes) == [
        "/usr/sbin/kamailio", "-P", "/run/x",
    ]  # fmt: skip
    assert start_options(tmp_path / "none.cfg", False, processes) is None
    assert running_user(file, False, processes) == os.getuid()
    assert running_user(tmp_path / "none.cfg", False, processes) is None


def test_missing_module_is_named_with_its_package(tmp_path: Path) -> None:
    cfg = cfg_of(tmp_path, VALID)
    (tmp_path / "kemix.so").touch()
    with pytest.raises(OperatorError, match="apt-get install kamailio-python3-modules"):
        missing_modules(cfg, [tmp_path])
    (tmp_path / "app_python3.so").touch()
    missing_modules(cfg, [tmp_path])
    elsewhere = cfg_of(tmp_path, f'mpath="/nowhere:{tmp_path}"\n{VALID}')
    missing_modules(elsewhere, [Path("/")])
