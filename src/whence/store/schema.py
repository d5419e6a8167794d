"""The directory's version and the names in it. Its tables stand in schema.sql."""

from __future__ import annotations

VERSION = 7
"""Of the tables; SQLite's `user_version` of the file."""

READ_VERSION = "PRAGMA user_version"


def version_fault(version: int) -> str:
    """Say that a file of another version cannot be used, and what to do."""
    cure = (
        "start this Whence's agent, or run `whence drop-in`: it migrates the file"
        if version < VERSION
        else "restart Kamailio with the Whence that wrote it"
    )
    return f"it has version {version}, and this Whence uses version {VERSION}; {cure}"


GENERATION_FILE = "generation"
GENERATION_BYTES = 8
"""Eight bytes beside the database, others whenever an answer could change."""

INSIDE_KEY = "inside_key"
DIALOG_KEY = "dialog_key"
FINGERPRINT_KEY = "fingerprint_key"
NUMBER_HEADERS_KEY = "number_headers"
"""In `meta`: the headers, but P-Called-Party-ID and To, that some trunk has in `number_headers`."""
LEARN_FROM_KEY = "learn_from"
"""Of a drop-in: JSON of trunk id → from where its addresses are learned; "" stands for all."""
META = "SELECT value FROM meta WHERE key = ?"
