"""Settings for a directory, with an account and a socket."""

from __future__ import annotations

from pathlib import Path

from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.core.registration.model import AccountKey
from whence.core.sip.transport_address import TransportAddress

NOW = 1_000_000.0
ACCOUNT = AccountKey("sip:acct1@192.0.2.1", "sip:192.0.2.1")
SOCKET = TransportAddress.parse("udp:198.51.100.1:5060")

ACME = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
user = "acct1"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
numbers = ["+44 20 1"]
"""


def settings(folder: Path, text: str) -> Config:
    file = folder / "whence.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)
