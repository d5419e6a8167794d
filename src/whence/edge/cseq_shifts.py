"""Challenges of a trunk inside a call that it began: the edge answers them for the user's phone.

Each answer needs a higher CSeq. So from the first challenge on, all requests of the phone have a
higher CSeq at the trunk. The record of the dialog has the offset. A restart of Kamailio loses it.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import NamedTuple

from whence.core.dialogs.record import DialogRecord
from whence.core.outbound.answers import Answer, AnswerChallenge, dialog_answer
from whence.core.outbound.cseq import parse_rack, shifted
from whence.core.outbound.limits import REFUSED_IN_DIALOG
from whence.core.outbound.rewriting import header_text
from whence.core.outbound.rounds import Rounds
from whence.core.sip.digest import Credentials
from whence.edge.base import GO_ON, NO, Handlers, Worker, answers, judges, text
from whence.edge.dialog_table import DialogTable, dialog_of
from whence.edge.trunk_answers import CHALLENGES, read_answer

SHIFTED = 3
"""`ksr_in_dialog` returns it for a request that needs another CSeq at the trunk."""

SHIFT = "$avp(whence_shift)"
"""A request of a phone in a call that a trunk began: a `_Shift` as text."""

OFFSETS = "tries"
"""Table: `DIALOG:CSEQ` → the offset of an INVITE, for its ACK and PRACK."""

DIALOG_ID = "$avp(whence_dialog)"


class _Shift(NamedTuple):
    hop: str
    socket: str
    offset: int
    rounds: str = ""

    def to_text(self) -> str:
        return json.dumps(self, separators=(",", ":"))


class CseqShifts(Handlers):
    """Answers challenges to requests of phones, and gives these requests their CSeq."""

    def __init__(self, worker: Worker, *, calls_out: bool) -> None:
        """`calls_out`: whether the edge has the credentials of trunks."""
        super().__init__(worker)
        self._table = DialogTable(worker)
        self._calls_out = calls_out

    def refuses(self, record: DialogRecord | str | None, method: str) -> bool:
        """Return whether a called phone may not send this method to the trunk that calls it.

        A provider obeys a REFER for the account of the trunk, as in calls out.
        """
        is_of_user = isinstance(record, DialogRecord) and bool(record.trunk_id and record.user)
        return self._calls_out and is_of_user and method in REFUSED_IN_DIALOG

    def begin(self, record: DialogRecord, dialog: str, hop: str) -> int:
        """Note what another try of a phone's request needs; rewrite an ACK.

        Returns SHIFTED for a request that needs another CSeq, else GO_ON.
        """
        if not self._calls_out or not record.trunk_id or record.caller_user:
            return GO_ON
        ksr, offset = self.ksr, record.cseq_offset
        method = ksr.kx.get_method()
        if method == "ACK":
            if offset:
                stored = ksr.htable.sht_get(OFFSETS, f"{dialog}:{self._cseq()}")
                self._rewrite(dialog, method, offset if stored is None else int(stored), [])
            return GO_ON
        shift = _Shift(hop, text(lambda: ksr.pv.get("$fs")) or "", offset)
        ksr.pv.sets(SHIFT, shift.to_text())
        if not offset:
            return GO_ON
        self._note(dialog, method, offset)
        return SHIFTED

    @answers
    def ksr_challenged(self, _message: object) -> int:
        """Return whether a request is sent again, with an answer to the challenge of a trunk."""
        ksr, worker = self.ksr, self.worker
        worker.forget_message()
        if int(ksr.pv.get("$T_reply_code") or 0) not in CHALLENGES:
            return NO
        dialog = dialog_of(str(ksr.pv.get(DIALOG_ID)))
        record = self._table.load(dialog)
        if not isinstance(record, DialogRecord) or not self._is_of_phone(record):
            return NO
        access = worker.directory.trunk_access([record.trunk_id]).get(record.trunk_id)
        if access is None:
            return NO
        shift = self._shift(record)
        rounds = Rounds.from_text(shift.rounds)
        answer = read_answer(worker, access)
        outcome = dialog_answer(answer, rounds, access.credentials, to_trunk=True)
        offset = record.cseq_offset + 1
        if isinstance(outcome, AnswerChallenge) and (
            ksr.tm.t_is_canceled() > 0 or shifted(self._cseq(), offset) is None
        ):
            outcome = Answer(403, "Forbidden")
        if isinstance(outcome, AnswerChallenge):
            self._table.save(dialog, replace(record, cseq_offset=offset))
            self._note(dialog, ksr.kx.get_method(), offset)
            following = shift._replace(offset=offset, rounds=outcome.rounds.to_text())
            ksr.pv.sets(SHIFT, following.to_text())
            ksr.seturi(ksr.kx.get_ruri())  # else Kamailio has no branch to send
            ksr.setdsturi(shift.hop)
            if shift.socket:
                ksr.pv.sets("$fs", shift.socket)
            return GO_ON
        if isinstance(outcome, Answer):
            worker.answer(outcome.status, outcome.phrase)
        return NO

    @judges
    def ksr_shifted_branch(self, _message: object) -> int:
        """Write the CSeq of a request, and the answers to challenges, just before it is sent."""
        ksr = self.ksr
        dialog = dialog_of(str(ksr.pv.get(DIALOG_ID)))
        record = self._table.load(dialog)
        if not isinstance(record, DialogRecord):
            return NO
        shift = self._shift(record)
        method, rounds = ksr.kx.get_method(), Rounds.from_text(shift.rounds)
        access = self.worker.directory.trunk_access([record.trunk_id]).get(record.trunk_id)
        credentials = access.credentials if access is not None else Credentials("")
        uri, cnonce = ksr.kx.get_ruri(), secrets.token_hex(8)
        authorizations = rounds.authorizations(credentials, method, uri, cnonce)
        self._rewrite(dialog, method, shift.offset, authorizations)
        return GO_ON

    def _rewrite(
        self, dialog: str, method: str, offset: int, further: list[tuple[str, str]]
    ) -> None:
        ksr = self.ksr
        lines = [("CSeq", f"{shifted(self._cseq(), offset) or self._cseq()} {method}"), *further]
        ksr.hdr.remove("CSeq")
        rack = parse_rack(text(lambda: ksr.hdr.get("RAck")) or "") if method == "PRACK" else None
        if rack is not None:
            response, number, of_method = rack
            stored = ksr.htable.sht_get(OFFSETS, f"{dialog}:{number}")
            ksr.hdr.remove("RAck")
            lines.append(("RAck", f"{response} {number + int(stored or 0)} {of_method}"))
        ksr.hdr.append(header_text(lines))

    def _shift(self, record: DialogRecord) -> _Shift:
        """Return what the request noted; Kamailio itself sent it if it noted nothing."""
        noted = self.ksr.pv.get(SHIFT)
        if noted is not None:
            return _Shift(*json.loads(str(noted)))
        hop = next((way.hop for way in record.caller.ways), "")
        return _Shift(hop, "", record.cseq_offset)

    def _is_of_phone(self, record: DialogRecord) -> bool:
        """Return whether the called phone sends the current request to the trunk."""
        tag = self._table.kept(text(lambda: str(self.ksr.pv.get("$ft"))) or "")
        return bool(record.trunk_id) and not record.caller_user and tag != record.tag

    def _note(self, dialog: str, method: str, offset: int) -> None:
        if method == "INVITE":
            self.ksr.htable.sht_seti(OFFSETS, f"{dialog}:{self._cseq()}", offset)

    def _cseq(self) -> int:
        return int(self.ksr.pv.get("$cs") or 0)
