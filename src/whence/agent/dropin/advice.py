"""Looking at a Kamailio that is not ours, before the drop-in is put into it.

Its configuration is read as text (kamailio_cfg/parser.py) and never changed. Of its values only
numbers and names are shown: database URLs and passwords stand in it too. What is said has the voice
of `whence check`: where, what is wrong, what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from whence.agent.dropin.install import MODULES, ExistingKamailio
from whence.agent.dropin.kamailio_cfg.model import Block, Cfg, Place
from whence.agent.dropin.running import option
from whence.core.text import escape_untrusted
from whence.errors import OperatorError

NEEDED = ("tm", "sl", "pv", "uac")
"""Modules that the include uses, and that an ordinary kamailio.cfg has loaded by itself."""

PACKAGES = {"app_python3": "kamailio-python3-modules", "kemix": "kamailio"}

WHENCE = "WHENCE"
"""The route that is asked whose a call is."""

OURS = frozenset({WHENCE, "WHENCE_ANSWERED", "WHENCE_UNANSWERED"})
"""All names of routes in the include."""

LOCAL_REQUEST = "tm:local-request"
_ON = frozenset({"on", "yes", "true", "enable", "1"})

SHORTEST_GRANT_S = 60
"""What registrars grant at least, as far as one can expect."""

TIMER_DEFAULT_S = 90
TIMER_EARLY_S = 3
"""uac refreshes when no more than reg_timer_interval and these are left (5.6.3)."""

SHARED_MEMORY_MB = 256
SHARED_MEMORY_DEFAULT_MB = 64

_ASKS = frozenset(
    {"auth_check", "auth_challenge", "www_authorize", "proxy_authorize", "www_authenticate"}
    | {"proxy_authenticate", "pv_auth_check", "pv_www_authenticate", "pv_proxy_authenticate"}
    | {"www_challenge", "proxy_challenge", "allow_source_address", "allow_address"}
    | {"allow_trusted", "ds_is_from_list", "is_from_gw", "has_credentials"}
)
"""Functions that look at who sends a request."""

_ITS_LOCK = frozenset(
    {"uac_reg_lookup", "uac_reg_lookup_uri", "uac_reg_status", "uac_reg_request_to"}
    | {"uac_reg_enable", "uac_reg_disable", "uac_reg_refresh"}
)
"""Functions of uac that wait for the lock that it holds while it sends a REGISTER."""


def missing_modules(cfg: Cfg, folders: Sequence[Path]) -> None:
    """OperatorError where a module that the include loads is not installed."""
    written = cfg.setting("mpath", "loadpath")
    places = [Path(one) for one in written[0].split(":")] if written else list(folders)
    if not any(place.is_dir() for place in places):
        return  # Kamailio itself will say what it finds
    for module in MODULES:
        if not any((place / f"{module}.so").exists() for place in places):
            raise OperatorError(
                f"Kamailio has no module {module}; install it: apt-get install {PACKAGES[module]}"
            )


def unreadable(files: Sequence[Path], user: str | None) -> Iterator[str]:
    """Say which of these we cannot read, being Kamailio's user."""
    for file in files:
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            yield (
                f"{file}: cannot be read by {user or 'this user'}, as whom Kamailio runs: "
                f"{error.strerror}; give that user the right to, or put it where he has it"
            )


def theirs(cfg: Cfg) -> ExistingKamailio:
    """Say what the include must know of a configuration."""
    own = cfg.block("event_route", name=LOCAL_REQUEST)
    failover = _fails_over(cfg) is not None and cfg.block("onsend_route") is None
    return ExistingKamailio(frozenset(cfg.modules), own is not None, failover)


def _fails_over(cfg: Cfg) -> Place | None:
    """Return where the configuration has tm ask another server where one fails, if it does."""
    said = cfg.setting("use_dns_failover")
    return said[1] if said and said[0].lower() in _ON else None


def _onsend(cfg: Cfg) -> Iterator[str]:
    """Say what an onsend_route of theirs lacks, so that each server of a failover is known."""
    own = cfg.block("onsend_route")
    if own is None or _fails_over(cfg) is None:
        return
    if any(token.text == "whence_sent_to" for block in cfg.within(own) for token in block.body):
        return
    yield (
        f"{own.place}: at the end of your onsend_route: "
        'if ($rm == "REGISTER" && $avp(whence_sent) != $null) '
        "{ $avp(whence_sent_to) = $sndto(ip); } "
        "(else use_dns_failover loses what a second server grants)"
    )


