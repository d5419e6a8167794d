"""`whence drop-in`: Whence for an existing Kamailio that registers with its module uac."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer

from whence.cli import output
from whence.core.text import escape_untrusted
from whence.errors import ConfigError

KAMAILIO_CFG = Path("/etc/kamailio/kamailio.cfg")


def drop_in(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder for the include file, drop-in.toml and the directory."
        ),
    ],
    kamailio_cfg: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Your kamailio.cfg. It is read, and never changed.",
            readable=False,  # the command itself reports an unreadable file, as any other fault
        ),
    ] = KAMAILIO_CFG,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="The user that Kamailio runs as.",
            show_default="kamailio if root runs this, else yourself",
        ),
    ] = None,
) -> None:
    """Add Whence to a Kamailio whose module uac registers the trunks.

    Writes DIR, and says which lines to add to kamailio.cfg, and which of its settings cause
    trouble. Run it again after each change of kamailio.cfg or DIR/drop-in.toml, and after an
    upgrade.
    """
    from whence.agent.config.validators import state_path
    from whence.agent.dropin import advice, problems
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
    from whence.agent.dropin.running import defines, running_user, start_options
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
    trusted = {*root_and_us(), *([pwd.getpwnam(owner).pw_uid] if owner is not None else [])}
    if (folder / SETTINGS_FILE).exists():
        try:
            settings, doubts = load_trusted(folder / SETTINGS_FILE, load, trusted)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    advice.missing_modules(cfg, module_folders())

    prepare(folder, advice.existing_kamailio(cfg), owner)
    is_new = example(folder, owner)
    known = install(folder, owner, settings)
    granted = {l_uuid: granted_s for l_uuid, granted_s in known.items() if granted_s}
    found = [*doubts, *settings.doubts(known), *problems.problems(cfg, options, granted)]
    with acting_as(owner):
        found += problems.of_tables(cfg, options)
        found += advice.unreadable_files((include, script()), owner)
    if owner is not None:
        running = running_user(kamailio_cfg, kamailio_cfg == KAMAILIO_CFG)
        found += problems.wrong_user(cfg, options, owner, running)

    print(f"Kamailio {version}, {kamailio_cfg}: {len(cfg.modules)} modules, uac among them")
    print(f"written: {include}, {folder / SETTINGS_FILE}" if is_new else f"written: {include}")
    numbers = output.counted(len(settings.numbers), "trunk")
    print(f"stored: the numbers of {numbers}, for the user {owner or 'that runs this'}")
    _report(list(advice.lines_to_add(cfg, include)), found)
    print(f"next: kamailio -c -f {kamailio_cfg}; if it reports no error, restart Kamailio")


def _report(to_add: list[str], found: list[str]) -> None:
    _print("add these lines yourself:" if to_add else "all lines to add are present", to_add)
    none = "no setting that causes trouble was found"
    _print("these settings cause trouble:" if found else none, found)


def _print(title: str, sentences: list[str]) -> None:
    print(title)
    for sentence in sentences:
        print(f"  {escape_untrusted(sentence)}")
