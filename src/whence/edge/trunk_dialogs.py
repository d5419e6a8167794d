"""Requests inside users' calls through trunks: each side gets the values of its own dialog.

`edge/dialogs.py` decides whether a request passes. Then this file reads the route state in our
Record-Route. It writes From, To, CSeq, RAck and Contact for the receiver, and answers the trunk's
challenges. The rules are in core/outbound.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from whence.core.dialogs.record import DialogRecord, Side
from whence.core.dialogs.targets import is_address, place
from whence.core.outbound.answers import Answer, AnswerChallenge, dialog_answer
from whence.core.outbound.contact import PARAM, phone_contact, registered_contact
from whence.core.outbound.cseq import parse_rack
from whence.core.outbound.identity import hidden_headers
from whence.core.outbound.limits import REFUSED_IN_DIALOG
from whence.core.outbound.model import ContactForm
from whence.core.outbound.rewriting import (
    DialogRequest,
    header_text,
    is_tag,
    late_answer_lines,
    request_lines,
    tries_of,
)
from whence.core.outbound.rounds import Rounds
from whence.core.outbound.route_state import Kind, RouteState, find_state, read_state
from whence.core.sip.digest import Credentials
from whence.core.sip.grammar import split_name_addr
from whence.core.sip.message import Message
from whence.core.sip.uri import Uri, escape_user
from whence.edge.answer_sources import AnswerSources
from whence.edge.base import GO_ON, NO, Handlers, Worker, answers, judges, text
from whence.edge.dialog_table import DialogTable
from whence.edge.hidden_via import HiddenVia
from whence.edge.tls_identity import TRUNK_ID
from whence.edge.trunk_answers import is_of, read_answer
from whence.store.outbound import TrunkAccess

STATE = "call"
"""The parameter of our Record-Route that has the route state."""

REWRITTEN = 2
"""`ksr_in_dialog` returns it for a request that each try rewrites for its receiver."""

TRY = "$avp(whence_try)"
"""A request inside a call with a trunk: a `_Try` as text."""

FROM_TRUNK = "$avp(whence_from_trunk)"
"""Set for a request of a trunk: its answers need the form for a trunk."""

TRIES = "tries"
"""Table: `DIALOG:CSEQ` → the try of a later INVITE that was challenged, for its ACK and PRACK."""


class TrunkCall(NamedTuple):
    """The route state of a message."""

    value: str
    """The route state as it is in our Record-Route."""
    state: RouteState
    from_caller: bool

    @property
    def to_trunk(self) -> bool:
        """Return whether the user's phone sends the request."""
        return self.from_caller


class _Try(NamedTuple):
    """A request, as the next try needs it."""

    value: str
    dialog: str
    """The id of the dialog."""
    hop: str
    """Where it is sent."""
    socket: str
    """Our socket that sends it; empty: Kamailio chooses it."""
    rounds: str = ""

    def to_text(self) -> str:
        return json.dumps(self, separators=(",", ":"))


