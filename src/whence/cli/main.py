"""The `whence` command: its commands, and what a failure looks like.

Exit 0: done. 1: it cannot be done here and now, one sentence says what to do. 2: the file, or the
command line, is wrong.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from whence.agent.runtime import sighup
from whence.errors import ConfigError, OperatorError

if TYPE_CHECKING:
    from typer import Typer

HEAR_HANG_UPS = (["run"], ["agent"])


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] in HEAR_HANG_UPS:
        sighup.block()  # before the imports, which take longest
    try:
        _commands()()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OperatorError as error:
        print(f"whence: {error}", file=sys.stderr)
        sys.exit(1)


def _commands() -> Typer:
    import typer

    from whence.cli import (
        actions,
        check,
        dropin,
        edge_config,
        explain,
        queries,
        version,
    )
    from whence.cli.service import agent, run

    app = typer.Typer(
        help="Tells a SIP edge whence a call comes.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(version.root)
    app.command("run")(run.run)
    app.command("agent")(agent.agent)
    app.command("drop-in")(dropin.drop_in)
    app.command("edge-config")(edge_config.edge_config)
    app.command("check")(check.check)
    app.command("trunks")(queries.trunks)
    app.command("trunk")(queries.trunk)
    app.command("addresses")(queries.addresses)
    app.command("conflicts")(queries.conflicts)
    app.command("users")(queries.users)
    app.command("calls")(queries.calls)
    app.command("unknown")(queries.unknown)
    app.command("alarms")(queries.alarms)
    app.command("explain")(explain.explain)
    app.command("register")(actions.register)
    app.command("unregister")(actions.unregister)
    app.command("pause")(actions.pause)
    app.command("resume")(actions.resume)
    app.command("allow")(actions.allow)
    app.command("revoke")(actions.revoke)
    app.command("reload")(actions.reload)
    return app
