"""The directory, open for writing: one transaction for each fact.

The agent is its only writer. With the drop-in, Kamailio's workers also write (`worker.py`).
"""

from __future__ import annotations

from whence.store.alarms import OpenAlarms, WebhookPosts
from whence.store.catalog import Catalog
from whence.store.clock import ClockCorrection
from whence.store.explain import Explanations

FILE = "directory.db"


class Directory(Catalog, Explanations, ClockCorrection, OpenAlarms, WebhookPosts):
    """The directory of one node."""
