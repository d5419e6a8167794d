"""Name the settings of a Kamailio that cause trouble for the drop-in, and what to write instead.

`kamailio -c` accepts them all. Each message says where, what happens, and what to write.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from whence.agent.dropin import accounts, recipe, uac_settings, uac_table
from whence.agent.dropin.advice import LOCAL_REQUEST, WHENCE
from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.own_addresses import own_addresses
from whence.agent.dropin.running import option
from whence.core.text import escape_untrusted
from whence.trust.paths import user_name

PIKE_DEFAULT, PIKE_ENOUGH = 30, 1000
"""Requests in each sampling unit: the default of pike, and a limit that providers do not reach."""

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
    yield from uac_settings.stops(cfg, own_addresses(cfg, options))
    yield from uac_settings.registers_late(cfg, granted)
    yield from _recipe(cfg)
    yield from _deadlock(cfg)
    yield from _replaced_reply_route(cfg)
    yield from _pike(cfg)
    yield from _start(options)


def of_tables(cfg: Cfg, options: Sequence[str] | None) -> Iterator[str]:
    """Name the accounts in uac's table that cause trouble, as far as the table can be read.

    Call it as the user that Kamailio runs as. `options`: see `problems`.
    """
    domains = uac_table.domains(cfg, options)
    names = [str(row["domain"] or "") for row in domains.rows or ()]
    own = own_addresses(cfg, options, names)
    if domains.rows is None:
        own = replace(own, is_unknown=True)
    read = uac_table.accounts(cfg, options)
    locations = uac_table.locations(cfg, options)
    notes = (read.problem, read.unchecked, domains.unchecked, locations.unchecked)
    yield from filter(None, notes)
    if own.is_unknown and not domains.unchecked:
        yield "listen, alias: only Kamailio knows a value: l_domain and Contact are not checked"
    if read.rows is not None:
        table = uac_table.table_name(cfg)
        yield from accounts.problems(cfg, read.rows, own, table)
        yield from accounts.elsewhere(read.rows, locations.rows or (), table)


def wrong_user(
    cfg: Cfg, options: Sequence[str] | None, owner: str, running: int | None = None
) -> Iterator[str]:
    """Say that Kamailio runs as another user than `owner`, for whom the files are.

    `running`: the uid of the running Kamailio, if one runs.
    """
    named, setting = option(options or (), "u"), cfg.setting("user", "uid")
    user = named or (setting[0] if setting is not None else "")
    where = "Kamailio's option -u" if named or setting is None else str(setting[1])
    if not user and running is not None:
        user, where = user_name(running), "the running Kamailio"
    if user and _uid(user) not in (None, _uid(owner)):
        yield (
            f"{where}: Kamailio runs as {escape_untrusted(user)}, and cannot write the directory "
            f"of {owner}; run this again with --user {escape_untrusted(user)}"
        )


def _uid(user: str) -> int | None:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return None  # Kamailio itself reports it


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


def _replaced_reply_route(cfg: Cfg) -> Iterator[str]:
    """Find a t_on_reply or t_on_failure after our handler, which it would replace."""
    own = cfg.block("event_route", name=LOCAL_REQUEST)
    ours = False
    for token in own.body if own is not None else ():
        ours = ours or (token.is_string and token.text == "whence_local_request")
        if ours and not token.is_string and token.text in ("t_on_reply", "t_on_failure"):
            yield (
                f"{token.place}: {token.text} replaces the route of the include, so no answer "
                'teaches an address; move it before python_exec("whence_local_request");'
            )
            return


def _pike(cfg: Cfg) -> Iterator[str]:
    """Find a flood limit that counts the calls of providers, before route(WHENCE)."""
    main = cfg.block("request_route")
    density = cfg.param("pike", "reqs_density_per_unit")
    limit = density.value if density is not None else str(PIKE_DEFAULT)
    if main is None or not limit.isdecimal() or int(limit) >= PIKE_ENOUGH:
        return
    unit = cfg.param("pike", "sampling_time_unit")
    for i, token in enumerate(main.body):
        called = main.body[i + 2].text if token.text == "route" and i + 2 < len(main.body) else ""
        if called == WHENCE:
            return
        block = cfg.block("route", name=called) if called else None
        routes = cfg.within(block) if block is not None else []
        counts = [t for route in routes for t in route.names({"pike_check_req"})]
        if token.text == "pike_check_req" and not token.is_string:
            counts.append(token)
        if counts:
            yield (
                f"{counts[0].place}: pike_check_req counts the requests of your providers, too: "
                f"with more than {limit} in {unit.value if unit is not None else 2} s, an address "
                "is blocked, and its calls get lost; call it after route(WHENCE) returned false, "
                f'or write modparam("pike", "reqs_density_per_unit", {PIKE_ENOUGH})'
            )
            return


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
