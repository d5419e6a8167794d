"""Makes the changes that a drop-in's workers write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from whence.core.clock import ClockOffset
from whence.core.registration import uac
from whence.core.registration.events import Action
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources
from whence.core.registration.model import AccountKey, Registration, Reply
from whence.core.registration.uac import UacRequest
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress, canonical_ip
from whence.core.sip.uri import Uri
from whence.store.worker import Change, UacAccount

NOW = 1_000_000.0
OURS = "udp:192.0.2.9:5060"
NO_OFFSET = ClockOffset("boot-1", 0.0)
"""Of a machine whose steady clock shows the same as its system clock."""


def answered(
    before: Registration,
    now: float,
    sent: UacRequest,
    reply: Reply,
    source: TransportAddress,
    grace_s: float,
    expected: ExpectedSources,
) -> tuple[Registration, Sequence[Action]]:
    return uac.answered(before, sent, reply, source, now, grace_s, expected)


def granted(
    l_uuid: str = "acme",
    at: float = NOW,
    source: str = "udp:192.0.2.1:5060",
    granted_s: int = 60,
    cseq: int = 10,
    asked: str = "",
    expected: ExpectedSources = ASKED_ONLY,
) -> Change:
    """Return the change that a 200 makes."""
    contact = Uri("sip", l_uuid, "192.0.2.9", 5060)
    sent = UacRequest(contact, "sip:acct1@provider.example", f"call-{l_uuid}", cseq, 3600, at)
    sent = replace(
        sent, asked=(canonical_ip(asked) if asked else TransportAddress.parse(source).ip,)
    )
    reply = Reply(200, "OK", cseq, (Contact(contact, granted_s),))
    step = partial(
        answered,
        sent=sent,
        reply=reply,
        source=TransportAddress.parse(source),
        grace_s=0.0,
        expected=expected,
    )
    uac_account = UacAccount(l_uuid, "acct1", "sip:alice@edge.example")
    return Change(l_uuid, AccountKey(sent.aor), OURS, at, step, uac_account)