def faults(cfg: Cfg) -> Iterator[str]:
    """Say what makes a configuration nothing for the drop-in."""
    name = cfg.file.name
    if not cfg.includes:
        yield from cfg.faults
        return
    if not cfg.modules and not cfg.blocks:
        yield (
            f"{cfg.file}: is no kamailio.cfg: it loads no module and has no route; name yours with "
            "--kamailio-cfg"
        )
        return
    engine = cfg.setting("cfgengine")
    if engine and engine[0] not in ("native", "default"):
        yield (
            f"{engine[1]}: cfgengine: the routing is written in another language; the drop-in is "
            "for routing in Kamailio's own: whence run has routing of its own"
        )
        return
    script = cfg.param("app_python3", "load")
    if script:
        yield (
            f"{script.place}: app_python3 runs a script of yours, and it can run one; the drop-in "
            "needs it for its own"
        )
    for module in NEEDED:
        if module not in cfg.modules:
            said = "registers nothing: " if module == "uac" else ""
            yield (
                f"{name}: {said}module {module} is not loaded; write loadmodule "
                f'"{module}.so"'
                + (", with the registrations that it is to keep" if module == "uac" else "")
            )
    for block in cfg.blocks:
        if block.name in OURS:
            yield (
                f"{block.place}: {block.kind}[{block.name}] has the name of one in the include; "
                "rename it, or take it out"
            )
    if "uac" in cfg.modules and not cfg.param("uac", "reg_db_url"):
        yield (
            f"{cfg.modules['uac']}: uac: reg_db_url is not set, and without it uac registers "
            'nothing; write modparam("uac", "reg_db_url", "…")'
        )


def add(cfg: Cfg, include: Path) -> Iterator[str]:
    """Say what is to be added, and where; nothing of what is there already."""
    name, own = cfg.file.name, cfg.block("event_route", name=LOCAL_REQUEST)
    if cfg.left_out is None:
        yield f'{name}: after line {cfg.after_modules}: include_file "{include}"'
    main = cfg.block("request_route")
    within = cfg.within(main) if main else []
    asked = [
        place for block in within for place, called in block.calls("route") if called == WHENCE
    ]
    if not asked:
        yield _before_authentication(cfg, main)
    if own is not None and not any(
        token.is_string and token.text == "whence_local_request"
        for block in cfg.within(own)
        for token in block.body
    ):
        yield (
            f"{own.place}: at the end of your event_route[{LOCAL_REQUEST}]: "
            'python_exec("whence_local_request");'
        )
    yield from _onsend(cfg)


def _before_authentication(cfg: Cfg, main: Block | None) -> str:
    asks = f"if (!route({WHENCE})) "
    choose = (
        "behind what handles requests inside dialogs (has_totag, loose_route), and before whatever "
        f"asks who the caller is: {asks}{{ … }}, with that in the braces"
    )
    if main is None:
        return f"{cfg.file.name}: where your requests are handled: {choose}"
    tables = _recipe_tables(cfg)
    for place, called in main.calls("route"):
        block = cfg.block("route", name=called)
        looks = block is not None and any(_looks_at_sender(b, tables) for b in cfg.within(block))
        if looks or "AUTH" in called.upper():
            return f"{place}: in the place of route({called}): {asks}route({called});"
    direct = next(iter(main.names(_ASKS)), None)
    if direct is not None:
        return (
            f"{direct.place}: before {direct.text} is called: {asks}{{ … }}, with that in the "
            "braces"
        )
    return f"{main.place}: in this route: {choose}"


def _looks_at_sender(block: Block, tables: Collection[str]) -> bool:
    by_table = any(name in tables for _, name, _ in _tables(block))
    return by_table or next(iter(block.names(_ASKS)), None) is not None


def hurts(cfg: Cfg, options: Sequence[str] | None, granted: Mapping[str, int]) -> Iterator[str]:
    """Say what in a configuration, and in how Kamailio runs, will hurt, and what would be right.

    `options`: its command line; None: it does not run. `granted`: l_uuid → for how many seconds its
    registrar granted last.
    """
    own = cfg.block("event_route", name=LOCAL_REQUEST)
    yield from (f"{fault}: what stands there is not looked at" for fault in cfg.faults)
    yield from _uac(cfg, granted)
    yield from _recipe(cfg)
    if own is not None:
        for block in cfg.within(own):
            for token in block.names(_ITS_LOCK):
                yield (
                    f"{token.place}: {token.text} is called while uac sends, and waits for the "
                    "lock that uac holds: Kamailio then registers nothing any more; take it out "
                    f"of event_route[{LOCAL_REQUEST}] and what is called there"
                )
    yield from _start(options)


def _uac(cfg: Cfg, granted: Mapping[str, int]) -> Iterator[str]:
    loaded = cfg.modules["uac"]

    def value(name: str, default: int) -> tuple[int | None, Place]:
        """What it is set to, and where; None where that is no number that can be read."""
        found = cfg.param("uac", name)
        if found is None:
            return default, loaded
        number = re.fullmatch(r"-?[0-9]{1,9}", found.value)
        return (int(number[0]) if number else None), found.place

    retry_s, place = value("reg_retry_interval", 0)
    if retry_s == 0:
        yield (
            f"{place}: uac: reg_retry_interval is 0: the first failure disables a record for good, "
            "and its calls stop when what is granted ends; write "
            'modparam("uac", "reg_retry_interval", 60)'
        )
    timer_s, place = value("reg_timer_interval", TIMER_DEFAULT_S)
    if timer_s is not None:
        yield from _timer(timer_s, place, granted)
    active, place = value("reg_active", 1)
    if active == 0:
        yield (
            f"{place}: uac: reg_active is 0: it registers nothing until kamcmd uac.reg_active 1; "
            "write 1"
        )
    keeps, place = value("reg_keep_callid", 0)
    if keeps == 0:
        yield (
            f"{place}: uac: reg_keep_callid is 0: each refresh has another Call-ID, which some "
            'registrars take for another phone\'s; write modparam("uac", "reg_keep_callid", 1)'
        )


