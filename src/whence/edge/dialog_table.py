"""Kamailio's table of dialogs, as the edge reads and writes it."""

from __future__ import annotations

import time

from whence.core.dialogs import cookie as cookie_
from whence.core.dialogs import item, native
from whence.core.dialogs.record import ENDED, DialogRecord
from whence.edge.base import Worker
from whence.store.schema import DIALOG_KEY

DIALOGS = "dialogs"
"""The table (htable): id of a dialog → its record, or what Kamailio itself wrote about it."""


class DialogTable:
    """The records of dialogs, and the keys of their cookies."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._started_at = time.time()
        """When Kamailio read its configuration. All of its processes have the same value."""
        self._key: str | None = None
        self._native_key = ""

    def load(self, id_: str) -> DialogRecord | str | None:
        """Return the record of a dialog, or ENDED; None where the table has neither."""
        stored = self._worker.ksr.htable.sht_get(DIALOGS, table_key(id_))
        if not stored:
            return None
        stored = str(stored)
        if stored == ENDED:
            return ENDED
        return item.read_item(stored) if item.is_item(stored) else DialogRecord.from_text(stored)

    def save(self, id_: str, record: DialogRecord) -> None:
        """Store a record. Kamailio itself no longer checks the requests of this dialog."""
        self._worker.ksr.htable.sht_sets(DIALOGS, table_key(id_), record.to_text())

    def is_of(self, record: DialogRecord, call_id: str) -> bool:
        """Return whether a record is that of the dialog with this Call-ID."""
        return record.call == self.kept(call_id)

    def is_old(self, cookie: str) -> bool:
        """Return whether a dialog began before this Kamailio, which has no record of it."""
        try:
            return cookie_.began_at(cookie) < self._started_at
        except ValueError:
            return False

    def kept(self, value: str) -> str:
        """Return a Call-ID or tag as a record stores it."""
        return cookie_.kept(self.key(), value)

    def key(self) -> str:
        """Return the key of the edge's cookies. Raises StoreUnavailableError."""
        if self._key is None:
            self._key = self._worker.directory.meta(DIALOG_KEY)
        return self._key

    def native_key(self) -> str:
        """Return the key of Kamailio's cookies. Raises StoreUnavailableError."""
        if not self._native_key:
            self._native_key = native.key_for_kamailio(self.key())
        return self._native_key


def table_key(id_: str) -> str:
    """Return the key of a dialog in DIALOGS."""
    return id_ + native.KEY_END if id_.startswith(native.KINDS) else id_


def dialog_of(key: str) -> str:
    """Return the id of the dialog that has this key in DIALOGS."""
    return key.removesuffix(native.KEY_END)
