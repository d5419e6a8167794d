"""The handlers of the REGISTERs that `uac` sends: they learn addresses from the answers.

`whence_local_request` runs as Kamailio sends a REGISTER. `whence_answered` and `whence_unanswered`
run in the transaction of that REGISTER.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from whence.core.registration import uac
from whence.core.registration.events import Action
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources
from whence.core.registration.model import AccountKey, Registration, Reply
from whence.core.registration.uac import UacRequest
from whence.core.sip.contact import Contact, listed
from whence.core.sip.grammar import parse_seconds
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.core.text import escape_untrusted
from whence.edge.base import GO_ON, Worker, survives, text
from whence.edge.dropin.base import DropInPart
from whence.edge.ksr import Ksr
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store.system_clock import boottime
from whence.store.worker import Change, LearningWriter, Step, UacAccount

SENT = "$avp(whence_sent)"
"""A REGISTER as it was sent, as JSON. The reply and failure routes of its transaction read it."""

USER = "$avp(whence_user)"
"""Receives the URI of an account's local user from `uac_reg_lookup`."""

SENT_TO = "$sndto(ip)"
"""Where Kamailio sends the REGISTER, in event_route[tm:local-request] (5.6.3)."""

SENT_TO_NEXT = "$(avp(whence_sent_to)[*])"
"""Where tm sends it after the first server failed (use_dns_failover). onsend_route writes it."""

ANSWER_ROUTE, FAILURE_ROUTE = "WHENCE_ANSWERED", "WHENCE_UNANSWERED"

DEFAULT_EXPIRES_S = 3600
"""The interval that a REGISTER without one asks for (RFC 3261 10.2.1.1)."""

CONTACTS_LIMIT = 50
"""How many Contact headers of an answer are read."""

TARGETS_LIMIT = 1000
"""How many targets with a foreign domain one worker logs."""

WRITE_TIMEOUT_S = 0.5
"""How long an answer waits while other workers write the directory."""
UNREGISTER_WRITE_TIMEOUT_S = 0.05
"""The same for an un-REGISTER, which is short: `uac` holds its lock meanwhile."""


