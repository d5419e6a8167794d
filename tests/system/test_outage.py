"""A registrar comes back after an outage in which all its trunks lapsed: they come one by one.

How many of thousands come when, `make bench-registrations` shows.
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
"""The pace lets a second's worth begin at once."""
SLACK_S = 3.0  # on a busy machine the story reads late what came in time; a storm is far more


class Registrar:
    """It grants whatever it is asked, or hears and says nothing, and knows what came when."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.grants_s = 0
        """0: it says nothing."""
        self.attempts: dict[tuple[str, int], float] = {}
        """(Call-ID, CSeq) → when it first came: what is sent again is no attempt."""

    def serve(self, whence: Whence, done: Callable[[], object], what: str) -> None:
        """Do so until something is done."""

        def is_done() -> object:
            turn_ends_at = time.monotonic() + 0.2
            while time.monotonic() < turn_ends_at:
                with suppress(AssertionError):
                    self._hear(whence)
            return done()

        eventually(is_done, 2 * PATIENCE_S, what)

    def _hear(self, whence: Whence) -> None:
        asked = self._endpoint.receive(0.1)
        self.attempts.setdefault((asked.call_id, number(asked)), time.monotonic())
        if self.grants_s:
            contact = f"{asked['Contact'].partition(';')[0]};expires={self.grants_s}"
            self._endpoint.send(reply(asked, 200, headers=[("Contact", contact)]), whence.address)


def most_above_the_limit(instants: list[float]) -> float:
    """How many more came than the limit allows, in that stretch of time in which they were most."""
    return max(
        index - first + 1 - RATE * (end - begin)
        for first, begin in enumerate(instants)
        for index, end in enumerate(instants[first:], first)
    )


def test_an_outage_ends_without_a_storm(rig: Rig) -> None:
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
        whence, lambda: not any(granted()) and all(failed()), "all trunks failed and lapsed"
    )
    registrar.attempts.clear()
    registrar.grants_s = 3600
    registrar.serve(whence, lambda: all(granted()), "all trunks registered again")
    instants = list(registrar.attempts.values())
    assert len(instants) >= TRUNKS
    assert most_above_the_limit(instants) <= RATE * (AT_ONCE_S + SLACK_S)
