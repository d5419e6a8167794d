"""Say whether a kamailio.cfg suits the drop-in, and which lines the operator must add.

The configuration is read as text (kamailio_cfg/parser.py) and never changed. Messages show only
numbers and names of it, because it also holds database URLs and passwords.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from whence.agent.dropin import recipe
from whence.agent.dropin.install import MODULES, ExistingKamailio
from whence.agent.dropin.kamailio_cfg.model import Block, Cfg, Place
from whence.errors import OperatorError

NEEDED = ("tm", "sl", "pv", "uac")
"""Modules that the include uses, and that the operator's kamailio.cfg must load."""

PACKAGES = {"app_python3": "kamailio-python3-modules", "kemix": "kamailio"}

WHENCE = "WHENCE"
"""The route of the include that identifies a call."""

OURS = frozenset({WHENCE, "WHENCE_ANSWERED", "WHENCE_UNANSWERED"})
"""All names of routes in the include."""

LOCAL_REQUEST = "tm:local-request"
_ON = frozenset({"on", "yes", "true", "enable", "1"})

_AUTHENTICATES = frozenset(
    {"auth_check", "auth_challenge", "www_authorize", "proxy_authorize", "www_authenticate"}
    | {"proxy_authenticate", "pv_auth_check", "pv_www_authenticate", "pv_proxy_authenticate"}
    | {"www_challenge", "proxy_challenge", "allow_source_address", "allow_address"}
    | {"allow_trusted", "ds_is_from_list", "is_from_gw", "has_credentials"}
)
"""Functions that check who sends a request."""


def missing_modules(cfg: Cfg, folders: Sequence[Path]) -> None:
    """Check that the modules are installed which the include loads.

    `folders`: where Kamailio looks for modules, unless `cfg` sets `mpath`.

    Raises: OperatorError: a module is not installed.
    """
    mpath = cfg.setting("mpath", "loadpath")
    searched = [Path(one) for one in mpath[0].split(":")] if mpath else list(folders)
    if not any(folder.is_dir() for folder in searched):
        return  # Kamailio itself reports what it finds
    for module in MODULES:
        if not any((folder / f"{module}.so").exists() for folder in searched):
            raise OperatorError(
                f"Kamailio has no module {module}; install it: apt-get install {PACKAGES[module]}"
            )


def unreadable_files(files: Sequence[Path], user: str | None) -> Iterator[str]:
    """Name the files that this process cannot read. It runs as Kamailio's user."""
    for file in files:
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            yield (
                f"{file}: cannot be read by {user or 'this user'}, as whom Kamailio runs: "
                f"{error.strerror}; give that user the right, or install Whence where it has it"
            )


def existing_kamailio(cfg: Cfg) -> ExistingKamailio:
    """Return what the include depends on in a configuration."""
    own = cfg.block("event_route", name=LOCAL_REQUEST)
    failover = _dns_failover(cfg) is not None and cfg.block("onsend_route") is None
    return ExistingKamailio(frozenset(cfg.modules), own is not None, failover)


def _dns_failover(cfg: Cfg) -> Place | None:
    """Return where the configuration switches tm's failover on; None if it does not."""
    setting = cfg.setting("use_dns_failover")
    return setting[1] if setting and setting[0].lower() in _ON else None


def faults(cfg: Cfg) -> Iterator[str]:
    """Name what makes a configuration unfit for the drop-in."""
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
            f"{engine[1]}: cfgengine: the routing is in another language, and the drop-in needs "
            "Kamailio's own; use whence run, which has its own routing"
        )
        return
    script = cfg.param("app_python3", "load")
    if script:
        yield (
            f"{script.place}: app_python3 runs a script of yours, and it can run only one; the "
            "drop-in needs it for its own"
        )
    for module in NEEDED:
        if module not in cfg.modules:
            registers = module == "uac"
            yield (
                f"{name}: {'no trunk is registered: ' if registers else ''}module {module} is not "
                f'loaded; write loadmodule "{module}.so"'
                f"{', and the settings of your registrations' if registers else ''}"
            )
    for block in cfg.blocks:
        if block.name in OURS:
            yield (
                f"{block.place}: {block.kind}[{block.name}]: a route of the include has this name; "
                "rename yours, or remove it"
            )
    if "uac" in cfg.modules and not cfg.param("uac", "reg_db_url"):
        yield (
            f"{cfg.modules['uac']}: uac: reg_db_url is not set, and without it uac registers "
            'nothing; write modparam("uac", "reg_db_url", "…")'
        )


def lines_to_add(cfg: Cfg, include: Path) -> Iterator[str]:
    """Say which lines to add, and where, except those that the configuration already has."""
    name, own = cfg.file.name, cfg.block("event_route", name=LOCAL_REQUEST)
    if cfg.left_out is None:
        yield f'{name}: after line {cfg.after_modules}: add include_file "{include}"'
    main = cfg.block("request_route")
    routes = cfg.within(main) if main else []
    if not any(called == WHENCE for block in routes for _, called in block.calls("route")):
        yield _before_authentication(cfg, main)
    if own is not None and not any(
        token.is_string and token.text == "whence_local_request"
        for block in cfg.within(own)
        for token in block.body
    ):
        yield (
            f"{own.place}: at the end of your event_route[{LOCAL_REQUEST}]: "
            'add python_exec("whence_local_request");'
        )
    yield from _onsend(cfg)


def _onsend(cfg: Cfg) -> Iterator[str]:
    """Say what the operator's onsend_route lacks to note each server of a failover."""
    own = cfg.block("onsend_route")
    if own is None or _dns_failover(cfg) is None:
        return
    if any(token.text == "whence_sent_to" for block in cfg.within(own) for token in block.body):
        return
    yield (
        f"{own.place}: at the end of your onsend_route: "
        'add if ($rm == "REGISTER" && $avp(whence_sent) != $null) '
        "{ $avp(whence_sent_to) = $sndto(ip); } "
        "(with use_dns_failover, a grant of a second server is lost without it)"
    )


def _before_authentication(cfg: Cfg, main: Block | None) -> str:
    asks = f"if (!route({WHENCE})) "
    general = (
        "after the requests inside dialogs (has_totag, loose_route), and before the authentication "
        f"of the caller: add {asks}{{ … }}, with the authentication in the braces"
    )
    if main is None:
        return f"{cfg.file.name}: in your request routing: {general}"
    tables = recipe.tables(cfg)
    for place, called in main.calls("route"):
        block = cfg.block("route", name=called)
        checks = block is not None and any(_checks_sender(b, tables) for b in cfg.within(block))
        if checks or "AUTH" in called.upper():
            return f"{place}: replace route({called}); by: {asks}route({called});"
    direct = next(iter(main.names(_AUTHENTICATES)), None)
    if direct is not None:
        return (
            f"{direct.place}: before the call of {direct.text}: add {asks}{{ … }}, with that call "
            "in the braces"
        )
    return f"{main.place}: in this route: {general}"


def _checks_sender(block: Block, tables: Collection[str]) -> bool:
    by_table = any(name in tables for _, name, _ in recipe.table_uses(block))
    return by_table or next(iter(block.names(_AUTHENTICATES)), None) is not None
