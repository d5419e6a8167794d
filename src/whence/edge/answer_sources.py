"""From where a trunk may answer a request of a user's call.

The branch of a request is no secret. Its sender can calculate it. A former trunk of the call sees
one like it. So Kamailio runs `ksr_may_answer` for each reply, before its transaction gets it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from whence.core.dialogs.cookie import arrival_of, id_of
from whence.core.outbound.answers import FailureReason
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.edge.base import GO_ON, NO, Handlers, judges
from whence.edge.tls_identity import peer_fault
from whence.edge.trunk_answers import CHALLENGES
from whence.ipc import call_events
from whence.store.outbound import TrunkAccess

ASKED = "asked"
"""Table: transaction and branch → the trunk that got it, and the further places that may answer."""

REQUEST_S = 64
"""How long the table has a request other than INVITE: longer than its transaction lives."""

_INITIAL = "initial"
_IN_CALL = "in_call"

_KEY = ("$T(id_index)", "$T(id_label)", "$T(branch_index)")
_FOUND = "$var(asked)"
_EXPIRY = f"$shtex({ASKED}=>{_FOUND})"


class AnswerSources(Handlers):
    """Notes where requests of users' calls go, and compares the sources of their answers."""

    def note_initial(self, access: TrunkAccess, cookie: str) -> None:
        """Note the trunk of an INVITE, in its branch: only addresses of this trunk may answer.

        `cookie`: that of the dialog, which names the call in reports.
        """
        value = f"{access.trunk.id} {_INITIAL} {access.home} {id_of(cookie)}"
        self.ksr.htable.sht_sets(ASKED, self._key(), value)

    def note_in_call(self, trunk_id: str, ips: Iterable[str]) -> None:
        """Note the trunk of a request inside a call, in its branch.

        `ips`: of its next hop, and of the messages that the called party has sent.
        """
        value = " ".join((trunk_id, _IN_CALL, *ips))
        if self.ksr.kx.get_method() == "INVITE":
            self.ksr.htable.sht_sets(ASKED, self._key(), value)
        else:
            self.ksr.htable.sht_setxs(ASKED, self._key(), value, REQUEST_S)

    @judges
    def ksr_may_answer(self, _message: object) -> int:
        """Return whether the source of a reply may answer its request. `$var(asked)`: its key."""
        ksr, worker = self.ksr, self.worker
        trunk_id, kind, *places = str(ksr.htable.sht_get(ASKED, str(ksr.pv.get(_FOUND)))).split()
        source, is_initial = worker.source(), kind == _INITIAL
        may = not {str(source), str(source.ip)}.isdisjoint(places)
        may = may or worker.directory.admits(trunk_id, source, worker.now())
        if may and is_initial and places[0].startswith(f"{Transport.TLS}:"):
            access = worker.directory.trunk_access([trunk_id]).get(trunk_id)
            may = access is not None and not peer_fault(ksr, source, access.tls_name)
        if not may:
            self._refuse(trunk_id, source, places[1] if is_initial else "")
            return NO
        if is_initial and 200 <= ksr.kx.get_status() < 300:  # the transaction ends in seconds
            ksr.pv.seti(_EXPIRY, REQUEST_S)
        return GO_ON

    def _refuse(self, trunk_id: str, source: TransportAddress, dialog: str) -> None:
        """Log a reply that the edge drops. A challenge of a call raises an alarm, too."""
        self.ksr.err(
            f'whence: trunk "{trunk_id}": {source} answered a call, and is no address of the trunk'
            " or has no certificate of it. The edge drops the answer. If the provider uses this"
            " address, add it to `networks` of the trunk.\n"
        )
        status = self.ksr.kx.get_status()
        if dialog and status in CHALLENGES:
            reason = FailureReason.CHALLENGE_FROM_ELSEWHERE
            record = call_events.tried(arrival_of(dialog), trunk_id, reason, status, time.time())
            self.worker.decision_sender.send_record(record)

    def _key(self) -> str:
        return ":".join(str(self.ksr.pv.get(name)) for name in _KEY)
