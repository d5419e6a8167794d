"""The drop-in: what an existing Kamailio that registers with its module `uac` asks of Whence.

The include file (kamailio/drop_in.cfg.j2) has the native routes, and they call these handlers:
`whence_local_request` as a REGISTER is sent, `whence_answered` and `whence_unanswered` for what
became of it, `whence_identify` for whose a call is. Whatever goes wrong, nobody is let in by it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path

from whence.core.identification import uac_accounts
from whence.core.identification.decision import Identified, Reason
from whence.core.identification.decision import message as message_of
from whence.core.identification.uac_accounts import Declined
from whence.core.registration import uac
from whence.core.registration.events import Action
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.learning import NOBODY_ELSE, ExpectedSources
from whence.core.registration.model import AccountKey, Registration, Reply, State
from whence.core.registration.uac import UacRequest
from whence.core.sip.contact import Contact, listed
from whence.core.sip.grammar import parse_seconds
from whence.core.sip.message import Message
from whence.core.sip.uri import Uri
from whence.edge.base import GO_ON, NO, Handlers, Worker, hides, one_line, read, survives, text
from whence.edge.decision_cache import CachedDecision
from whence.edge.ksr import Ksr
from whence.errors import StoreError, StoreUnavailableError, WriteDeferredError
from whence.ipc import decisions, headers
from whence.store.worker import Change, LearningWriter, UacAccount

TRUNK = "$avp(whence_trunk)"
REASON = "$avp(whence_reason)"
MESSAGE = "$avp(whence_message)"
"""What `route(WHENCE)` says of a call: whose it is, and why, or why it is nobody's: as a code, and
in words.
"""

SENT = "$avp(whence_sent)"
"""A REGISTER of ours as it was sent, as JSON: what comes of it finds it there."""

USER = "$avp(whence_user)"

ASKED = "$sndto(ip)"
"""Where the REGISTER at hand is sent, in event_route[tm:local-request] (5.6.3)."""

ASKED_LATER = "$(avp(whence_sent_to)[*])"
"""Where tm sent it after the first server failed (use_dns_failover): onsend_route writes it."""

ANSWER_ROUTE, FAILURE_ROUTE = "WHENCE_ANSWERED", "WHENCE_UNANSWERED"

UNSAID_S = 3600
"""For how long a REGISTER asks that does not say it (RFC 3261 10.2.1.1)."""

CONTACTS_LIMIT = 50
"""How many Contact headers of an answer are read."""

WAIT_S = 0.5
"""How long an answer to a REGISTER waits for other workers that write."""
UNREGISTER_WAIT_S = 0.05
"""The same as an un-REGISTER is sent: `uac` holds its lock meanwhile."""
IDENTIFY_WAIT_S = 0.05

NO_RECORD, DISABLED = -1, -3  # uac_reg_status (5.6.3); others: registered, under way, failed

STARTING_S = READING_S = 5.0
"""How long `uac` may take, after a start or as it is told to, to read its table."""


@dataclass(frozen=True, slots=True)
class DropInSettings:
    """What the include file tells the drop-in, as JSON in the define WHENCE_DROP_IN."""

    directory: Path
    grace_s: float
    """How long an address outlives its registration, for calls in flight."""

    @classmethod
    def parse(cls, text: str) -> DropInSettings:
        """Read the define; KeyError or ValueError if it was not written by `whence drop-in`."""
        values = json.loads(text)
        return cls(Path(values["directory"]), values["grace_s"])


Handler = Callable[["DropInHandlers", object], int]


def declines(handler: Handler) -> Handler:
    """Make a handler that identifies nobody where anything goes wrong, and says why."""

    @wraps(handler)
    def declining(own: DropInHandlers, message: object) -> int:
        try:
            return handler(own, message)
        except StoreError as error:
            reason, said = Declined.DIRECTORY_UNAVAILABLE, str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is let in by it
            reason, said = Declined.INTERNAL_ERROR, f"{handler.__name__}: {one_line(error)}"
        own.ksr.err(f"whence: {said}\n")
        return own.decline(reason, said)

    return declining


class DropInHandlers(Handlers):
    """The handlers that the include file calls, in each worker, and in what sends for `uac`."""

    def __init__(self, ksr: Ksr, settings: DropInSettings) -> None:
        super().__init__(Worker(ksr, settings.directory))
        self._settings = settings
        self._learned = LearningWriter(settings.directory)
        self._began_at = 0.0
        self._missed: dict[str, float] = {}
        """Since when `uac` lacks an account that the directory has; of each that was asked for."""

    def child_init(self, _rank: int) -> int:
        """Remember when this process began."""
        self._began_at = time.time()
        return 0

    # Registrations.

    @survives
    def whence_local_request(self, _message: object) -> int:
        """Remember a REGISTER that is sent, so that what comes of it is known to be ours.

        No call into `uac` here, on any way: it holds its lock, and would wait for itself.
        """
        ksr = self.ksr
        if ksr.kx.get_method() != "REGISTER":
            return GO_ON
        get, now = ksr.hdr.get, time.time()
        contact = next(iter(listed(get("Contact") or "")), None)
        if contact is None or not contact.uri.user:
            return GO_ON
        asked_s = parse_seconds(get("Expires")) if contact.expires_s is None else contact.expires_s
        if asked_s is None:
            asked_s = UNSAID_S
        sent = {
            "contact": get("Contact"),
            "aor": ksr.kx.get_turi(),
            "call_id": ksr.kx.get_callid(),
            "cseq": self._cseq(),
            "expires_s": asked_s,
            "at": now,
            "answers": bool(get("Authorization") or get("Proxy-Authorization")),
            "asked": [str(ksr.pv.get(ASKED) or "")],
        }
        ksr.pv.sets(SENT, json.dumps(sent))
        ksr.tm.t_on_reply(ANSWER_ROUTE)
        ksr.tm.t_on_failure(FAILURE_ROUTE)
        if asked_s == 0:
            self._write(contact.uri.user, partial(uac.unregistered, now=now), UNREGISTER_WAIT_S)
        return GO_ON

    @survives
    def whence_answered(self, _message: object) -> int:
        """An answer came, in the transaction of our own REGISTER: a 2xx teaches where from."""
        ksr, now = self.ksr, time.time()
        status = ksr.kx.get_status()
        sent = self._sent()
        if status < 200 or sent is None or not self._is_of(sent):
            return GO_ON
        account = self._uac_account(sent)
        if account is None:
            return GO_ON  # no account of `uac`: another part of this Kamailio registers too
        reply = Reply(
            status=status,
            reason="".join(c for c in str(ksr.pv.get("$rr") or "") if c.isprintable())[:200],
            cseq=sent.cseq,
            contacts=tuple(self._contacts()),
            expires_s=parse_seconds(text(lambda: ksr.hdr.get("Expires"))),
        )
        source = self.worker.source()
        grace_s = self._settings.grace_s
        step = partial(
            uac.answered,
            sent=sent,
            reply=reply,
            source=source,
            now=now,
            grace_s=grace_s,
            expected=self._expected(account.id) if 200 <= status < 300 else NOBODY_ELSE,
        )
        known = account if 200 <= status < 300 else None
        self._write(account.id, step, WAIT_S, AccountKey(sent.aor), known)
        return GO_ON

    @survives
    def whence_unanswered(self, _message: object) -> int:
        """Nobody answered a REGISTER of ours: nothing ends by that, but it is known."""
        sent, now = self._sent(), time.time()
        if sent is not None and self._uac_account(sent) is not None:
            step = partial(_unanswered, sent=sent, now=now)
            self._write(sent.contact.user, step, WAIT_S, AccountKey(sent.aor))
        return GO_ON

    def _sent(self) -> UacRequest | None:
        """The REGISTER at hand as it was sent; None where it is none of ours."""
        written = self.ksr.pv.get(SENT)
        if not written:
            return None
        values = json.loads(str(written))
        contact = Contact.parse(values.pop("contact")).uri
        later = str(self.ksr.pv.get(ASKED_LATER) or "").split(", ")
        asked, unreadable = uac.asked_ips([*values.pop("asked"), *later])
        for place in unreadable:
            self.ksr.err(f"whence: a REGISTER went to {place!a}, which is no ip\n")
        return UacRequest(contact=contact, asked=asked, **values)

    def _is_of(self, sent: UacRequest) -> bool:
        """Whether the answer at hand has the Call-ID and CSeq of what was sent. The transaction is
        found by its branch alone; who guessed that must have guessed these too.
        """
        call_id = text(self.ksr.kx.get_callid)
        return call_id == sent.call_id and self._cseq() == sent.cseq

    def _cseq(self) -> int:
        return int(self.ksr.pv.get("$cs") or 0)

    def _uac_account(self, sent: UacRequest) -> UacAccount | None:
        """The `uac` account that a REGISTER is of. Never called while it is sent: see above."""
        ksr, id_ = self.ksr, sent.contact.user
        if not id_.isprintable() or ksr.uac.uac_reg_lookup(id_, USER) < 0:
            return None
        aor = Uri.parse(sent.aor)
        return UacAccount(id_, aor.user if aor else "", str(ksr.pv.get(USER) or ""))

    def _contacts(self) -> list[Contact]:
        """All Contacts of the answer at hand, in however many headers."""
        found: list[Contact] = []
        for at in range(CONTACTS_LIMIT):
            try:
                header = self.ksr.pv.get(f"$(hdr(Contact)[{at}])")
            except UnicodeDecodeError:
                header = "?"  # it is listed, and not ours
            if header is None:
                break
            found += listed(str(header))
        return found

    def _expected(self, trunk_id: str) -> ExpectedSources:
        """From where a reply may teach, besides whom was asked; nowhere if it cannot be read."""
        try:
            return self._learned.expected(trunk_id)
        except StoreUnavailableError as error:
            self.ksr.err(f"whence: {error}\n")
            return NOBODY_ELSE

    def _write(
        self,
        trunk_id: str,
        step: Callable[[Registration], tuple[Registration, Sequence[Action]]],
        wait_s: float,
        key: AccountKey | None = None,
        account: UacAccount | None = None,
    ) -> None:
        kx = self.ksr.kx
        socket = f"{kx.get_proto()}:{kx.get_rcvip()}:{kx.get_rcvport()}"
        try:
            news = self._learned.write(
                Change(trunk_id, key, socket, time.time(), step, account), wait_s
            )
        except WriteDeferredError as error:
            self.ksr.err(f"whence: {error}\n")
        else:
            self._log(news)

    def _log(self, news: Sequence[tuple[str, HistoryEvent]]) -> None:
        """Log which replies taught nothing: without an agent nobody else does."""
        for id_, event in news:
            if event.what is EventKind.UNEXPECTED_REPLY:
                self.ksr.err(f"whence: trunk {id_}: {event.what}: {event.message}\n")

    # Calls.

    @declines
    def whence_identify(self, _message: object) -> int:
        """Say whose an initial INVITE or MESSAGE is: true only where it is one trunk's."""
        ksr, worker, now = self.ksr, self.worker, time.time()
        message = self._message()
        if message is None or message.request_fault():
            return worker.answer(400, "Bad Request")
        key = worker.cache_key(message)
        method, call_id = text(ksr.kx.get_method), text(ksr.kx.get_callid)
        if key is None or method is None or call_id is None:
            return self.decline(Declined.UNREADABLE_REQUEST, "it cannot be read")
        self._catch_up()
        cached = worker.decision_cache.get(key, now)
        if cached is not None and self._stands(cached.trunk, now):
            return self._give(cached, method, call_id, now, from_cache=True)
        request = read(key)
        if request is None:
            said = "its Request-URI cannot be read"
            return self.decline(Declined.UNREADABLE_REQUEST_URI, said)
        if worker.has_new_number_headers(now):
            key = worker.cache_key(message) or key
            request = read(key) or request
        chosen = uac_accounts.choose(
            lambda without: worker.directory.decide(request, now, without),
            lambda id_: self._stands(id_, now),
            lambda id_: self._missed_lately(id_, now),
        )
        if isinstance(chosen, uac_accounts.NoAccount):
            return self.decline(chosen.reason, chosen.message)
        decision, source = chosen.decision, request.source
        report = decisions.report_body(decision, source, *key[1:])
        if not isinstance(decision, Identified):
            bounded = decisions.bounded_method(method)
            worker.decision_sender.send(report, bounded, call_id, now, from_cache=False)
            return self.decline(decision.reason, decision.message)
        answer = CachedDecision(
            decision.trunk.id,
            decision.rule,
            f"{headers.TRUNK}: {decision.trunk.id}\r\n{headers.SOURCE}: {source}\r\n",
            decision.trunk.target,
            True,
            chosen.evidence.good_until(now),
            report,
        )
        if chosen.among_all:
            worker.decision_cache.keep(key, answer)
        return self._give(answer, method, call_id, now, from_cache=False)

    def _message(self) -> Message | None:
        """Return the message at hand, and remove headers that only the edge may write.

        None where it has a fault, is too long, or hides such a header: it is refused.
        """
        message = self.worker.read_message()
        if message is None or message.fault or hides(message):
            return None
        if headers.PREFIX in message.head:
            self.worker.remove_ours()
        return message

    def _give(
        self, answer: CachedDecision, method: str, call_id: str, now: float, *, from_cache: bool
    ) -> int:
        """Send the call to the user of its account, as `uac` has it now."""
        ksr = self.ksr
        if ksr.uac.uac_reg_lookup(answer.trunk, "$ru") < 0:
            if not answer.target:
                said = f"the uac account {answer.trunk} is not there yet"
                return self.decline(Declined.ACCOUNT_NOT_READY, said)
            ksr.seturi(answer.target)  # its user as he was when it was granted
        ksr.hdr.append(answer.headers)
        ksr.pv.sets(TRUNK, answer.trunk)
        ksr.pv.sets(REASON, answer.rule)
        ksr.pv.sets(MESSAGE, message_of(answer.rule, answer.trunk))
        self.worker.decision_sender.send(answer.report, method, call_id, now, from_cache=from_cache)
        return GO_ON

    def decline(self, reason: Reason | Declined, said: str) -> int:
        """Say why a call is nobody's, as a code and in words."""
        self.ksr.pv.sets(REASON, reason)
        self.ksr.pv.sets(MESSAGE, said)
        return NO

    def _catch_up(self) -> None:
        try:
            self._log(self._learned.catch_up(IDENTIFY_WAIT_S))
        except WriteDeferredError as error:
            self.ksr.err(f"whence: {error}\n")

    def _stands(self, l_uuid: str, now: float) -> bool:
        """Whether `uac` still has the account enabled. `uac` does not report a change, so this is
        read for each call that would be the account's.

        `uac` disables an account by itself too, where a refresh fails (reg_retry_interval 0). That
        takes nothing away: what the registrar granted stands. The last thing that was heard tells.
        """
        status = self.ksr.uac.uac_reg_status(l_uuid)
        if status == NO_RECORD:
            # Just started, `uac` has not read its table yet; and while it reads it anew, it has
            # none for a moment: so what was learned is left as it is.
            self._missed.setdefault(l_uuid, now)
            return now - self._began_at < STARTING_S
        self._missed.pop(l_uuid, None)
        if status != DISABLED:
            return True
        last = self._learned.standing(l_uuid)
        if last is not None and last.state is State.WAITING:
            return True
        change = Change(l_uuid, None, "", now, partial(uac.unregistered, now=now))
        self._learned.write(change, IDENTIFY_WAIT_S)
        return False

    def _missed_lately(self, l_uuid: str, now: float) -> bool:
        """Whether an account may be back in a moment: until then its call is not another's."""
        return now - self._missed.get(l_uuid, 0.0) < READING_S


def _unanswered(
    before: Registration, sent: UacRequest, now: float
) -> tuple[Registration, Sequence[Action]]:
    return uac.unanswered(before, sent, now), ()
