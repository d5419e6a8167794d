"""How requests inside a dialog reach a phone: at its source, and after a move at its new one."""

from __future__ import annotations

from whence.core.dialogs import targets
from whence.core.dialogs.record import RequestPath
from whence.core.sip.message import Message
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import Uri
from whence.core.sip.via import NAT_FLAG, TO_PHONE_FLAG, is_sent_by
from whence.edge.base import PHONES, Worker
from whence.edge.phones import LOCATION

PROFILE = "phone"
"""The name under which Kamailio keeps the contacts that `of_user` fetches."""


class PhonePaths:
    """Answers where the phone of a dialog is."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ksr = worker.ksr

    def is_at_source(
        self, message: Message, user: str, source: TransportAddress, *, is_reply: bool
    ) -> bool:
        """Return whether the sender of a message is a phone that is reached at its source only.

        `user`: the URI of the local user whose phone sent it; empty: it may be another party. A
        phone registered from there in the last two hours. `is_reply`: to a request of ours.
        """
        ksr = self._ksr
        if not user and ksr.htable.sht_get(PHONES, f"{source.ip}:{source.port}") is None:
            return False
        contact = next(iter(targets.uris(message.all("contact"))), None)
        return targets.is_at_source(
            contact,
            source,
            is_sent_by=is_reply or is_sent_by(message.all("via"), source),
            has_nat=is_reply and ksr.isbflagset(NAT_FLAG),
        )

    def hop(self, way: RequestPath, user: str, target: Uri | None) -> str:
        """Return the next hop of a request along `way` to a phone of `user`, whose URI it is.

        A phone that has registered from another source since is reached there. The edge opens no
        connection to a phone: nothing accepts it.
        """
        source = targets.source_of(way)
        if source is None:
            return way.hop
        if source.transport is not Transport.UDP:
            self._ksr.setflag(TO_PHONE_FLAG)
            self._ksr.set_forward_no_connect()
        if not user or target is None:
            return way.hop
        moved = {
            received
            for uri, received in self._of_user(user)
            if received and uri is not None and _is_same(uri, target)
        }
        return moved.pop() if len(moved) == 1 else way.hop

    def _of_user(self, user: str) -> list[tuple[Uri | None, str]]:
        """Return the phones of a user: Contact, and source as a URI."""
        ksr = self._ksr
        if ksr.registrar.reg_fetch_contacts(LOCATION, user, PROFILE) < 0:
            return []
        get = ksr.pv.get
        count = int(get(f"$(ulc({PROFILE}=>count))") or 0)
        found = [
            (str(get(f"$(ulc({PROFILE}=>addr)[{i}])")), get(f"$(ulc({PROFILE}=>received)[{i}])"))
            for i in range(count)
        ]
        return [(Uri.parse(contact), str(received or "")) for contact, received in found]


def _is_same(uri: Uri, target: Uri) -> bool:
    """Return whether a Contact of a REGISTER is that of a dialog.

    Over a connection the ports are not compared. Some phones write the port of their connection.
    """
    ours, theirs = targets.place(uri), targets.place(target)
    if ours is None or theirs is None or uri.user != target.user:
        return False
    if not ours.startswith("udp:"):
        return ours.rpartition(":")[0] == theirs.rpartition(":")[0]
    return ours == theirs
