"""Settings of an existing Kamailio that cause trouble: each is named with its place; no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.agent.dropin.existing_cfg import INCLUDE, RECIPE, ROUTES, SECRET, VALID, cfg_of
from whence.agent.dropin import advice
from whence.agent.dropin.kamailio_cfg.parser import read
from whence.agent.dropin.problems import problems, wrong_user

OPTIONS = ["kamailio", "-x", "tlsf", "-X", "tlsf", "-m", "256"]


def found(folder: Path, text: str, granted: dict[str, int] | None = None) -> list[str]:
    return list(problems(cfg_of(folder, text), OPTIONS, granted or {}))


def test_problems_of_a_valid_file_are_none(tmp_path: Path) -> None:
    assert found(tmp_path, VALID + ROUTES) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
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
def test_problems_of_uac_are_named_with_their_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    [problem] = found(tmp_path, VALID.replace(before, after) + ROUTES)
    assert message in problem
    assert "write" in problem


@pytest.mark.parametrize(
    ("timer_s", "granted", "right"),
    [(20, {"acme": 60}, None), (20, {"acme": 23, "bell": 60}, 7), (90, {"acme": 3600}, None)],
)
def test_timer_is_compared_with_the_grants(
    tmp_path: Path, timer_s: int, granted: dict[str, int], right: int | None
) -> None:
    text = VALID.replace('interval", 20', f'interval", {timer_s}') + ROUTES
    named = found(tmp_path, text, granted)
    if right is None:
        assert named == []
    else:
        assert "acme is granted 23 s" in named[0]
        assert named[0].endswith(f'modparam("uac", "reg_timer_interval", {right})')


def test_recipe_is_to_be_removed(tmp_path: Path) -> None:
    text = VALID + ROUTES + RECIPE + "route[WHO] { $rU = $sht(trunks=>$si); }\n"
    stores, looks = found(tmp_path, text)
    assert stores.startswith("kamailio.cfg: line 24: onreply_route: it stores the source of a 200")
    assert looks.startswith("kamailio.cfg: line 27: $sht(trunks=>…) is looked up")


@pytest.mark.parametrize("stores", ["$var(x) = $si", 'sht_setxs("t", "$si", "u", "86400")'])
def test_recipe_with_another_store_is_named(tmp_path: Path, stores: str) -> None:
    other = RECIPE.replace("$sht(trunks=>$si) = $(ct{nameaddr.uri}{uri.user})", stores)
    [problem] = found(tmp_path, VALID + ROUTES + other)
    assert "line 24: onreply_route: it uses the source of replies to a REGISTER" in problem


def test_onreply_route_of_another_purpose_is_no_problem(tmp_path: Path) -> None:
    other = RECIPE.replace("REGISTER", "INVITE")
    banned = "route[X] { $sht(ipban=>$si) = 1; }\n"
    assert found(tmp_path, VALID + ROUTES + other + banned) == []


def test_function_of_uac_in_local_request_is_a_deadlock(tmp_path: Path) -> None:
    event = "event_route[tm:local-request] { route(X); }\n"
    called = 'route[X] { uac_reg_lookup("$tU", "$ru"); }\n'
    [problem] = found(tmp_path, VALID + ROUTES + event + called)
    assert "line 23: uac_reg_lookup runs while uac sends" in problem
    assert found(tmp_path, VALID + ROUTES + called) == []


def test_problems_name_an_unreadable_include(tmp_path: Path) -> None:
    [problem] = found(tmp_path, VALID + 'include_file "gone.cfg"\n' + ROUTES)
    assert "line 11" in problem
    assert problem.endswith("this part is not checked")


def test_problems_show_no_secret(tmp_path: Path) -> None:
    bad = VALID.replace("reg_retry_interval", "other") + ROUTES + RECIPE
    bad += f'modparam("uac", "reg_retry_interval", "{SECRET}")\n'
    cfg = cfg_of(tmp_path, bad)
    shown = [*advice.lines_to_add(cfg, INCLUDE), *advice.faults(cfg), *found(tmp_path, bad)]
    assert len(shown) >= 3
    assert SECRET not in "".join(shown)


def test_problems_of_a_value_from_the_environment_are_none(tmp_path: Path) -> None:
    text = "#!defenv RETRY\n" + VALID.replace(
        '"reg_retry_interval", 60', '"reg_retry_interval", RETRY'
    )
    assert found(tmp_path, text + ROUTES) == []


def test_reply_route_after_our_handler_is_named(tmp_path: Path) -> None:
    call = 'python_exec("whence_local_request");'
    event = f'event_route[tm:local-request] {{ {call} t_on_reply("MINE"); }}\n'
    (problem,) = found(tmp_path, VALID + ROUTES + event)
    assert "line 22: t_on_reply replaces the route of the include" in problem
    before = f'event_route[tm:local-request] {{ t_on_reply("MINE"); {call} }}\n'
    assert found(tmp_path, VALID + ROUTES + before) == []


@pytest.mark.parametrize(
    ("top", "options", "running", "named"),
    [
        ("", [], None, ""),
        ("", [], 0, ""),
        ("user=root\n", [], None, ""),
        ("user=nobody\n", [], None, "kamailio.cfg: line 1: Kamailio runs as nobody"),
        ('uid="65534"\n', [], 0, "kamailio.cfg: line 1: Kamailio runs as 65534"),
        ("user=root\n", ["-u", "nobody"], 0, "Kamailio's option -u: Kamailio runs as nobody"),
        ("user=nobody\n", ["-u", "root"], None, ""),
        ("", [], 65534, "the running Kamailio: Kamailio runs as nobody"),
        ("user=no-such-user\n", [], None, ""),
    ],
)
def test_wrong_user_is_named(
    tmp_path: Path, top: str, options: list[str], running: int | None, named: str
) -> None:
    cfg = cfg_of(tmp_path, top + VALID)
    problem = "".join(wrong_user(cfg, ["kamailio", *options], "root", running))
    assert problem.startswith(named)
    assert bool(problem) == bool(named)


PIKE = """modparam("pike", "reqs_density_per_unit", 16)
route[INIT] { if (!pike_check_req()) { exit; } }
"""


def test_pike_before_whence_counts_providers(tmp_path: Path) -> None:
    before = ROUTES.replace("route(AUTH);", "route(INIT); if (!route(WHENCE)) route(AUTH);")
    (problem,) = found(tmp_path, VALID + before + PIKE)
    assert "line 23: pike_check_req counts the requests of your providers" in problem
    assert problem.endswith('write modparam("pike", "reqs_density_per_unit", 1000)')
    direct = ROUTES.replace("route(AUTH);", "if (!pike_check_req()) { exit; } route(AUTH);")
    (problem,) = found(tmp_path, VALID + direct)
    assert "with more than 30 in 2 s" in problem
    assert found(tmp_path, VALID + before + PIKE.replace("16", "1000")) == []
    after = ROUTES.replace("route(AUTH);", "if (!route(WHENCE)) { route(INIT); route(AUTH); }")
    assert found(tmp_path, VALID + after + PIKE) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from((VALID + ROUTES + RECIPE).splitlines(True)) | st.text(max_size=8)))
def test_problems_of_any_text_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "existing" / "kamailio.cfg"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((VALID + "".join(lines)).encode("utf-8", "surrogatepass"))
    cfg = read(file, leave_out=INCLUDE)
    if not list(advice.faults(cfg)):
        shown = [*advice.lines_to_add(cfg, INCLUDE), *problems(cfg, None, {})]
        assert len(shown) >= 2
        assert SECRET not in "".join(shown)


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (None, ["does not run on this file"]),
        (["kamailio"], ["allocator qm", "64 MB"]),
        (["kamailio", "-x", "qm", "-m", "512"], ["allocator qm"]),
        (["kamailio", "-xtlsf", "-m64"], ["64 MB"]),
        (["kamailio", "-x", "fm", "-m", "256"], []),
    ],
)
def test_start_options_that_cause_trouble_are_named(
    tmp_path: Path, options: list[str] | None, messages: list[str]
) -> None:
    named = list(problems(cfg_of(tmp_path, VALID + ROUTES), options, {}))
    assert len(named) == len(messages)
    assert all(message in one for message, one in zip(messages, named, strict=True))
