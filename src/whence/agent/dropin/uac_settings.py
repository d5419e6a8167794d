"""Name the parameters of `uac` with which Kamailio does not start, or registers late or not at all.

`kamailio -c` accepts them all: `uac` checks them when it starts. Tried on Kamailio 5.6.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from whence.agent.dropin.kamailio_cfg.model import Cfg, Place
from whence.agent.dropin.own_addresses import HostPort, OwnAddresses
from whence.core.text import escape_untrusted

SHORTEST_GRANT_S = 60
"""The shortest grant that registrars usually give."""

TIMER_DEFAULT_S = 90
TIMER_EARLY_S = 3
"""uac refreshes a grant with at most reg_timer_interval plus this left (5.6.3)."""

STOPS = "Kamailio does not start"

_RESTORES = frozenset({"uac_replace_from", "uac_replace_to", "uac_restore_from", "uac_restore_to"})
"""Functions that need a `restore_mode` other than none."""

_AVP = re.compile(r"\$\(?avp\(.+\).*")


def stops(cfg: Cfg, own: OwnAddresses) -> Iterator[str]:
    """Name the parameters with which Kamailio does not start."""
    yield from _order(cfg)
    yield from _restore(cfg)
    yield from _avps(cfg)
    contact = cfg.param("uac", "reg_contact_addr")
    if contact is None or not contact.value:
        place = cfg.modules["uac"] if contact is None else contact.place
        yield (
            f"{place}: uac: reg_contact_addr is not set: {STOPS}; write "
            f'modparam("uac", "reg_contact_addr", "{own.first()}"), with a socket of yours'
        )
    default = cfg.param("uac", "default_socket")
    can_check = bool(own.sockets) and not own.is_unknown
    if can_check and default and default.value and not cfg.is_from_environment(default.value):
        socket = HostPort.parse(default.value)
        if socket is None or not own.listens(socket):
            yield (
                f"{default.place}: uac: default_socket is no listen socket: {STOPS}; write one of "
                "your listen addresses, as udp:192.0.2.9:5060"
            )


def _order(cfg: Cfg) -> Iterator[str]:
    loaded = list(cfg.modules)
    if "tm" in loaded and loaded.index("tm") > loaded.index("uac"):
        yield (
            f"{cfg.modules['uac']}: uac is loaded before tm: {STOPS}; move loadmodule "
            '"uac.so" after loadmodule "tm.so"'
        )
    if "rr" not in loaded and _restore_mode(cfg) in ("auto", "manual"):
        yield (
            f"{cfg.modules['uac']}: uac: restore_mode is {_restore_mode(cfg)}, and module rr is "
            f'not loaded: {STOPS}; write modparam("uac", "restore_mode", "none")'
        )


def _restore_mode(cfg: Cfg) -> str:
    """Return the mode; none if only Kamailio knows it, so that it is not checked."""
    mode = cfg.param("uac", "restore_mode")
    if mode is not None and cfg.is_from_environment(mode.value):
        return "none"
    return mode.value.lower() if mode is not None and mode.value else "auto"


def _restore(cfg: Cfg) -> Iterator[str]:
    """Check `restore_mode`, which is for functions that replace From and To."""
    param = cfg.param("uac", "restore_mode")
    mode, place = _restore_mode(cfg), param.place if param is not None else cfg.modules["uac"]
    none = 'write modparam("uac", "restore_mode", "none")'
    if mode not in ("auto", "manual", "none"):
        yield f"{place}: uac: restore_mode is none of auto, manual and none: {STOPS}; {none}"
        return
    if mode == "none":
        return
    for name in ("rr_from_store_param", "rr_to_store_param"):
        store = cfg.param("uac", name)
        if store is not None and not store.value:
            yield f"{store.place}: uac: {name} is empty: {STOPS}; remove this line, or {none}"
    for name in ("restore_from_avp", "restore_to_avp"):
        avp = cfg.param("uac", name)
        if avp is not None and not _AVP.fullmatch(avp.value):
            yield f"{avp.place}: uac: {name} is no $avp(name): {STOPS}; write one, or {none}"
    if mode != "auto" or "rr" not in cfg.modules:
        return
    dialog = cfg.param("uac", "restore_dlg")
    if dialog is not None and dialog.value != "0":
        if "dialog" not in cfg.modules:
            yield (
                f"{dialog.place}: uac: restore_dlg is set, and module dialog is not loaded: "
                f"{STOPS}; remove this line, or load dialog"
            )
        return
    fromtag = cfg.param("rr", "append_fromtag")
    if fromtag is not None and fromtag.value == "0":
        uses = any(next(iter(block.names(_RESTORES)), None) for block in cfg.blocks)
        append = 'write modparam("rr", "append_fromtag", 1)'
        advice = append if uses else f"{none}, or {append.removeprefix('write ')}"
        yield (
            f"{fromtag.place}: rr: append_fromtag is 0, and restore_mode of uac is auto"
            f"{'' if param is not None else ', the default'}: {STOPS}; {advice}"
        )


def _avps(cfg: Cfg) -> Iterator[str]:
    names = ("auth_realm_avp", "auth_username_avp", "auth_password_avp")
    given = {name: param for name in names if (param := cfg.param("uac", name)) is not None}
    if given and len(given) < len(names):
        missing = ", ".join(name for name in names if name not in given)
        yield (
            f"{next(iter(given.values())).place}: uac: {missing} is not set, and the other "
            f"parameters of uac_auth are: {STOPS}; write all of {', '.join(names)}, or none"
        )


def timer_interval_s(cfg: Cfg) -> int | None:
    """Return `reg_timer_interval`; None if only Kamailio knows it."""
    param = cfg.param("uac", "reg_timer_interval")
    if param is None:
        return TIMER_DEFAULT_S
    return int(param.value) if re.fullmatch(r"-?[0-9]{1,9}", param.value) else None


def registers_late(cfg: Cfg, granted: Mapping[str, int]) -> Iterator[str]:
    """Name the parameters with which `uac` registers late, once only, or not at all.

    `granted`: l_uuid → the seconds that its registrar granted last.
    """
    loaded = cfg.modules["uac"]

    def value(name: str, default: int) -> tuple[int | None, Place]:
        """Return a parameter and its place; None if only Kamailio can read the number."""
        found = cfg.param("uac", name)
        if found is None:
            return default, loaded
        number = re.fullmatch(r"-?[0-9]{1,9}", found.value)
        return (int(number[0]) if number else None), found.place

    retry_s, place = value("reg_retry_interval", 0)
    if retry_s == 0:
        yield (
            f"{place}: uac: reg_retry_interval is 0: the first failure disables an account for "
            "good, and its calls stop when the grant ends; write "
            'modparam("uac", "reg_retry_interval", 60)'
        )
    timer_s, place = value("reg_timer_interval", TIMER_DEFAULT_S)
    if timer_s is not None:
        yield from _timer(timer_s, place, granted)
    active, place = value("reg_active", 1)
    if active == 0:
        yield (
            f"{place}: uac: reg_active is 0: uac registers nothing until kamcmd uac.reg_active 1; "
            "write 1"
        )
    keeps, place = value("reg_keep_callid", 0)
    if keeps == 0:
        yield (
            f"{place}: uac: reg_keep_callid is 0: each refresh has another Call-ID, and some "
            "registrars count it as another phone; write "
            'modparam("uac", "reg_keep_callid", 1)'
        )


def _timer(timer_s: int, place: Place, granted: Mapping[str, int]) -> Iterator[str]:
    """Say whether uac refreshes too late for the grants, or for short grants if none is known."""
    left_s = timer_s + TIMER_EARLY_S
    short = {id_: s for id_, s in granted.items() if s <= left_s}
    right = min([*short.values(), SHORTEST_GRANT_S]) // 3
    write = f'write modparam("uac", "reg_timer_interval", {max(right, 1)})'
    if timer_s <= 0:
        result = "checks its accounts without a pause" if timer_s == 0 else "refreshes nothing"
        yield f"{place}: uac: reg_timer_interval is {timer_s}: uac {result}; {write}"
    elif short:
        id_, least_s = min(short.items(), key=lambda pair: (pair[1], pair[0]))
        yield (
            f"{place}: uac: reg_timer_interval is {timer_s}: every {timer_s} s uac refreshes the "
            f"grants with {left_s} s left, and {escape_untrusted(id_)} is granted {least_s} s, so "
            f"it expires in between; {write}"
        )
    elif left_s >= SHORTEST_GRANT_S and not granted:
        yield (
            f"{place}: uac: reg_timer_interval is {timer_s}: every {timer_s} s uac refreshes the "
            f"grants with {left_s} s left, so a shorter grant expires in between; {write}, or "
            "run whence drop-in again after the first registrations, when the grants are known"
        )
