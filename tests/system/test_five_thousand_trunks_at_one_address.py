"""Five thousand accounts at one provider: each call to its own trunk, as if there were but two."""

from tests.rig.rig import Rig
from tests.rig.wait import eventually
from tests.rig.whence import trunk
from tests.system.scene import ALICE, source, uri

SIZE = 5000


def number(i: int) -> str:
    return f"+442071{i:06}"


def test_each_of_five_thousand_trunks_at_one_address_gets_its_own_calls(rig: Rig) -> None:
    provider = rig.provider(accounts={}, challenge=False, anybody=True)
    provider.accounts.update({f"acct{i}": "secret" for i in range(SIZE)})
    trunks = [
        trunk(f"t{i}", provider, f"acct{i}", ALICE, [number(i)] if i else []) for i in range(SIZE)
    ]
    trunks[-1] = {**trunks[-1], "fallback": True, "numbers": ["+4420719*"]}
    whence = rig.whence(
        trunks=trunks,
        users=["alice"],
        edge={"country": "44"},
        agent={"on_stop": "leave"},
        registration={"rate": 2000, "rate_per_registrar": 2000},
    )
    granted = f"whence_registrations_granted {SIZE}.0"
    eventually(lambda: granted in whence.metrics().splitlines(), 60, "all are registered")
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
    assert whence.get("/v1/clashes") == []
    for i in range(1, 30):
        assert whence.explain(source(provider), uri(whence, number(i)))["trunk"] == f"t{i}"
