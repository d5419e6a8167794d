"""The sample files, and how tests read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from whence.importers import csv_table, freeswitch, opensips, pjsip, uacreg
from whence.importers.kinds import columns_of_trunks
from whence.importers.records import Findings, Source
from whence.importers.tables import rows_of

FOLDER = Path(__file__).parent / "samples"


def read_uacreg(source: Source, findings: Findings) -> None:
    uacreg.read(rows_of(source, uacreg.TABLE, findings), findings)


def read_opensips(source: Source, findings: Findings) -> None:
    opensips.read(rows_of(source, opensips.TABLE, findings), findings)


def read_pjsip(source: Source, findings: Findings) -> None:
    pjsip.read([source], findings)


def read_csv(source: Source, findings: Findings) -> None:
    csv_table.read(source, columns_of_trunks(), findings)


READERS: dict[str, Callable[[Source, Findings], None]] = {
    "uacreg.sql": read_uacreg,
    "uacreg.dbtext": read_uacreg,
    "registrant.sql": read_opensips,
    "pjsip.conf": read_pjsip,
    "gateways.xml": freeswitch.read,
    "trunks.csv": read_csv,
}
KINDS = {
    "uacreg.sql": "uacreg",
    "uacreg.dbtext": "uacreg",
    "registrant.sql": "opensips",
    "pjsip.conf": "pjsip",
    "gateways.xml": "freeswitch",
    "trunks.csv": "csv",
}
"""Sample → the word of the command line."""


def findings_of(name: str, text: str | None = None) -> Findings:
    """Return what a reader finds in a sample, or in a text of the same format."""
    findings = Findings()
    if text is None:
        text = (FOLDER / name).read_text(encoding="utf-8")
    READERS[name](Source(name, text), findings)
    return findings


def notes_of(findings: Findings) -> set[str]:
    return {str(note) for note in findings.notes}
