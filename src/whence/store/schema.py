"""The version of the directory, and names in it. `schema.sql` has the tables."""

from __future__ import annotations

VERSION = 10
"""The version of the tables, stored as SQLite's `user_version`."""

READ_VERSION = "PRAGMA user_version"


def version_fault(version: int) -> str:
    """Return a message for a file of another version, with what to do."""
    cure = (
        "start this Whence's agent, or run `whence drop-in`: it migrates the file"
        if version < VERSION
        else "restart Kamailio with the Whence that wrote it"
    )
    return f"it has version {version}, and this Whence uses version {VERSION}; {cure}"


GENERATION_FILE = "generation"
GENERATION_BYTES = 8
"""The length of the generation, which is a file beside the database."""

AGENT_KEY = "agent_key"
DIALOG_KEY = "dialog_key"
FINGERPRINT_KEY = "fingerprint_key"
CLOCK_OFFSET_KEY = "clock_offset"
"""The key in `meta` of the offset of the clocks that the stored instants belong to."""

NUMBER_HEADERS_KEY = "number_headers"
"""In `meta`: the headers of all `number_headers`, without P-Called-Party-ID and To."""
LEARN_FROM_KEY = "learn_from"
"""In `meta` of a drop-in: JSON of trunk id → `learn_from`; the key "" is the default."""
EMERGENCY_NUMBERS_KEY = "emergency_numbers"
EMERGENCY_TRUNKS_KEY = "emergency_trunks"
"""In `meta`: emergency numbers, and ids of the trunks for them, each with blanks between."""
DIAL_PLAN_KEY = "dial_plan"
"""In `meta`: how users dial, as `plan` of the table `outbound_trunk`."""
PROBE_KEY = "probe"
"""In `meta`: the row that the agent writes to see whether it can write."""
RESERVE_KEY = "reserve"
"""In `meta`, for a moment: the row that makes free pages."""
META = "SELECT value FROM meta WHERE key = ?"
