"""The `whence` command: its commands, and what a failure looks like.

Exit 0: done. 1: it cannot be done here and now, one sentence says what to do. 2: the file, or the
command line, is wrong.
"""

from __future__ import annotations

import sys

import typer

from whence.agent.faults import FaultyFileError, ProblemError
from whence.cli import (
    addresses,
    agent,
    calls,
    check,
    clashes,
    drop_in,
    edge_config,
    events,
    explain,
    orders,
    reload,
    run,
    strangers,
    trunk,
    trunks,
    users,
)

app = typer.Typer(
    help="Tells a SIP edge whence a call comes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("agent")(agent.agent)
app.command("drop-in")(drop_in.drop_in)
app.command("edge-config")(edge_config.edge_config)
app.command("check")(check.check)
app.command("trunks")(trunks.trunks)
app.command("trunk")(trunk.trunk)
app.command("addresses")(addresses.addresses)
app.command("clashes")(clashes.clashes)
app.command("users")(users.users)
app.command("calls")(calls.calls)
app.add_typer(strangers.app, name="strangers")
app.command("events")(events.events)
app.command("explain")(explain.explain)
app.command("register")(orders.register)
app.command("unregister")(orders.unregister)
app.command("park")(orders.park)
app.command("resume")(orders.resume)
app.command("reload")(reload.reload)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except FaultyFileError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ProblemError as error:
        print(f"whence: {error}", file=sys.stderr)
        sys.exit(1)
