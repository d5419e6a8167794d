"""Five thousand trunks at one address: each call is identified as its own trunk's."""

from functools import partial

import pytest

from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.scene import ALICE, source, uri

SIZE = 5000
RATE = 2000


def number(i: int) -> str:
    return f"+442071{i:06}"


def wait_granted(whence: Whence) -> None:
    """Wait until all trunks are registered; fail only if the number stops growing."""

    def granted(more_than: int) -> int:
        lines = [line for line in whence.metrics().splitlines() if line[0] != "#"]
        metrics = dict(line.rsplit(" ", 1) for line in lines)
        now = int(float(metrics["whence_registrations_active"]))
        return now if now > more_than else 0

    now = 0
    while now < SIZE:
        now = eventually(partial(granted, now), what=f"more than {now} registered")


@pytest.mark.slow
def test_many_trunks_at_one_address_get_their_own_calls(rig: Rig) -> None:
    provider = rig.provider(accounts={}, challenge=False, anybody=True)
    provider.accounts.update({f"acct{i}": "secret" for i in range(SIZE)})
    trunks = [
        trunk(f"t{i}", provider, f"acct{i}", ALICE, [number(i)] if i else []) for i in range(SIZE)
    ]
    trunks[-1] = {**trunks[-1], "fallback": True, "numbers": ["+4420719*"]}
    whence = rig.whence(
        users=["alice"],
        edge={"country": "44"},
        agent={"on_stop": "leave"},
        registration={"rate": RATE, "rate_per_registrar": RATE},
    )
    # A start has a deadline. A busy machine would miss it during so many REGISTERs.
    whence.edit(trunks=trunks)
    whence.reload()
    wait_granted(whence)
    phone = rig.phone("alice", whence)
    caller = rig.caller(whence, at=provider)

    def trunk_of(user: str) -> str:
        caller.call(uri(whence, user), expect=200)
        return phone.calls()[-1]["X-Whence-Trunk"]

    for i in (1, 17, 4711, SIZE - 2):
        assert trunk_of(number(i)) == f"t{i}"
        assert trunk_of("0" + number(i)[3:]) == f"t{i}"
    assert trunk_of("acct0") == "t0"
    assert trunk_of(provider.contacts("acct42")[0].uri.split(":")[1].split("@")[0]) == "t42"
    assert trunk_of("+442071912345") == f"t{SIZE - 1}"
    assert trunk_of("+499999999") == f"t{SIZE - 1}"
    assert whence.get("/v1/conflicts") == []
    for i in range(1, 30):
        assert whence.explain(source(provider), uri(whence, number(i)))["trunk"] == f"t{i}"
