"""Make commands of functions that ask the API: the shared options, and how an answer is shown."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from whence.cli import output
from whence.cli.api_address import api_of
from whence.cli.options import (
    DEFAULT_API,
    EVERY_S,
    ApiFileOption,
    ApiOption,
    EveryOption,
    JsonOption,
    WatchOption,
    WideOption,
)
from whence.cli.output import Answer
from whence.errors import OperatorError

Ask = Callable[..., Answer]
"""A function that asks the API at the URL of its first argument, `api`."""

CLEAR = "\x1b[H\x1b[2J"


def orders(order: Ask) -> Callable[..., None]:
    """Return the command of a function that changes something: `--api`, `-c`, `--json`."""

    def command(
        context: typer.Context,
        api: ApiOption = DEFAULT_API,
        config: ApiFileOption = None,
        json: JsonOption = False,
        **own: Any,
    ) -> None:
        _show(order(_api(context, api, config), **own), json=json, width=None)

    return _with_own_options(command, order)


def shows(query: Ask) -> Callable[..., None]:
    """Return the command of a function that only asks: also `--wide`, `--watch` and `--every`."""

    def command(
        context: typer.Context,
        api: ApiOption = DEFAULT_API,
        config: ApiFileOption = None,
        json: JsonOption = False,
        wide: WideOption = False,
        watch: WatchOption = False,
        every: EveryOption = EVERY_S,
        **own: Any,
    ) -> None:
        if json and watch:
            raise typer.BadParameter("--json and --watch exclude each other")
        address = _api(context, api, config)
        width = None if wide else output.terminal_width()
        if watch:
            _watch(lambda: query(address, **own), wide=wide, every_s=every)
        _show(query(address, **own), json=json, width=width)

    return _with_own_options(command, query)


def _with_own_options(command: Callable[..., None], ask: Ask) -> Callable[..., None]:
    """Give a command the documentation and the parameters of `ask`, without `api`."""
    own = list(inspect.signature(ask, eval_str=True).parameters.values())[1:]
    shared = [
        one
        for one in inspect.signature(command, eval_str=True).parameters.values()
        if one.kind is not one.VAR_KEYWORD
    ]
    keywords = [one.replace(kind=one.KEYWORD_ONLY) for one in (*own, *shared)]
    command.__doc__ = ask.__doc__
    command.__annotations__ = {one.name: one.annotation for one in keywords}
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return command


def _api(context: typer.Context, api: str, config: Path | None) -> str:
    """Return the URL of the API: `--api`, or that of the settings file, or the default's."""
    if config is None:
        return api
    source = context.get_parameter_source("api")
    if source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("-c and --api exclude each other: both name the API")
    return api_of(config)


def _show(answer: Answer, *, json: bool, width: int | None) -> None:
    print(output.as_json(answer.value) if json else answer.text(width))
    if not answer.ok:
        raise typer.Exit(1)


def _watch(query: Callable[[], Answer], *, wide: bool, every_s: int) -> None:
    """Show an answer again and again. It ends with SIGINT, or when the first question fails."""
    text = query().text(None if wide else output.terminal_width())
    while True:
        if sys.stdout.isatty():
            text = CLEAR + "\n".join(_first_lines(text, output.terminal_lines() - 1))
        print(text, flush=True)
        time.sleep(every_s)
        try:
            text = query().text(None if wide else output.terminal_width())
        except OperatorError as error:  # the agent may start again
            text = f"whence: {error}"


def _first_lines(text: str, count: int) -> Iterator[str]:
    lines = text.splitlines()
    if len(lines) <= count:
        yield from lines
        return
    yield from lines[: count - 1]
    yield f"… and {output.counted(len(lines) - count + 1, 'more line')}"
