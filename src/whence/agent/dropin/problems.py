"""Name the settings of a Kamailio that cause trouble for the drop-in, and what to write instead.

`kamailio -c` accepts them all. Each message says where, what happens, and what to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from whence.agent.dropin import recipe
from whence.agent.dropin.advice import LOCAL_REQUEST, WHENCE
from whence.agent.dropin.kamailio_cfg.model import Cfg, Place
from whence.agent.dropin.running import option
from whence.core.text import escape_untrusted

SHORTEST_GRANT_S = 60
"""The shortest grant that registrars usually give."""

TIMER_DEFAULT_S = 90
TIMER_EARLY_S = 3
"""uac refreshes a grant with at most reg_timer_interval plus this left (5.6.3)."""

SHARED_MEMORY_MB = 256
SHARED_MEMORY_DEFAULT_MB = 64

_NEEDS_UAC_LOCK = frozenset(
    {"uac_reg_lookup", "uac_reg_lookup_uri", "uac_reg_status", "uac_reg_request_to"}
    | {"uac_reg_enable", "uac_reg_disable", "uac_reg_refresh"}
)
"""Functions of uac that wait for the lock that it holds while it sends a REGISTER."""


def problems(cfg: Cfg, options: Sequence[str] | None, granted: Mapping[str, int]) -> Iterator[str]:
    """Name the settings that cause trouble, and what to write.

    `options`: the command line of the running Kamailio; None: it does not run. `granted`: l_uuid →
    for how many seconds its registrar granted last.
    """
    yield from (f"{fault}; this part is not checked" for fault in cfg.faults)
    yield from _uac(cfg, granted)
    yield from _recipe(cfg)
    yield from _deadlock(cfg)
    yield from _start(options)


def _uac(cfg: Cfg, granted: Mapping[str, int]) -> Iterator[str]:
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
    if short:
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


def _recipe(cfg: Cfg) -> Iterator[str]:
    """Find the known recipe: where it stores sources, and where it looks them up."""
    tables = recipe.tables(cfg)
    for name, place in tables.items():
        yield (
            f"{place}: onreply_route: it stores the source of a 200 in $sht({name}=>…), and runs "
            "for each datagram that looks like a reply, so a forged reply lets its sender in; "
            "remove it"
        )
    for block in cfg.blocks:
        sources = [t for t in block.body if ("$si" in t.text if t.is_string else t.text == "si")]
        uses_source = bool(sources) and recipe.runs_for_all_replies(block) and not tables
        if uses_source and any("REGISTER" in token.text for token in block.body):
            yield (
                f"{sources[0].place}: onreply_route: it uses the source of replies to a REGISTER, "
                "and runs for each datagram that looks like one; if it lets that source in, remove "
                "it"
            )
        lines = {place: name for place, name, _ in recipe.table_uses(block) if name in tables}
        for place, name in lines.items():
            if not recipe.runs_for_all_replies(block):
                yield (
                    f"{place}: $sht({name}=>…) is looked up, which route({WHENCE}) replaces; "
                    "remove it"
                )


def _deadlock(cfg: Cfg) -> Iterator[str]:
    """Find functions of uac where uac holds its own lock."""
    own = cfg.block("event_route", name=LOCAL_REQUEST)
    for block in cfg.within(own) if own is not None else []:
        for token in block.names(_NEEDS_UAC_LOCK):
            yield (
                f"{token.place}: {token.text} runs while uac sends, and waits for the lock that "
                "uac holds: Kamailio registers nothing any more; remove it from "
                f"event_route[{LOCAL_REQUEST}] and from the routes that it calls"
            )


def _start(options: Sequence[str] | None) -> Iterator[str]:
    """Check the allocator and the memory that Kamailio is started with."""
    if options is None:
        yield (
            "Kamailio does not run on this file now: start it with -x tlsf -X tlsf "
            f"-m {SHARED_MEMORY_MB}: Debian's allocator takes most of a call's CPU time, and "
            f"{SHARED_MEMORY_DEFAULT_MB} MB of shared memory are used up at some thousand calls or "
            "registrations at once"
        )
        return
    if option(options, "x") in (None, "qm", "q_malloc"):
        yield (
            "Kamailio runs with the allocator qm, which takes most of a call's CPU time; start "
            "it with -x tlsf -X tlsf"
        )
    megabytes = option(options, "m") or str(SHARED_MEMORY_DEFAULT_MB)
    if megabytes.isdecimal() and int(megabytes) <= SHARED_MEMORY_DEFAULT_MB:
        yield (
            f"Kamailio runs with {int(megabytes)} MB of shared memory, which are used up at some "
            f"thousand calls or registrations at once; start it with -m {SHARED_MEMORY_MB}"
        )
