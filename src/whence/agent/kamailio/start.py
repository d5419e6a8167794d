"""The command that starts Kamailio, and the names of the files that it reads.

`whence run` imports this module in its long-lived process. So it imports almost nothing.
"""

from __future__ import annotations

CONFIG_FILE = "kamailio.cfg"
LOCATION_FILE = "location.db"
TLS_FILE = "tls.cfg"

# tlsf: Debian's default allocator needs nine tenths of a call's instructions (docs/run.md).
# 256 MB of shared memory hold the transactions of several thousand REGISTERs or calls a second.
START_OPTIONS = ("-x", "tlsf", "-X", "tlsf", "-m", "256", "-M", "16")


def command(config: str) -> list[str]:
    """Return the command that runs Kamailio in the foreground with its log on standard error."""
    return ["kamailio", "-f", config, "-DD", "-E", *START_OPTIONS]
