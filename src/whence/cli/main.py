"""The command `whence`: its subcommands, and how they end.

Exit status 0: done. 1: it failed, and one sentence says what to do. 2: the file or the command line
is wrong.
"""

from __future__ import annotations

import signal
import sys

# Until `main` runs, Ctrl-C prints a traceback. So this module imports nothing else, not even
# typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typer import Typer


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C during the imports ends the program without a traceback. `run` and `agent` set a
        # handler of their own later.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from whence.agent.runtime import sighup
    from whence.cli.service.start import read_arguments
    from whence.errors import ConfigError, OperatorError

    arguments = sys.argv[1:]
    if arguments[:1] in (["run"], ["agent"]):
        sighup.block()  # before the imports, which take longest
    command = read_arguments(arguments) or commands()
    try:
        command()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OperatorError as error:
        print(f"whence: {error}", file=sys.stderr)
        sys.exit(1)


def commands() -> Typer:
    """Return the command line: all commands with their options."""
    import typer

    from whence.cli import (
        actions,
        calls,
        check,
        dropin,
        edge_config,
        explain,
        import_trunks,
        init,
        queries,
        token,
        version,
    )
    from whence.cli.api_command import orders, shows
    from whence.cli.service import commands as service

    app = typer.Typer(
        help="Register SIP trunks, and identify inbound calls by the address that accepted the "
        "registration.",
        epilog="Exit status: 0 done; 1 failed, the message says what to do; 2 the file or the "
        "command line is wrong.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(version.root)

    def add(panel: str, name: str, command: Callable[..., None], example: str = "") -> None:
        line = f"Example: whence {name} {example}".rstrip()
        app.command(name, epilog=line, rich_help_panel=panel)(command)

    run_it, show, change = "Set up and run", "Show", "Change"
    request = "--source udp:203.0.113.7:5060 --ruri sip:+442071234567@edge.example"
    add(run_it, "check", check.check, "-c /etc/whence/whence.toml")
    add(run_it, "init", init.init, "-c whence.toml")
    add(run_it, "import", import_trunks.import_trunks, "pjsip pjsip.conf -o whence.toml")
    add(run_it, "run", service.run, "-c /etc/whence/whence.toml")
    add(run_it, "agent", service.agent, "-c /etc/whence/whence.toml")
    add(run_it, "edge-config", edge_config.edge_config, "-c whence.toml > kamailio.cfg")
    add(run_it, "drop-in", dropin.drop_in, "/etc/kamailio/whence")
    add(show, "trunks", shows(queries.trunks))
    add(show, "trunk", shows(queries.trunk), "acme")
    add(show, "addresses", shows(queries.addresses))
    add(show, "conflicts", shows(queries.conflicts))
    add(show, "users", shows(queries.users))
    add(show, "calls", shows(calls.calls), "--failed --since 1h")
    add(show, "unknown", shows(queries.unknown), "--limit 10")
    add(show, "alarms", shows(queries.alarms), "--since 1700000000123")
    add(show, "explain", shows(explain.explain), request)
    add(change, "register", orders(actions.register), "acme")
    add(change, "unregister", orders(actions.unregister), "acme")
    add(change, "pause", orders(actions.pause), "acme")
    add(change, "resume", orders(actions.resume), "acme")
    add(change, "allow", orders(actions.allow), "udp:203.0.113.7:5060 --trunk acme --for 1h")
    add(change, "revoke", orders(actions.revoke), "203.0.113.7 --trunk acme")
    add(change, "reload", orders(actions.reload))
    app.add_typer(token.app, name="token", rich_help_panel=change)
    return app
