"""Hides the Via of a phone from a trunk, and restores it in the answers."""

from __future__ import annotations

from whence.core.outbound.via import hidden_via, restored_via, seen_via
from whence.core.sip.message import Message
from whence.core.sip.uri import host_text
from whence.core.sip.via import RPORT_FLAG
from whence.edge.base import GO_ON, Handlers, Worker, survives, text
from whence.edge.dialog_table import DialogTable

PHONE_VIA = "$avp(whence_phone_via)"
"""Of a request to a trunk: the phone's Via, as its answers must have it."""


class HiddenVia(Handlers):
    """Hides the Via of a phone from a trunk."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._table = DialogTable(worker)

    def note(self) -> None:
        """Note the Via of the current request. Call it before Kamailio's transaction exists."""
        ksr = self.ksr
        if text(lambda: ksr.pv.get("$(hdr(Via)[1])")) is not None:
            return  # a proxy of the operator is before the edge, and needs its own Vias
        value = text(lambda: ksr.pv.get("$hdr(Via)")) or ""
        force_rport = ksr.isflagset(RPORT_FLAG)
        via = seen_via(value, self.worker.source(), force_rport=force_rport)
        if via is not None:
            ksr.pv.sets(PHONE_VIA, via)

    def hide(self) -> None:
        """Write what a trunk gets instead of the Via that `note` has noted.

        Kamailio writes the source of a request into its Via. So the source becomes our own socket.
        Kamailio has noted already where the answers go.
        """
        ksr = self.ksr
        via = ksr.pv.get(PHONE_VIA)
        if via is None:
            return
        own = self.worker.received_on()
        ksr.corex.set_source_address(f"{host_text(own.ip_text)}:{own.port}")
        call_id = text(ksr.kx.get_callid) or ""
        hidden = hidden_via(self._table.key(), call_id, str(via))
        ksr.textops.replace_hdrs_str(str(ksr.pv.get("$hdr(Via)")), hidden, "f")

    @survives
    def ksr_restore_via(self, _message: object) -> int:
        """Restore the phone's Via in an answer that has it in another form than it was sent."""
        ksr, via = self.ksr, str(self.ksr.pv.get(PHONE_VIA))
        vias = self.worker.message.as_written("via")
        found = restored_via(self._table.key(), text(ksr.kx.get_callid) or "", vias)
        if found is not None:
            ksr.textops.replace_hdrs_str(found[0], via, "f")
        elif len(vias) == 1:
            ksr.hdr.append(f"Via: {via}\r\n")
        return GO_ON

    def restored(self, message: Message, call_id: str) -> Message:
        """Restore the phone's Via in an answer without a transaction; return the new message."""
        found = restored_via(self._table.key(), call_id, message.as_written("via"))
        if found is None:
            return message
        new = self.ksr.kx.get_msgbuf().replace(*found, 1)
        return Message(new) if self.ksr.textopsx.msg_set_buffer(new) > 0 else message
