"""`whence drop-in`: Whence for an existing Kamailio that registers with its module uac."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer

from whence.core.text import escape_untrusted
from whence.errors import ConfigError

KAMAILIO_CFG = Path("/etc/kamailio/kamailio.cfg")


def drop_in(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="where the include file and its directory go")
    ],
    kamailio_cfg: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="your configuration; it is read, and never changed",
            readable=False,  # that is for us to say
        ),
    ] = KAMAILIO_CFG,
    user: Annotated[
        str | None,
        typer.Option(help="as whom Kamailio runs", show_default="kamailio, for root"),
    ] = None,
) -> None:
    """Bring Whence into a Kamailio that registers by itself: say what to add, and what will hurt.

    Run it again after each change of DIR/drop-in.toml, and after an upgrade.
    """
    from whence.agent.config.validators import state_path
    from whence.agent.dropin import advice
    from whence.agent.dropin.config import FILE as SETTINGS_FILE
    from whence.agent.dropin.config import DropInConfig, load
    from whence.agent.dropin.install import (
        INCLUDE_FILE,
        STATE,
        acting_as,
        example,
        install,
        kamailios_user,
        prepare,
        script,
    )
    from whence.agent.dropin.kamailio_cfg.parser import read
    from whence.agent.dropin.running import defines, start_options
    from whence.cli.service.preflight import kamailio_version, module_folders
    from whence.trust.paths import root_and_us
    from whence.trust.settings import load_trusted

    os.environ["PATH"] += ":/usr/sbin:/sbin"
    folder = folder.absolute()
    include = folder / INCLUDE_FILE
    try:
        state_path(str(folder / STATE))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="DIR") from None
    owner = kamailios_user(user)
    version = kamailio_version()

    options = start_options(kamailio_cfg, kamailio_cfg == KAMAILIO_CFG)
    cfg = read(kamailio_cfg, defines(options or ()), leave_out=include)
    faults = list(advice.faults(cfg))
    settings, doubts = DropInConfig(), list[str]()
    decide = {*root_and_us(), *([pwd.getpwnam(owner).pw_uid] if owner is not None else [])}
    if (folder / SETTINGS_FILE).exists():
        try:
            settings, doubts = load_trusted(folder / SETTINGS_FILE, load, decide)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    advice.missing_modules(cfg, module_folders())

    prepare(folder, advice.theirs(cfg), owner)
    is_new = example(folder, owner)
    known = install(folder, owner, settings)
    granted = {l_uuid: granted_s for l_uuid, granted_s in known.items() if granted_s}
    hurts = [*doubts, *settings.doubts(known), *advice.hurts(cfg, options, granted)]
    with acting_as(owner):
        hurts += advice.unreadable((include, script()), owner)

    print(f"Kamailio {version}, {kamailio_cfg}: {len(cfg.modules)} modules, uac among them")
    print(f"written: {include}, {folder / SETTINGS_FILE}" if is_new else f"written: {include}")
    print(f"numbers of {len(settings.numbers)} trunks, for {owner or 'this user'}")
    to_add = list(advice.add(cfg, include))
    _print("add, by your own hand:" if to_add else "what is to be added is there", to_add)
    _print("what will hurt:" if hurts else "nothing that will hurt was found", hurts)
    print(f"then: kamailio -c -f {kamailio_cfg}; and start Kamailio anew, if that says it is right")


def _print(title: str, sentences: list[str]) -> None:
    print(title)
    for sentence in sentences:
        print(f"  {escape_untrusted(sentence)}")
