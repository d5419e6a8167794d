"""A trunk whose test sends it events one by one, and strategies for replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from whence.core.registration.events import (
    Action,
    Answered,
    Due,
    MachineEvent,
    Randomness,
    Send,
)
from whence.core.registration.learning import ASKED_ONLY, ExpectedSources
from whence.core.registration.machine import resumed, step
from whence.core.registration.model import Account, Registration, Reply, State
from whence.core.registration.transitions import TRANSITIONS, EventKind, Outcome
from whence.core.sip.contact import Contact
from whence.core.sip.digest import AuthenticationInfo, Challenge, Credentials, authorization
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import (
    TransportAddress,
)
from whence.core.sip.uri import Uri

NOW = 1_000_000.0
MINUTE, HOUR, DAY = 60, 3600, 86_400

ACCOUNT = Account(
    "sip:acct1@provider.example",
    Uri("sip", "token1", "198.51.100.1", 5060),
    Credentials("auth1", Secret("secret")),
    3600,
)
OURS = Contact(ACCOUNT.contact)
ONE = TransportAddress.parse("udp:192.0.2.1:5060")
TWO = TransportAddress.parse("udp:192.0.2.2:5060")
FROM_ONE = TransportAddress.parse("udp:192.0.2.1:5060")
FROM_TWO = TransportAddress.parse("udp:192.0.2.2:5060")

CHALLENGE = Challenge("provider.example", "nonce-1", qop=("auth",))
STALE = replace(CHALLENGE, nonce="nonce-2", stale=True)


@dataclass
class Trunk:
    """A trunk in a test: its registration, and the actions of the last event."""

    registration: Registration = field(default_factory=lambda: Registration("acme", "call-1"))
    now: float = NOW
    account: Account = ACCOUNT
    chance: float = 0.5
    actions: tuple[Action, ...] = ()

    def take(self, event: MachineEvent) -> tuple[Action, ...]:
        dice = Randomness(self.chance, f"cnonce-{self.registration.cseq}")
        self.registration, self.actions = step(
            self.registration, event, self.now, self.account, dice
        )
        return self.actions

    def due(self, *targets: TransportAddress) -> Send:
        """Send Due at `next_at`; return the REGISTER."""
        assert self.registration.next_at is not None
        self.now = max(self.now, self.registration.next_at)
        self.take(Due(targets or (ONE,)))
        return self.sent()

    def answer(
        self,
        status: int,
        *,
        contacts: Sequence[Contact] = (),
        challenges: Sequence[Challenge] = (),
        expires_s: int | None = None,
        min_expires_s: int | None = None,
        retry_after_s: int | None = None,
        source: TransportAddress = FROM_ONE,
        cseq: int | None = None,
        infos: Sequence[AuthenticationInfo] = (),
        expected: ExpectedSources = ASKED_ONLY,
    ) -> tuple[Action, ...]:
        reply = Reply(
            status,
            "Reason",
            self.registration.cseq if cseq is None else cseq,
            tuple(contacts),
            expires_s,
            min_expires_s,
            retry_after_s,
            tuple(challenges),
            tuple(infos),
        )
        return self.take(Answered(reply, source, expected))

    def sent(self) -> Send:
        """Return the one REGISTER among the last actions."""
        (send,) = [a for a in self.actions if isinstance(a, Send)]
        return send

    def wait_s(self) -> float:
        """Return the seconds until `next_at`, with nothing in flight."""
        assert self.registration.in_flight is None
        assert self.registration.next_at is not None
        return self.registration.next_at - self.now


def registered(granted_s: int = 3600) -> Trunk:
    """Return a trunk that ONE granted without a challenge."""
    trunk = Trunk()
    trunk.due()
    trunk.answer(200, contacts=[replace(OURS, expires_s=granted_s)])
    assert trunk.registration.state is State.REGISTERED
    return trunk


def expected_authorization(challenge: Challenge, uses: int, cseq_before: int) -> tuple[str, str]:
    name = "Proxy-Authorization" if challenge.proxy else "Authorization"
    text = authorization(
        challenge,
        ACCOUNT.credentials,
        "REGISTER",
        "sip:provider.example",
        uses,
        f"cnonce-{cseq_before}",
    )
    return name, text


IMPOSTOR = TransportAddress.parse("udp:192.0.2.66:5060")


def after_a_restart(before: Registration, now: float) -> Registration:
    """What the directory's columns keep, and what is made of it."""
    kept = Registration(
        trunk_id=before.trunk_id,
        call_id=before.call_id,
        cseq=before.cseq,
        state=before.state,
        since=before.since,
        granted_s=before.granted_s,
        expires_at=before.expires_at,
        registered_at=before.registered_at,
        next_at=before.next_at,
        registrar=before.registrar,
        suspended=before.suspended,
        home=before.home,
        failures=before.failures,
        failure=before.failure,
        last_status=before.last_status,
        last_phrase=before.last_phrase,
        reason=before.reason,
        message=before.message,
        nonce_counts=before.nonce_counts,
        auth_rejections=before.auth_rejections,
    )
    after = resumed(kept, now)
    assert Outcome(after.state) in TRANSITIONS[before.state, EventKind.RESTART]
    return after


TARGETS = st.lists(st.sampled_from([ONE, TWO]), unique=True, max_size=2).map(tuple)
SECONDS = st.sampled_from([None, 0, 1, 30, 3600, 3601, 7200, DAY, 8 * DAY])
CONTACTS = st.lists(
    st.sampled_from(
        [
            OURS,
            replace(OURS, expires_s=0),
            replace(OURS, expires_s=30),
            replace(OURS, expires_s=DAY),
            Contact(Uri("sip", "token1", "203.0.113.77", 1024), 60),
            Contact(Uri("sip", "someone", "203.0.113.1"), 60),
        ]
    ),
    max_size=2,
).map(tuple)
CHALLENGES = st.lists(
    st.sampled_from(
        [CHALLENGE, STALE, replace(CHALLENGE, proxy=True), replace(CHALLENGE, algorithm="SHA-512")]
    ),
    max_size=2,
).map(tuple)
STATUSES = st.sampled_from(
    [200, 200, 200, 202, 302, 401, 401, 401, 407, 403, 408, 423, 430, 480, 500, 503, 603]
)
REPLIES = st.builds(
    Reply,
    status=STATUSES,
    reason=st.just("Reason"),
    cseq=st.just(0),
    contacts=CONTACTS,
    expires_s=SECONDS,
    min_expires_s=SECONDS,
    retry_after_s=st.sampled_from([None, None, None, 0, 1, 120, 10 * DAY]),
    challenges=CHALLENGES,
)
