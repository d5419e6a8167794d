"""A registrar comes back after an outage in which all registrations expired: no storm follows.

The test has 60 trunks, and one limit that delays all of them.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, reply
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import Whence
from tests.system.registrar import DOMAIN, number
from tests.system.scene import ALICE, place

TRUNKS = 60
RATE = 5
AT_ONCE_S = 1.0
"""The rate limit lets the attempts of one second begin at once."""
SLACK_S = 3.0  # A busy machine delays the test's reading of the socket. A storm would be far more.


class Registrar:
    """A registrar that grants each REGISTER, or answers none. It keeps the time of each attempt."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.grants_s = 0
        """The interval that it grants; 0: it does not answer."""
        self.attempts: dict[tuple[str, int], float] = {}
        """(Call-ID, CSeq) → when the REGISTER first came. A retransmission is no attempt."""

    def serve(self, whence: Whence, done: Callable[[], object], what: str) -> None:
        """Read and answer REGISTERs until `done()` is true."""

        def is_done() -> object:
            turn_ends_at = time.monotonic() + 0.2
            while time.monotonic() < turn_ends_at:
                with suppress(AssertionError):
                    self._read_one(whence)
            return done()

        eventually(is_done, 2 * PATIENCE_S, what)

    def _read_one(self, whence: Whence) -> None:
        asked = self._endpoint.receive(0.1)
        self.attempts.setdefault((asked.call_id, number(asked)), time.monotonic())
        if self.grants_s:
            contact = f"{asked['Contact'].partition(';')[0]};expires={self.grants_s}"
            self._endpoint.send(reply(asked, 200, headers=[("Contact", contact)]), whence.address)


def most_above_the_limit(instants: list[float]) -> float:
    """Return by how many the attempts exceeded the limit, in the worst period of time."""
    return max(
        index - first + 1 - RATE * (end - begin)
        for first, begin in enumerate(instants)
        for index, end in enumerate(instants[first:], first)
    )


def test_outage_end_causes_no_storm(rig: Rig) -> None:
    registrar = Registrar(endpoint := rig.endpoint("registrar", SIP_PORT))
    table = {"registrar": f"sip:{place(endpoint.address)}", "domain": DOMAIN, "target": ALICE}
    names = [f"acct{index}" for index in range(TRUNKS)]
    whence = rig.whence(
        trunks=[table | {"id": name, "user": name, "password": "secret"} for name in names],
        users=["alice"],
        agent={"on_stop": "leave"},
        registration={
            "rate_per_registrar": RATE,
            "response_timeout": 2,
            "backoff": {"unreachable": [1, 2]},
        },
    )

    def granted() -> list[bool]:
        now = time.time()
        return [(one["expires_at"] or 0) > now for one in whence.get("/v1/trunks")]

    def failed() -> list[bool]:
        return [one["failures"] > 0 for one in whence.get("/v1/trunks")]

    registrar.grants_s = 20
    registrar.serve(whence, lambda: all(granted()), "all trunks registered")
    registrar.grants_s = 0
    registrar.serve(
        whence, lambda: not any(granted()) and all(failed()), "all trunks failed and expired"
    )
    registrar.attempts.clear()
    registrar.grants_s = 3600
    registrar.serve(whence, lambda: all(granted()), "all trunks registered again")
    instants = list(registrar.attempts.values())
    assert len(instants) >= TRUNKS
    assert most_above_the_limit(instants) <= RATE * (AT_ONCE_S + SLACK_S)