class TrunkDialogs(Handlers):
    """Rewrites the requests and answers inside users' calls through trunks."""

    def __init__(self, worker: Worker, via: HiddenVia, sources: AnswerSources, domain: str) -> None:
        super().__init__(worker)
        self._via = via
        self._sources = sources
        self._domain = domain
        self._table = DialogTable(worker)

    def phone_uri(self, target: Uri | None, call_id: str) -> str | None:
        """Return the phone's Contact in a Request-URI that has our registered Contact.

        None for another Request-URI, and an empty text for one with an invalid value.
        """
        if target is None or PARAM not in target.params:
            return None
        return phone_contact(self._table.key(), call_id, target) or ""

    def find(self, uris: Sequence[Uri | None], call_id: str) -> TrunkCall | None:
        """Return the call of a message with these Routes or Record-Routes; None if it has none."""
        value = find_state(uris, STATE)
        return None if value is None else self._read(value, call_id)

    def refuses(
        self, record: DialogRecord | str | None, call: TrunkCall | None, sender: Side, method: str
    ) -> int:
        """Return GO_ON for a request that may pass; else how its handler ends.

        A call with a trunk needs its route state. Without it, the trunk would see the phone.
        """
        of_record = isinstance(record, DialogRecord) and record.caller_user and record.trunk_id
        if call is None:
            return NO if of_record else GO_ON
        if record is not None and not of_record:
            return NO
        if call.from_caller is not (sender is Side.CALLER):
            return NO
        if call.to_trunk and method in REFUSED_IN_DIALOG:
            return self.worker.answer(403, "Forbidden")
        return GO_ON

    def of_call(self, record: DialogRecord, call: TrunkCall) -> DialogRecord:
        """Return the new record of a call that is older than Kamailio, with its parties."""
        user = f"sip:{escape_user(call.state.user)}@{self._domain}"
        return replace(record, trunk_id=call.state.trunk_id, caller_user=user)

    def comes_from_trunk(self, call: TrunkCall) -> bool:
        """Return whether the source of the current message is an address of the call's trunk."""
        access = self._access(call.state)
        return access is not None and is_of(self.worker, access, self.worker.source())

    def begin(self, call: TrunkCall, dialog: str, hop: str) -> int:
        """Rewrite an ACK, or store what each try of another request needs."""
        ksr = self.ksr
        if not self._has_tags():
            return self.worker.answer(400, "Bad Request")
        if call.to_trunk:
            self._via.note()
        socket = text(lambda: ksr.pv.get("$fs")) or ""
        first = _Try(call.value, dialog, hop, socket)
        if ksr.kx.get_method() == "ACK":  # Kamailio has no transaction for it
            number = self._cseq()
            tries = tries_of(call.state, number, self._challenged(dialog, number))
            self._rewrite(call, first, Rounds(tries), Credentials(""))
            return GO_ON
        ksr.pv.sets(TRY, first.to_text())
        ksr.pv.sets(TRUNK_ID, call.state.trunk_id)
        if not call.to_trunk:
            ksr.pv.sets(FROM_TRUNK, "yes")
        return REWRITTEN

    @judges
    def ksr_dialog_branch(self, _message: object) -> int:
        """Write a request for its receiver, just before Kamailio sends it."""
        one, call = self._current()
        access = self._access(call.state)
        credentials = access.credentials if access is not None else Credentials("")
        self._rewrite(call, one, Rounds.from_text(one.rounds), credentials)
        if call.to_trunk:
            self._note_hop(call, one)
        return GO_ON

    def _note_hop(self, call: TrunkCall, one: _Try) -> None:
        """Note from where the request may be answered. An older dialog may lead to a name."""
        hop, record = Uri.parse(one.hop), self._table.load(one.dialog)
        if hop is not None and is_address(place(hop) or ""):
            ips = record.callee.ips if isinstance(record, DialogRecord) else ()
            self._sources.note_in_call(call.state.trunk_id, (hop.host, *ips))

    @answers
    def ksr_dialog_failed(self, _message: object) -> int:
        """Return whether the request is sent again, with an answer to a challenge."""
        ksr, worker = self.ksr, self.worker
        worker.forget_message()
        one, call = self._current()
        access = self._access(call.state)
        answer = read_answer(worker, access if call.to_trunk else None)
        credentials = access.credentials if access is not None else Credentials("")
        rounds = Rounds.from_text(one.rounds)
        outcome = dialog_answer(answer, rounds, credentials, to_trunk=call.to_trunk)
        if isinstance(outcome, AnswerChallenge) and ksr.tm.t_is_canceled() > 0:
            outcome = Answer(487, "Request Terminated")
        if isinstance(outcome, AnswerChallenge):
            rounds = outcome.rounds
            if ksr.kx.get_method() == "INVITE":
                key = f"{one.dialog}:{self._cseq()}"
                ksr.htable.sht_seti(TRIES, key, rounds.tries)
            ksr.pv.sets(TRY, one._replace(rounds=rounds.to_text()).to_text())
            ksr.seturi(ksr.kx.get_ruri())  # else Kamailio has no branch to send
            ksr.setdsturi(one.hop)
            if one.socket:
                ksr.pv.sets("$fs", one.socket)
            return GO_ON
        if isinstance(outcome, Answer):
            worker.answer(outcome.status, outcome.phrase)
        return NO

    @judges
    def ksr_answer_to_trunk(self, _message: object) -> int:
        """Write a phone's answer to a request of a trunk so that it does not show the phone."""
        _, call = self._current()
        access = self._access(call.state)
        fields = self.worker.message.fields()
        for name in hidden_headers(fields):
            self.ksr.hdr.remove(name)
        contact = self._contact(fields, access)
        if contact:
            self.ksr.hdr.append(f"Contact: {contact}\r\n")
        return GO_ON

    def pass_late(self, message: Message, call: TrunkCall) -> bool:
        """Rewrite a 2xx whose transaction has ended, for its receiver.

        Return False if the receiver cannot read it.
        """
        ksr, access = self.ksr, self._access(call.state)
        if not self._has_tags():
            return False
        lines = late_answer_lines(
            call.state,
            self._request(),
            access.trunk if access is not None else None,
            from_caller=call.from_caller,
        )
        removed = [name for name, _ in lines]
        contact = ""
        if not call.to_trunk:
            fields = message.fields()
            removed += hidden_headers(fields)
            contact = self._contact(fields, access)
        for name in removed:
            ksr.hdr.remove(name)
        ksr.hdr.append(header_text(lines) + (f"Contact: {contact}\r\n" if contact else ""))
        return True

    def _rewrite(
        self, call: TrunkCall, one: _Try, rounds: Rounds, credentials: Credentials
    ) -> None:
        """Replace the headers that differ at the receiver, and answer the challenges so far."""
        ksr, request = self.ksr, self._request()
        access = self._access(call.state)
        rack = parse_rack(request.rack) if request.rack else None
        rack_tries = 0
        if rack is not None:
            rack_tries = tries_of(call.state, rack[1], self._challenged(one.dialog, rack[1]))
        lines = list(
            request_lines(
                call.state,
                request,
                access.trunk if access is not None else None,
                from_caller=call.from_caller,
                tries=rounds.tries,
                rack_tries=rack_tries,
            )
        )
        removed = [name for name, _ in lines]
        if call.to_trunk:
            self._via.hide()
            fields = (self.worker.read_message() or Message("")).fields()
            removed += hidden_headers(fields)
            contact = self._contact(fields, access)
            if contact:
                lines.append(("Contact", contact))
            uri, cnonce = ksr.kx.get_ruri(), secrets.token_hex(8)
            lines += rounds.authorizations(credentials, request.method, uri, cnonce)
        for name in removed:
            ksr.hdr.remove(name)
        ksr.hdr.append(header_text(lines))

    def _contact(self, fields: dict[str, list[str]], access: TrunkAccess | None) -> str:
        """Remove a Contact that a trunk may not see, and return the one that it gets instead."""
        values = fields.get("contact", ())
        if not values or (access is not None and access.trunk.contact is ContactForm.OWN):
            return ""
        self.ksr.hdr.remove("Contact")
        found = split_name_addr(values[0])
        if found is None or access is None or access.contact is None:
            return ""
        call_id = text(self.ksr.kx.get_callid) or ""
        uri = registered_contact(self._table.key(), call_id, access.contact, found[0])
        return f"<{uri}>" if uri is not None else ""

    def _current(self) -> tuple[_Try, TrunkCall]:
        """Return the request of the current transaction, and its call. Raises ValueError."""
        one = _Try(*json.loads(str(self.ksr.pv.get(TRY))))
        call = self._read(one.value, text(self.ksr.kx.get_callid) or "")
        if call is None:
            raise ValueError("the route state of the transaction is not valid")
        return one, call

    def _read(self, value: str, call_id: str) -> TrunkCall | None:
        pv = self.ksr.pv
        tags = str(pv.get("$ft") or ""), str(pv.get("$tt") or "")
        found = read_state(self._table.key(), call_id, *tags, value, self._domain)
        if found is None or found[0].kind is not Kind.OUT:
            return None
        return TrunkCall(value, *found)

    def _request(self) -> DialogRequest:
        ksr, pv = self.ksr, self.ksr.pv
        method = ksr.kx.get_method() if not self._is_reply() else str(pv.get("$rm"))
        rack = (text(lambda: ksr.hdr.get("RAck")) or "") if method == "PRACK" else ""
        return DialogRequest(method, self._cseq(), str(pv.get("$ft")), str(pv.get("$tt")), rack)

    def _is_reply(self) -> bool:
        return self.ksr.pv.get("$rs") is not None

    def _has_tags(self) -> bool:
        pv = self.ksr.pv
        return is_tag(str(pv.get("$ft") or "")) and is_tag(str(pv.get("$tt") or ""))

    def _cseq(self) -> int:
        return int(self.ksr.pv.get("$cs") or 0)

    def _challenged(self, dialog: str, number: int) -> int | None:
        tries = self.ksr.htable.sht_get(TRIES, f"{dialog}:{number}")
        return None if tries is None else int(tries)

    def _access(self, state: RouteState) -> TrunkAccess | None:
        return self.worker.directory.trunk_access([state.trunk_id]).get(state.trunk_id)
