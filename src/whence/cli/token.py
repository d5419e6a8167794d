"""`whence token`: create, list and revoke the tokens of the API."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whence.cli import output
from whence.cli.options import JsonOption
from whence.cli.tables import Table
from whence.core.access import Role

if TYPE_CHECKING:
    from whence.agent.access.tokens import StoredToken

app = typer.Typer(
    help="Create, list and revoke the tokens of the API.",
    no_args_is_help=True,
    add_completion=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="The settings file.", readable=False),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIRECTORY", help="Instead: the state directory."),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the token.")]


def _state(config: Path | None, state: Path | None) -> Path:
    """Return the state directory, and become its owner. Raises: OperatorError, ConfigError."""
    from whence.agent.config.load import load
    from whence.agent.runtime.state_directory import become_owner, prepare_state

    if (config is None) == (state is None):
        raise typer.BadParameter("write one of -c FILE and --state DIRECTORY")
    found = state if config is None else load(config).state
    if found is None:  # for mypy: one of both is given
        raise typer.BadParameter("write one of -c FILE and --state DIRECTORY")
    if found.exists():
        become_owner(found)
    else:
        prepare_state(found)
    return found


@app.command("create", epilog="Example: whence token create prometheus --role view -c whence.toml")
def create(
    name: NameArgument,
    role: Annotated[Role, typer.Option(help="What it permits.")],
    config: ConfigOption = None,
    state: StateOption = None,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="For how long it is valid: 90d. Default: always.")
    ] = "",
) -> None:
    """Create a token, and print it. It is shown once: only its hash is stored."""
    from whence.agent.access.tokens import TokenFile
    from whence.agent.access.verifier import hashed

    now = time.time()
    try:
        expires_at = now + output.seconds(expires) if expires else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    folder, user = _state(config, state), getpass.getuser()
    token, stored = TokenFile(folder).create(name, role, hashed, now, expires_at)
    _audit(folder, user, "create_token", stored, (None, _shown(stored)))
    print(token)


@app.command("list", epilog="Example: whence token list -c whence.toml")
def list_(config: ConfigOption = None, state: StateOption = None, json: JsonOption = False) -> None:
    """List the tokens: their names and roles, and until when they are valid."""
    from whence.agent.access.tokens import TokenFile

    tokens = list(TokenFile(_state(config, state)).read().values())
    if json:
        shown = [
            {
                "id": one.id,
                "name": one.name,
                "role": one.role,
                "created_at": one.created_at,
                "expires_at": one.expires_at,
            }
            for one in tokens
        ]
        print(output.as_json(shown))
        return
    rows = [
        (
            one.name,
            one.role,
            one.id,
            output.when(one.created_at),
            output.when(one.expires_at, never="no end"),
        )
        for one in tokens
    ]
    columns = ("token", "role", "id", "created", "until")
    print(Table(columns, rows, "there is no token").render(output.terminal_width()))


@app.command("revoke", epilog="Example: whence token revoke prometheus -c whence.toml")
def revoke(name: NameArgument, config: ConfigOption = None, state: StateOption = None) -> None:
    """Revoke a token. The agent refuses it from the next request on."""
    from whence.agent.access.tokens import TokenFile

    folder, user = _state(config, state), getpass.getuser()
    gone = TokenFile(folder).revoke(name)
    _audit(folder, user, "revoke_token", gone, (_shown(gone), None))
    print(f"{gone.name} is revoked")


def _audit(
    state: Path,
    user: str,
    action: str,
    token: StoredToken,
    values: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None],
) -> None:
    from whence.agent.access.audit import AuditLog

    AuditLog(state).record(
        caller=f"user {user}",
        role=str(Role.ADMIN),
        source="whence token",
        action=action,
        target=token.name,
        before=values[0],
        after=values[1],
    )


def _shown(token: StoredToken) -> Mapping[str, Any]:
    return {"id": token.id, "role": str(token.role), "expires_at": token.expires_at}
