"""The directory, written: one transaction for each fact. The agent is its one writer, but beside a
drop-in: there Kamailio's workers write too what they learned (worker.py).
"""

from __future__ import annotations

from whence.store.alarms import OpenAlarms
from whence.store.catalog import Catalog
from whence.store.explain import Explanations

FILE = "directory.db"


class Directory(Catalog, Explanations, OpenAlarms):
    """The directory of one node."""
