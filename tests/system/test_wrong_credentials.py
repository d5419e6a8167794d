"""Providers ban who hammers them: no more than 7 REGISTERs in an hour with wrong credentials.

A day here has 86.4 s and an hour 3.6 s: the waits are those of the defaults, a thousand times
shorter.
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
    """A trunk with a wrong password, and when its first hour ends."""
    provider = rig.provider(accounts=ACCOUNTS)
    table = alices_trunk(provider, password="wrong")
    whence = rig.whence(trunks=[table], users=["alice"], registration=WAITS)
    first, *_ = eventually(provider.registers, what="a REGISTER")
    return provider, whence, first.at + HOUR_S


def registers_until(provider: Provider, whence: Whence, until: float) -> int:
    """Return how many REGISTERs had come when this moment was there; a restart may outlast it."""
    eventually(lambda: time.time() >= until, what="the end of the hour")
    assert whence.trunk("alices-trunk")["state"] in ("auth_failed", "registering")
    return len([seen for seen in provider.registers() if seen.at < until])


def test_wrong_credentials_cause_seven_registers_at_most_in_an_hour(rig: Rig) -> None:
    provider, whence, until = scene(rig)
    assert 4 <= registers_until(provider, whence, until) <= 7


@pytest.mark.parametrize("how", ["the agent dies", "all dies", "it is stopped", "it is reloaded"])
def test_nor_do_they_however_often_it_starts_anew(rig: Rig, how: str) -> None:
    provider, whence, until = scene(rig)
    for _ in range(4):
        if time.time() > until:
            break
        whence.wait_state("alices-trunk", "auth_failed")
        if how == "the agent dies":
            whence.kill_agent()
            whence.wait_healthy()
        elif how == "all dies":
            assert whence.process
            whence.process.kill()
            whence.start()
        elif how == "it is stopped":
            whence.restart()
        else:
            whence.reload()
    assert registers_until(provider, whence, until) <= 7


def test_a_restart_sends_nothing_before_its_time(rig: Rig) -> None:
    """The ten minutes after wrong credentials are ten minutes, whoever was restarted in them."""
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider, password="wrong")], users=["alice"])
    stands = whence.wait_state("alices-trunk", "auth_failed")
    before = provider.registers_seen()
    whence.kill_agent()
    whence.wait_healthy()
    whence.restart()
    assert whence.trunk("alices-trunk")["next_at"] == stands["next_at"]
    assert provider.registers_seen() == before


def test_an_operators_new_password_is_tried_at_once(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    # The waits are those of the defaults: by itself it would be tried in ten minutes.
    whence = rig.whence(trunks=[alices_trunk(provider, password="wrong")], users=["alice"])
    whence.wait_state("alices-trunk", "auth_failed")
    whence.edit(trunks=[alices_trunk(provider)])
    whence.reload()
    whence.wait_registered()
    assert len(provider.contacts("acct1")) == 1


def test_a_new_password_is_tried_at_once_also_when_it_came_with_a_restart(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    wrong, right = alices_trunk(provider, password="wrong"), alices_trunk(provider)
    whence = rig.whence(trunks=[wrong], users=["alice"])
    whence.wait_state("alices-trunk", "auth_failed")
    whence.stop()
    whence.edit(trunks=[right])
    whence.start()
    whence.wait_registered()