def _timer(timer_s: int, place: Place, granted: Mapping[str, int]) -> Iterator[str]:
    """Whether it refreshes in time what is granted, as far as that is known."""
    left_s = timer_s + TIMER_EARLY_S
    short = {id_: s for id_, s in granted.items() if s <= left_s}
    right = min([*short.values(), SHORTEST_GRANT_S]) // 3
    write = f'write modparam("uac", "reg_timer_interval", {max(right, 1)})'
    if short:
        id_, least_s = min(short.items(), key=lambda pair: (pair[1], pair[0]))
        yield (
            f"{place}: uac: reg_timer_interval is {timer_s}: every {timer_s} s it refreshes what "
            f"has {left_s} s left, and {escape_untrusted(id_)} is granted {least_s} s: it ends in "
            f"between; {write}"
        )
    elif left_s >= SHORTEST_GRANT_S and not granted:
        yield (
            f"{place}: uac: reg_timer_interval is {timer_s}: every {timer_s} s it refreshes what "
            f"has {left_s} s left: what a registrar grants for less ends in between; {write}, or "
            "run whence drop-in again when it has registered: then what is granted is known"
        )


def _recipe(cfg: Cfg) -> Iterator[str]:
    """Find the known recipe: tables of who sent a 200, and where they are looked at."""
    tables = _recipe_tables(cfg)
    for name, place in tables.items():
        yield (
            f"{place}: onreply_route: it stores who sent a 200 in $sht({name}=>…), and runs for "
            "every datagram that looks like a reply: whoever forges one is let in; take it out"
        )
    for block in cfg.blocks:
        sources = [t for t in block.body if ("$si" in t.text if t.is_string else t.text == "si")]
        by_source = bool(sources) and _is_for_all_replies(block) and not tables
        if by_source and any("REGISTER" in token.text for token in block.body):
            yield (
                f"{sources[0].place}: onreply_route: it goes by the source of replies to a "
                "REGISTER, and runs for every datagram that looks like one: if it lets that "
                "source in, take it out"
            )
        lines = {place: name for place, name, _ in _tables(block) if name in tables}
        for place, name in lines.items():
            if not _is_for_all_replies(block):
                yield (
                    f"{place}: $sht({name}=>…) is looked up: that is what route({WHENCE}) does "
                    "now; take it out"
                )


def _recipe_tables(cfg: Cfg) -> dict[str, Place]:
    """Tables of who sent a 200 to a REGISTER → where they are written."""
    return {
        name: place
        for block in cfg.blocks
        if _is_for_all_replies(block) and any("REGISTER" in token.text for token in block.body)
        for place, name, words in _tables(block)
        if "si" in words
    }


def _is_for_all_replies(block: Block) -> bool:
    return block.kind == "onreply_route" and not block.name


def _tables(block: Block) -> Iterator[tuple[Place, str, list[str]]]:
    """(where, table, the words that follow) of each $sht(table=>…)."""
    body = block.body
    for i, token in enumerate(body[:-3]):
        if token.text == "$" and body[i + 1].text == "sht" and body[i + 2].text == "(":
            words = [t.text for t in body[i : i + 40]]
            yield token.place, body[i + 3].text, words


def _start(options: Sequence[str] | None) -> Iterator[str]:
    """How Kamailio is started: Debian's allocator, and Debian's memory."""
    if options is None:
        yield (
            "Kamailio does not run on this file now: start it with -x tlsf -X tlsf "
            f"-m {SHARED_MEMORY_MB}: most of a call's time is spent in Debian's allocator, and its "
            "64 MB of shared memory end at some thousand calls or registrations at once"
        )
        return
    if option(options, "x") in (None, "qm", "q_malloc"):
        yield (
            "Kamailio runs with the allocator qm, in which most of a call's time is spent; start "
            "it with -x tlsf -X tlsf"
        )
    megabytes = option(options, "m") or str(SHARED_MEMORY_DEFAULT_MB)
    if megabytes.isdecimal() and int(megabytes) <= SHARED_MEMORY_DEFAULT_MB:
        yield (
            f"Kamailio runs with {int(megabytes)} MB of shared memory, which end at some thousand "
            f"calls or registrations at once; start it with -m {SHARED_MEMORY_MB}"
        )
