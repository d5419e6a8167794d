"""`whence import`: make a settings file of the trunks of another program."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Annotated

import typer

from whence.cli import output, private_file
from whence.errors import ConfigError, OperatorError

if TYPE_CHECKING:
    from whence.importers.records import Findings, Source
    from whence.importers.tables import TableRow
    from whence.importers.to_toml import Imported

FILE_LIMIT = 64 * 1024 * 1024
SQLITE = b"SQLite format 3\0"


class Kind(StrEnum):
    """The formats."""

    UACREG = "uacreg"
    PJSIP = "pjsip"
    FREESWITCH = "freeswitch"
    OPENSIPS = "opensips"
    CSV = "csv"


def import_trunks(
    kind: Annotated[
        Kind, typer.Argument(metavar="KIND", help="uacreg, pjsip, freeswitch, opensips or csv.")
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="The files to read.")],
    result: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write to this file, with mode 0600."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --output: replace an existing file.")
    ] = False,
    target: Annotated[str, typer.Option(metavar="URI", help="The target of all trunks.")] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            "-c",
            "--config",
            metavar="FILE",
            help="The settings file to which you append the result. It is only read.",
            readable=False,
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each trunk's password to a file in DIR instead."),
    ] = None,
    table: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The table of uacreg or opensips.",
            show_default="uacreg or registrant",
        ),
    ] = "",
) -> None:
    """Make a settings file of the trunks in another program's files.

    The result has passwords. Standard error has each line that has no counterpart, and why.
    """
    from whence.agent.config.load import load
    from whence.agent.config.toml import toml
    from whence.importers.records import Findings
    from whence.importers.to_toml import Wishes, settings_of

    existing = None
    if config is not None:
        load(config)
        existing = toml(config)
    if result is not None and result.exists() and not force:
        raise OperatorError(f"{result} exists already; name another file, or write --force")
    findings = Findings()
    _read(kind, files, table, findings)
    home = config or result
    folder = home.absolute().parent if home is not None else Path.cwd()
    keep_secret = None if secrets is None else _SecretFiles(secrets.absolute(), force).keep
    settings = settings_of(findings, Wishes(target, existing, folder, keep_secret))
    for note in settings.notes:
        print(note, file=sys.stderr)
    _write(settings, result, force)


def _write(settings: Imported, result: Path | None, force: bool) -> None:
    counts = {
        "trunk": settings.trunks,
        "user": settings.users,
        "comment": settings.comments,
        "note": len(settings.notes),
    }
    found = ", ".join(output.counted(number, noun) for noun, number in counts.items())
    if not settings.trunks + settings.users + settings.comments:
        raise OperatorError(f"nothing to import: {found}")
    if result is None:
        print(settings.text, end="")
    else:
        private_file.write(result, settings.text, replace=force)
        found = f"{result}: {found}"
    print(found, file=sys.stderr)


class _SecretFiles:
    """Writes passwords to files of a directory that only its owner can enter."""

    def __init__(self, folder: Path, replace: bool) -> None:
        self._folder, self._replace = folder, replace

    def keep(self, trunk: str, password: str) -> str:
        """Write the password of a trunk; return the path. Raises: OperatorError."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(f"{self._folder} cannot be made: {error.strerror}") from None
        file = self._folder / f"{trunk}.password"
        private_file.write(file, f"{password}\n", replace=self._replace)
        return str(file)


def _read(kind: Kind, files: list[Path], table: str, findings: Findings) -> None:
    from whence.importers import csv_table, freeswitch, opensips, pjsip, uacreg
    from whence.importers.kinds import columns_of_trunks

    if kind is Kind.PJSIP:
        pjsip.read([_text(file, findings) for file in files], findings)
        return
    for file in files:
        match kind:
            case Kind.UACREG:
                uacreg.read(_rows(file, table or uacreg.TABLE, findings), findings)
            case Kind.OPENSIPS:
                opensips.read(_rows(file, table or opensips.TABLE, findings), findings)
            case Kind.FREESWITCH:
                freeswitch.read(_text(file, findings), findings)
            case Kind.CSV:
                csv_table.read(_text(file, findings), columns_of_trunks(), findings)


def _rows(file: Path, table: str, findings: Findings) -> list[TableRow]:
    from whence.importers.tables import rows_of, rows_of_sqlite

    if _bytes(file, len(SQLITE)) == SQLITE:
        return rows_of_sqlite(file, table)
    return rows_of(_text(file, findings), table, findings)


def _text(file: Path, findings: Findings) -> Source:
    """Return the text of a file: UTF-8, or Latin-1 with a note."""
    from whence.importers.records import Place, Source

    data = _bytes(file, FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise ConfigError([f"{file}: is larger than {FILE_LIMIT >> 20} MB; split it"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(str(file), data.count(b"\n", 0, error.start) + 1)
        findings.note(place, "is not UTF-8; the file is read as Latin-1")
        text = data.decode("latin-1")
    return Source(str(file), text.replace("\r\n", "\n"))


def _bytes(file: Path, most: int) -> bytes:
    try:
        if not S_ISREG(file.stat().st_mode):
            raise ConfigError([f"{file}: is no regular file"])
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
