"""Looking at somebody's Kamailio: what is to be added, what will hurt, and no secret of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.agent.dropin import advice
from whence.agent.dropin.advice import missing_modules
from whence.agent.dropin.install import ExistingKamailio, render
from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.kamailio_cfg.parser import read
from whence.agent.dropin.running import defines, option, start_options
from whence.errors import OperatorError

INCLUDE = Path("/etc/kamailio/whence/whence.cfg")
SECRET = "hunter2"
GOOD_OPTIONS = ["kamailio", "-x", "tlsf", "-X", "tlsf", "-m", "256"]

MODULES = "".join(f'loadmodule "{name}.so"\n' for name in ("tm", "sl", "pv", "uac"))
RIGHT = f"""{MODULES}modparam("uac", "reg_db_url", "mysql://kamailio:{SECRET}@localhost/kamailio")
modparam("uac", "reg_contact_addr", "192.0.2.9:5060")
modparam("uac", "reg_retry_interval", 60)
modparam("uac", "reg_timer_interval", 20)
modparam("uac", "reg_keep_callid", 1)
"""
ROUTES = """
request_route {
	if (has_totag()) {
		route(WITHINDLG);
	}
	route(AUTH);
	route(LOCATION);
}
route[WITHINDLG] { loose_route(); exit; }
route[AUTH] { if (!auth_check("$fd", "subscriber", "1")) { auth_challenge("$fd", "0"); exit; } }
route[LOCATION] { lookup("location"); t_relay(); exit; }
"""
RECIPE = """onreply_route {
	if ($rs == 200 && $rm == "REGISTER") {
		$sht(trunks=>$si) = $(ct{nameaddr.uri}{uri.user});
	}
}
"""


def their(folder: Path, text: str) -> Cfg:
    file = folder / "kamailio.cfg"
    file.write_text(text)
    return read(file, leave_out=INCLUDE)


def faults(folder: Path, text: str) -> list[str]:
    return list(advice.faults(their(folder, text)))


def add(folder: Path, text: str) -> list[str]:
    cfg = their(folder, text)
    assert list(advice.faults(cfg)) == []
    return list(advice.add(cfg, INCLUDE))


def hurts(folder: Path, text: str, granted: dict[str, int] | None = None) -> list[str]:
    cfg = their(folder, text)
    return list(advice.hurts(cfg, GOOD_OPTIONS, granted or {}))


# What makes it nothing for the drop-in


def test_a_right_file_has_no_faults_and_nothing_that_hurts(tmp_path: Path) -> None:
    assert faults(tmp_path, RIGHT + ROUTES) == []
    assert hurts(tmp_path, RIGHT + ROUTES) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": is no kamailio.cfg: it loads no module and has no route"),
        ("[edge]\nlisten = 5\n", ": is no kamailio.cfg"),
        (RIGHT.replace('loadmodule "uac.so"\n', ""), "kamailio.cfg: registers nothing: module uac"),
        (RIGHT.replace('loadmodule "tm.so"\n', ""), "kamailio.cfg: module tm is not loaded; write"),
        (RIGHT.replace("reg_db_url", "other"), "kamailio.cfg: line 4: uac: reg_db_url is not set"),
        (RIGHT + "route[WHENCE] { exit; }\n", "line 10: route[WHENCE] has the name of one in"),
        (RIGHT + 'cfgengine "python"\n', "kamailio.cfg: line 10: cfgengine: the routing is"),
        (
            RIGHT + 'modparam("app_python3", "load", "/etc/kamailio/mine.py")\n',
            "kamailio.cfg: line 10: app_python3 runs a script of yours",
        ),
    ],
)
def test_what_the_drop_in_cannot_serve_is_said(tmp_path: Path, text: str, said: str) -> None:
    [fault] = faults(tmp_path, text)
    assert said in fault
    assert SECRET not in fault


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    script = 'modparam("app_python3", "load", "/etc/kamailio/mine.py")\n'
    assert len(faults(tmp_path, f'loadmodule "pv.so"\n{script}')) == 4  # tm, sl, uac and this


def test_routing_that_says_it_is_native_is(tmp_path: Path) -> None:
    assert faults(tmp_path, f'cfgengine "native"\n{RIGHT}') == []


# What is to be added


def test_the_lines_to_add_are_told_with_their_place(tmp_path: Path) -> None:
    assert add(tmp_path, RIGHT + ROUTES) == [
        f'kamailio.cfg: after line 9: include_file "{INCLUDE}"',
        "kamailio.cfg: line 15: in the place of route(AUTH): if (!route(WHENCE)) route(AUTH);",
    ]


def test_the_include_goes_behind_what_a_condition_holds(tmp_path: Path) -> None:
    text = RIGHT + '#!ifdef WITH_X\n#!ifdef WITH_Y\nmodparam("x", "y", 1)\n#!endif\n#!endif\n'
    assert add(tmp_path, text + ROUTES)[0].startswith("kamailio.cfg: after line 14: ")


@pytest.mark.parametrize("function", ["allow_source_address()", 'proxy_authorize("$fd", "s")'])
def test_authentication_is_found_by_what_it_does(tmp_path: Path, function: str) -> None:
    text = RIGHT + ROUTES.replace("AUTH", "WHO").replace("auth_check", f"{function} || f")
    assert "line 15: in the place of route(WHO)" in add(tmp_path, text)[1]


def test_authentication_in_the_request_route_itself_is_found(tmp_path: Path) -> None:
    text = RIGHT + ROUTES.replace("route(AUTH);", 'if (!auth_check("a", "b", "1")) { exit; }')
    assert add(tmp_path, text)[1] == (
        "kamailio.cfg: line 15: before auth_check is called: if (!route(WHENCE)) { … }, with that "
        "in the braces"
    )


def test_the_recipes_look_up_is_where_whence_is_asked(tmp_path: Path) -> None:
    text = RIGHT + ROUTES.replace("route(AUTH)", "route(WHO)") + RECIPE
    text += "route[WHO] { if ($sht(trunks=>$si) == $null) { exit; } }\n"
    assert "in the place of route(WHO): if (!route(WHENCE)) route(WHO);" in add(tmp_path, text)[1]


def test_where_nobody_is_asked_who_he_is_it_is_said_how_to_choose(tmp_path: Path) -> None:
    text = RIGHT + ROUTES.replace("route(AUTH);", "")
    assert (
        "line 11: in this route: behind what handles requests inside dialogs"
        in (add(tmp_path, text)[1])
    )


def test_an_event_route_of_their_own_calls_ours(tmp_path: Path) -> None:
    text = RIGHT + ROUTES + 'event_route[tm:local-request] { xlog("x"); }\n'
    assert advice.theirs(their(tmp_path, text)).own_event_route
    assert add(tmp_path, text)[2] == (
        "kamailio.cfg: line 21: at the end of your event_route[tm:local-request]: "
        'python_exec("whence_local_request");'
    )
    calls = text.replace('xlog("x")', 'python_exec("whence_local_request")')
    assert len(add(tmp_path, calls)) == 2


def test_what_is_added_already_is_not_told_again(tmp_path: Path) -> None:
    text = RIGHT + f'include_file "{INCLUDE}"\n' + ROUTES.replace("route(AUTH)", "route(WHENCE)")
    cfg = their(tmp_path, text)
    assert list(advice.add(cfg, INCLUDE)) == []
    assert advice.theirs(cfg) == ExistingKamailio(frozenset({"tm", "sl", "pv", "uac"}))


def test_our_own_include_is_not_taken_for_theirs(tmp_path: Path) -> None:
    """Else the next include would leave out what the last one loaded."""
    include = tmp_path / "whence.cfg"
    include.write_text('loadmodule "app_python3.so"\nmodparam("app_python3", "load", "/x.py")\n')
    file = tmp_path / "kamailio.cfg"
    file.write_text(f'{RIGHT}include_file "whence.cfg"\n{ROUTES}')
    cfg = read(file, leave_out=include)
    assert list(advice.faults(cfg)) == []
    assert "app_python3" not in advice.theirs(cfg).modules


# What will hurt


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"reg_retry_interval", 60', '"reg_retry_interval", 0', "line 7: uac: reg_retry_interval"),
        ('modparam("uac", "reg_retry_interval", 60)', "", "line 4: uac: reg_retry_interval is 0"),
        ('modparam("uac", "reg_timer_interval", 20)', "", "line 4: uac: reg_timer_interval is 90"),
        ('"reg_keep_callid", 1', '"reg_keep_callid", 0', "line 9: uac: reg_keep_callid is 0"),
        (
            '"reg_keep_callid", 1',
            '"reg_keep_callid", 1)\nmodparam("uac", "reg_active", 0',
            "10: uac",
        ),
    ],
)
def test_settings_of_uac_that_hurt_are_told(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    [hurt] = hurts(tmp_path, RIGHT.replace(before, after) + ROUTES)
    assert said in hurt
    assert "write" in hurt


@pytest.mark.parametrize(
    ("timer_s", "granted", "right"),
    [(20, {"acme": 60}, None), (20, {"acme": 23, "bell": 60}, 7), (90, {"acme": 3600}, None)],
)
def test_what_registrars_granted_tells_whether_the_timer_is_too_long(
    tmp_path: Path, timer_s: int, granted: dict[str, int], right: int | None
) -> None:
    text = RIGHT.replace('interval", 20', f'interval", {timer_s}') + ROUTES
    said = hurts(tmp_path, text, granted)
    if right is None:
        assert said == []
    else:
        assert "acme is granted 23 s" in said[0]
        assert said[0].endswith(f'modparam("uac", "reg_timer_interval", {right})')


def test_the_recipe_is_to_be_taken_out(tmp_path: Path) -> None:
    text = RIGHT + ROUTES + RECIPE + "route[WHO] { $rU = $sht(trunks=>$si); }\n"
    stores, looks = hurts(tmp_path, text)
    assert stores.startswith("kamailio.cfg: line 23: onreply_route: it stores who sent a 200")
    assert looks.startswith("kamailio.cfg: line 26: $sht(trunks=>…) is looked up")


@pytest.mark.parametrize("stores", ["$var(x) = $si", 'sht_setxs("t", "$si", "u", "86400")'])
def test_a_recipe_that_keeps_sources_elsewhere_is_told_too(tmp_path: Path, stores: str) -> None:
    other = RECIPE.replace("$sht(trunks=>$si) = $(ct{nameaddr.uri}{uri.user})", stores)
    [hurt] = hurts(tmp_path, RIGHT + ROUTES + other)
    assert "line 23: onreply_route: it goes by the source of replies to a REGISTER" in hurt


def test_an_onreply_route_that_does_something_else_stays(tmp_path: Path) -> None:
    other = RECIPE.replace("REGISTER", "INVITE")
    banned = "route[X] { $sht(ipban=>$si) = 1; }\n"
    assert hurts(tmp_path, RIGHT + ROUTES + other + banned) == []


def test_a_function_of_uac_where_uac_holds_its_lock_is_a_deadlock(tmp_path: Path) -> None:
    event = "event_route[tm:local-request] { route(X); }\n"
    called = 'route[X] { uac_reg_lookup("$tU", "$ru"); }\n'
    [hurt] = hurts(tmp_path, RIGHT + ROUTES + event + called)
    assert "line 22: uac_reg_lookup is called while uac sends" in hurt
    assert hurts(tmp_path, RIGHT + ROUTES + called) == []


def test_what_could_not_be_read_is_told(tmp_path: Path) -> None:
    [hurt] = hurts(tmp_path, RIGHT + 'include_file "gone.cfg"\n' + ROUTES)
    assert "line 10" in hurt
    assert hurt.endswith("what stands there is not looked at")


def test_no_secret_of_theirs_is_told(tmp_path: Path) -> None:
    bad = RIGHT.replace("reg_retry_interval", "other") + ROUTES + RECIPE
    bad += f'modparam("uac", "reg_retry_interval", "{SECRET}")\n'
    said = [*add(tmp_path, bad), *hurts(tmp_path, bad), *faults(tmp_path, bad)]
    assert len(said) >= 3
    assert SECRET not in "".join(said)


def test_a_value_that_only_kamailio_knows_is_not_guessed(tmp_path: Path) -> None:
    text = "#!defenv RETRY\n" + RIGHT.replace(
        '"reg_retry_interval", 60', '"reg_retry_interval", RETRY'
    )
    assert hurts(tmp_path, text + ROUTES) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from((RIGHT + ROUTES + RECIPE).splitlines(True)) | st.text(max_size=8)))
def test_no_text_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "theirs" / "kamailio.cfg"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((RIGHT + "".join(lines)).encode("utf-8", "surrogatepass"))
    cfg = read(file, leave_out=INCLUDE)
    if not list(advice.faults(cfg)):
        said = [*advice.add(cfg, INCLUDE), *advice.hurts(cfg, None, {})]
        assert len(said) >= 2
        assert SECRET not in "".join(said)


# A failover of tm

FAILOVER = "use_dns_failover=on\n"
ONSEND = 'onsend_route { xlog("$rm"); }\n'


def test_a_failover_needs_an_onsend_route_unless_they_have_one(tmp_path: Path) -> None:
    for text, needed in (
        ("", False),
        (FAILOVER, True),
        ("use_dns_failover = yes\n", True),
        ("use_dns_failover=off\n", False),
        (FAILOVER + ONSEND, False),
    ):
        cfg = their(tmp_path, text + RIGHT + ROUTES)
        assert advice.theirs(cfg).failover == needed
        include = render(tmp_path, advice.theirs(cfg))
        assert ("onsend_route {" in include) == needed


def test_an_onsend_route_of_theirs_is_told_what_to_add(tmp_path: Path) -> None:
    def told(text: str) -> bool:
        return any("whence_sent_to" in said for said in add(tmp_path, text + RIGHT + ROUTES))

    assert told(FAILOVER + ONSEND)
    assert not told(ONSEND)
    assert not told(FAILOVER)
    assert not told(FAILOVER + "onsend_route { $avp(whence_sent_to) = $sndto(ip); }\n")


# How it runs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (None, ["does not run on this file"]),
        (["kamailio"], ["allocator qm", "64 MB"]),
        (["kamailio", "-x", "qm", "-m", "512"], ["allocator qm"]),
        (["kamailio", "-xtlsf", "-m64"], ["64 MB"]),
        (["kamailio", "-x", "fm", "-m", "256"], []),
    ],
)
def test_how_kamailio_is_started_may_hurt(
    tmp_path: Path, options: list[str] | None, said: list[str]
) -> None:
    found = list(advice.hurts(their(tmp_path, RIGHT + ROUTES), options, {}))
    assert len(found) == len(said)
    assert all(one in sentence for one, sentence in zip(said, found, strict=True))


def test_options_are_read_as_kamailio_reads_them() -> None:
    words = ["/usr/sbin/kamailio", "-A", "WITH_X", "-A", "N=5", "-f", "/x", "-m64"]
    assert (option(words, "f"), option(words, "m"), option(words, "x")) == ("/x", "64", None)
    assert defines(words) == {"WITH_X": "", "N": "5"}


def test_the_kamailio_that_runs_on_the_file_is_found(tmp_path: Path) -> None:
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


def test_a_module_that_is_not_installed_is_told_with_its_package(tmp_path: Path) -> None:
    cfg = their(tmp_path, RIGHT)
    (tmp_path / "kemix.so").touch()
    with pytest.raises(OperatorError, match="apt-get install kamailio-python3-modules"):
        missing_modules(cfg, [tmp_path])
    (tmp_path / "app_python3.so").touch()
    missing_modules(cfg, [tmp_path])
    elsewhere = their(tmp_path, f'mpath="/nowhere:{tmp_path}"\n{RIGHT}')
    missing_modules(elsewhere, [Path("/")])