class RegistrationHandlers(DropInPart):
    """The handlers that run for a REGISTER of `uac`, and for its answers."""

    def __init__(self, worker: Worker, writer: LearningWriter, grace_s: float) -> None:
        super().__init__(worker, writer)
        self._grace_s = grace_s
        self._foreign_targets: set[str] = set()
        """The targets with a foreign domain that this worker has logged."""

    @survives
    def whence_local_request(self, _message: object) -> int:
        """Note a REGISTER as it is sent, and set the reply and failure routes of its transaction.

        This handler must call no function of `uac`: `uac` holds its lock while it sends, and would
        wait for itself.
        """
        ksr = self.ksr
        if ksr.kx.get_method() != "REGISTER":
            return GO_ON
        get, now = ksr.hdr.get, boottime()
        contact = next(iter(listed(get("Contact") or "")), None)
        if contact is None or not contact.uri.user:
            return GO_ON
        requested_s = contact.expires_s
        if requested_s is None:
            requested_s = parse_seconds(get("Expires"))
        if requested_s is None:
            requested_s = DEFAULT_EXPIRES_S
        sent = {
            "contact": get("Contact"),
            "aor": ksr.kx.get_turi(),
            "call_id": ksr.kx.get_callid(),
            "cseq": _cseq(ksr),
            "expires_s": requested_s,
            "at": now,
            "answers": bool(get("Authorization") or get("Proxy-Authorization")),
            "asked": [str(ksr.pv.get(SENT_TO) or "")],
        }
        ksr.pv.sets(SENT, json.dumps(sent))
        ksr.tm.t_on_reply(ANSWER_ROUTE)
        ksr.tm.t_on_failure(FAILURE_ROUTE)
        if requested_s == 0:
            step = uac.unregistered
            self._write(contact.uri.user, step, UNREGISTER_WRITE_TIMEOUT_S)
        return GO_ON

    @survives
    def whence_answered(self, _message: object) -> int:
        """Store the result of an answer to our own REGISTER. A 2xx teaches its source address."""
        ksr, now = self.ksr, boottime()
        status = ksr.kx.get_status()
        sent = self._sent()
        if status < 200 or sent is None or not self._is_answer_to(sent):
            return GO_ON
        account = self._account(sent)
        if account is None:
            return GO_ON  # another part of this Kamailio sent the REGISTER, not `uac`
        reply = Reply(
            status=status,
            reason="".join(c for c in str(ksr.pv.get("$rr") or "") if c.isprintable())[:200],
            cseq=sent.cseq,
            contacts=tuple(_contacts(ksr)),
            expires_s=parse_seconds(text(lambda: ksr.hdr.get("Expires"))),
        )
        is_success = 200 <= status < 300
        step = partial(
            _answered,
            sent=sent,
            age_s=now - sent.at,
            reply=reply,
            source=self.worker.source(),
            grace_s=self._grace_s,
            expected=self._expected(account.id) if is_success else ASKED_ONLY,
        )
        if is_success:
            self._warn_of_foreign_domain(account)
        stored = account if is_success else None
        self._write(account.id, step, WRITE_TIMEOUT_S, AccountKey(sent.aor), stored)
        return GO_ON

    @survives
    def whence_unanswered(self, _message: object) -> int:
        """Store that no server answered our REGISTER. No address ends by this."""
        sent, now = self._sent(), boottime()
        if sent is not None and self._account(sent) is not None:
            step = partial(_unanswered, sent=sent, age_s=now - sent.at)
            self._write(sent.contact.user, step, WRITE_TIMEOUT_S, AccountKey(sent.aor))
        return GO_ON

    def _sent(self) -> UacRequest | None:
        """Return our REGISTER of this transaction as it was sent; None if there is none.

        Its `at` is in seconds of CLOCK_BOOTTIME.
        """
        written = self.ksr.pv.get(SENT)
        if not written:
            return None
        values = json.loads(str(written))
        contact = Contact.parse(values.pop("contact")).uri
        later = str(self.ksr.pv.get(SENT_TO_NEXT) or "").split(", ")
        asked, unreadable = uac.asked_ips([*values.pop("asked"), *later])
        for place in unreadable:
            self.ksr.err(f"whence: a REGISTER went to {place!a}, which is no ip\n")
        return UacRequest(contact=contact, asked=asked, **values)

    def _is_answer_to(self, sent: UacRequest) -> bool:
        """Return whether this answer has the Call-ID and CSeq of the REGISTER.

        Kamailio finds the transaction by its branch alone. A forger who guessed the branch must
        have guessed these too.
        """
        call_id = text(self.ksr.kx.get_callid)
        return call_id == sent.call_id and _cseq(self.ksr) == sent.cseq

    def _account(self, sent: UacRequest) -> UacAccount | None:
        """Return the uac account that a REGISTER is of; None if `uac` has none.

        Do not call this while `uac` sends: see `whence_local_request`.
        """
        ksr, id_ = self.ksr, sent.contact.user
        if not id_.isprintable() or ksr.uac.uac_reg_lookup(id_, USER) < 0:
            return None
        aor = Uri.parse(sent.aor)
        return UacAccount(id_, aor.user if aor else "", str(ksr.pv.get(USER) or ""))

    def _warn_of_foreign_domain(self, account: UacAccount) -> None:
        """Log once, for each target, that Kamailio's own routing would send its calls away."""
        target = account.target
        if not target or target in self._foreign_targets or self.ksr.is_myself(target):
            return
        if len(self._foreign_targets) < TARGETS_LIMIT:
            self._foreign_targets.add(target)
            self.ksr.err(
                f"whence: trunk {account.id}: uri==myself is false for {escape_untrusted(target)}: "
                "its l_domain is no alias or listen address, so calls may leave this Kamailio; "
                "write alias=, or another l_domain\n"
            )

    def _expected(self, trunk_id: str) -> ExpectedSources:
        """Return which sources may teach besides the servers that were asked.

        None may if the directory cannot be read.
        """
        try:
            return self.writer.expected(trunk_id)
        except StoreUnavailableError as error:
            self.ksr.err(f"whence: {error}\n")
            return ASKED_ONLY

    def _write(
        self,
        trunk_id: str,
        step: Step,
        timeout_s: float,
        account: AccountKey | None = None,
        uac_account: UacAccount | None = None,
    ) -> None:
        """Write a change of a registration, or keep it for later if the directory is locked."""
        kx = self.ksr.kx
        socket = f"{kx.get_proto()}:{kx.get_rcvip()}:{kx.get_rcvport()}"
        try:
            events = self.writer.write(
                Change(trunk_id, account, socket, boottime(), step, uac_account), timeout_s
            )
        except WriteDeferredError as error:
            self.ksr.err(f"whence: {error}\n")
        else:
            self.log_events(events)


def _cseq(ksr: Ksr) -> int:
    return int(ksr.pv.get("$cs") or 0)


def _contacts(ksr: Ksr) -> list[Contact]:
    """Return the Contacts of all Contact headers of this answer."""
    found: list[Contact] = []
    for at in range(CONTACTS_LIMIT):
        try:
            header = ksr.pv.get(f"$(hdr(Contact)[{at}])")
        except UnicodeDecodeError:
            header = "?"  # counts as a Contact that is not ours
        if header is None:
            break
        found += listed(str(header))
    return found


def _answered(
    before: Registration,
    now: float,
    *,
    sent: UacRequest,
    age_s: float,
    reply: Reply,
    source: TransportAddress,
    grace_s: float,
    expected: ExpectedSources,
) -> tuple[Registration, Sequence[Action]]:
    sent = replace(sent, at=now - age_s)
    return uac.answered(before, sent, reply, source, now, grace_s, expected)


def _unanswered(
    before: Registration, now: float, *, sent: UacRequest, age_s: float
) -> tuple[Registration, Sequence[Action]]:
    return uac.unanswered(before, replace(sent, at=now - age_s), now), ()
