"""Wrong credentials: at most 7 REGISTERs in an hour, because providers ban clients that retry.

Here a day has 86.4 s and an hour 3.6 s: the waits are the defaults, divided by a thousand.
"""

import time

import pytest

from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk

HOUR_S = 3.6
WAITS = {"backoff": {"auth_failed": [0.6, 86.4]}}


def scene(rig: Rig) -> tuple[Provider, Whence, float]:
    """Start a trunk with a wrong password; return also the end of its first hour."""
    provider = rig.provider(accounts=ACCOUNTS)
    table = alices_trunk(provider, password="wrong")
    whence = rig.whence(trunks=[table], users=["alice"], registration=WAITS)
    first, *_ = eventually(provider.registers, what="a REGISTER")
    return provider, whence, first.at + HOUR_S


def registers_until(provider: Provider, whence: Whence, until: float) -> int:
    """Return the number of REGISTERs before an instant. A restart may take longer than that."""
    eventually(lambda: time.time() >= until, what="the end of the hour")
    assert whence.trunk("alices-trunk")["state"] in ("auth_failed", "registering")
    return len([seen for seen in provider.registers() if seen.at < until])


def test_wrong_credentials_cause_7_registers_an_hour_at_most(rig: Rig) -> None:
    provider, whence, until = scene(rig)
    assert 4 <= registers_until(provider, whence, until) <= 7


@pytest.mark.parametrize("how", ["agent killed", "all killed", "restarted", "reloaded"])
def test_wrong_credentials_after_restarts_stay_limited(rig: Rig, how: str) -> None:
    provider, whence, until = scene(rig)
    for _ in range(4):
        if time.time() > until:
            break
        whence.wait_state("alices-trunk", "auth_failed")
        if how == "agent killed":
            whence.kill_agent()
            whence.wait_healthy()
        elif how == "all killed":
            assert whence.process
            whence.process.kill()
            whence.start()
        elif how == "restarted":
            whence.restart()
        else:
            whence.reload()
    assert registers_until(provider, whence, until) <= 7


def test_restart_during_the_wait_sends_nothing(rig: Rig) -> None:
    """The wait of ten minutes continues over restarts of agent and node."""
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider, password="wrong")], users=["alice"])
    details = whence.wait_state("alices-trunk", "auth_failed")
    before = provider.registers_seen()
    whence.kill_agent()
    whence.wait_healthy()
    whence.restart()
    assert whence.trunk("alices-trunk")["next_at"] == details["next_at"]
    assert provider.registers_seen() == before


def test_new_password_by_reload_registers_at_once(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    # The waits are the defaults: without the reload the next attempt comes in ten minutes.
    whence = rig.whence(trunks=[alices_trunk(provider, password="wrong")], users=["alice"])
    whence.wait_state("alices-trunk", "auth_failed")
    whence.edit(trunks=[alices_trunk(provider)])
    whence.reload()
    whence.wait_registered()
    assert len(provider.contacts("acct1")) == 1


def test_new_password_by_restart_registers_at_once(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    wrong, right = alices_trunk(provider, password="wrong"), alices_trunk(provider)
    whence = rig.whence(trunks=[wrong], users=["alice"])
    whence.wait_state("alices-trunk", "auth_failed")
    whence.stop()
    whence.edit(trunks=[right])
    whence.start()
    whence.wait_registered()
