"""Parameters of uac with which Kamailio does not start. A real Kamailio agrees: see
tests/system/test_drop_in_advice.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.agent.dropin.existing_cfg import ROUTES, VALID, cfg_of
from whence.agent.dropin.own_addresses import own_addresses
from whence.agent.dropin.uac_settings import registers_late, stops

LISTEN = "listen=udp:192.0.2.9:5060\n"
RR = 'loadmodule "rr.so"\n'


def found(folder: Path, text: str) -> list[str]:
    cfg = cfg_of(folder, LISTEN + text + ROUTES)
    return list(stops(cfg, own_addresses(cfg, None)))


def params(*pairs: tuple[str, str]) -> str:
    return "".join(f'modparam("uac", "{name}", "{value}")\n' for name, value in pairs)


AUTO = VALID.replace(params(("restore_mode", "none")), "")


def test_stops_of_a_valid_file_are_none(tmp_path: Path) -> None:
    assert found(tmp_path, VALID) == []
    assert found(tmp_path, RR + AUTO) == []
    assert found(tmp_path, RR + AUTO + 'modparam("rr", "append_fromtag", 1)\n') == []


def test_append_fromtag_0_with_default_restore_mode_stops(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, RR + AUTO + 'modparam("rr", "append_fromtag", 0)\n')
    assert problem == (
        "kamailio.cfg: line 12: rr: append_fromtag is 0, and restore_mode of uac is auto, the "
        'default: Kamailio does not start; write modparam("uac", "restore_mode", "none"), or '
        'modparam("rr", "append_fromtag", 1)'
    )


def test_append_fromtag_advice_keeps_functions_that_restore(tmp_path: Path) -> None:
    uses = 'route[X] { uac_replace_from("sip:a@b"); }\n'
    (problem,) = found(tmp_path, RR + AUTO + 'modparam("rr", "append_fromtag", 0)\n' + uses)
    assert problem.endswith('does not start; write modparam("rr", "append_fromtag", 1)')


def test_append_fromtag_0_with_restore_dlg_starts(tmp_path: Path) -> None:
    text = RR + AUTO + 'modparam("rr", "append_fromtag", 0)\n' + params(("restore_dlg", "1"))
    assert found(tmp_path, text + 'loadmodule "dialog.so"\n') == []
    (problem,) = found(tmp_path, text)
    assert "line 13: uac: restore_dlg is set, and module dialog is not loaded" in problem


@pytest.mark.parametrize(
    ("more", "line", "message"),
    [
        (
            params(("restore_mode", "sometimes")),
            12,
            "restore_mode is none of auto, manual and none",
        ),
        (params(("rr_from_store_param", "")), 12, "rr_from_store_param is empty"),
        (params(("restore_to_avp", "$var(x)")), 12, "restore_to_avp is no $avp(name)"),
        (params(("auth_realm_avp", "$avp(r)")), 12, "auth_username_avp, auth_password_avp is not"),
        (params(("reg_contact_addr", "")), 12, "reg_contact_addr is not set"),
        (
            params(("default_socket", "udp:192.0.2.8:5060")),
            12,
            "default_socket is no listen socket",
        ),
    ],
)
def test_stops_name_the_line_and_the_cure(
    tmp_path: Path, more: str, line: int, message: str
) -> None:
    (problem,) = found(tmp_path, RR + AUTO + more)
    assert f"kamailio.cfg: line {line}: uac: {message}" in problem
    assert "Kamailio does not start; " in problem


def test_stops_of_values_from_the_environment_are_none(tmp_path: Path) -> None:
    own = 'modparam("uac", "restore_mode", MODE)\nmodparam("uac", "default_socket", SOCKET)\n'
    assert found(tmp_path, "#!defenv MODE\n#!defenv SOCKET\n" + RR + AUTO + own) == []


def test_missing_reg_contact_addr_stops_with_an_example(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, VALID.replace("reg_contact_addr", "reg_other"))
    assert problem.startswith("kamailio.cfg: line 5: uac: reg_contact_addr is not set")
    assert 'modparam("uac", "reg_contact_addr", "192.0.2.9:5060")' in problem


def test_order_and_absence_of_modules_stop(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, 'loadmodule "uac.so"\n' + VALID)
    assert "line 2: uac is loaded before tm" in problem
    (problem,) = found(tmp_path, AUTO)
    assert "line 5: uac: restore_mode is auto, and module rr is not loaded" in problem


@pytest.mark.parametrize(
    ("value", "message"), [("0", "without a pause"), ("-1", "refreshes nothing")]
)
def test_timer_of_no_seconds_is_named(tmp_path: Path, value: str, message: str) -> None:
    cfg = cfg_of(tmp_path, VALID.replace('interval", 20', f'interval", {value}'))
    (problem,) = registers_late(cfg, {})
    assert message in problem
    assert problem.endswith('write modparam("uac", "reg_timer_interval", 20)')
