"""Another server grants the refresh while a call of the former one is up: the call goes on.

What the former server granted stands until it ends, and its new calls are admitted as long.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pytest

from testkit.nameserver import NameServer, address
from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, place
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.dialog import connect
from tests.system.registrar import DOMAIN, PASSWORD, Registrar
from tests.system.scene import try_to_call

DNS_KEPT_S = 5
"""For so long the agent asks for no name again, however short its TTL."""

GRANTED_S = 40
"""By the former server: a change fits into it, and the story sees its end."""

Cause = Literal["its name moved", "a redirection", "no answer"]


@dataclass
class Scene:
    """A trunk at a name that leads to one server; another server, and callers at both."""

    dns: NameServer
    whence: Whence
    former: Registrar
    new: Registrar
    caller: Endpoint
    new_caller: Endpoint
    phone: Endpoint

    def register(self) -> None:
        """Let the former server grant, for a short while; on a busy machine once more."""

        def counts() -> bool:
            with suppress(AssertionError):
                asked = self.former.asked(0.1)
                contact = asked["Contact"].partition(";expires=")[0]
                self.former.grant(asked, ("Contact", f"{contact};expires={GRANTED_S}"))
            return bool(self.whence.trunk("acme")["state"] == "registered")

        eventually(counts, what="registered")

    def change(self, cause: Cause) -> None:
        """Let the new server grant the refresh; the former one says no more than it must."""
        ips = [server.endpoint.address[0] for server in (self.former, self.new)]
        if cause == "its name moved":
            self.dns.change(address(DOMAIN, ips[1], ttl_s=1))
        elif cause == "no answer":
            self.dns.change(address(DOMAIN, *ips, ttl_s=1))
        if cause != "a redirection":
            asked_again_at = time.time() + DNS_KEPT_S
            eventually(lambda: time.time() > asked_again_at, what="the end of what DNS said")
        assert self.whence.cli("register", "acme").returncode == 0
        if cause == "a redirection":
            there = f"<sip:{place(self.new.endpoint.address)}>"
            self.former.answer(self.former.asked(), 302, ("Contact", there))
        self.new.granted()
        server = f"udp:{place(self.new.endpoint.address)}"
        eventually(lambda: self.whence.trunk("acme")["registrar"] == server, what="the change")

    def until(self) -> dict[str, float]:
        """Return ip → until when it is admitted."""
        return {one["ip"]: one["expires_at"] for one in self.whence.get("/v1/addresses")}


@pytest.fixture
def scene(rig: Rig) -> Scene:
    former, new = rig.endpoint("former", SIP_PORT), rig.endpoint("new", SIP_PORT)
    dns = rig.nameserver(address(DOMAIN, former.address[0], ttl_s=1))
    phone = rig.endpoint("phone")
    acme = {
        "id": "acme",
        "registrar": f"sip:{DOMAIN}",
        "domain": DOMAIN,
        "user": "acct1",
        "password": PASSWORD,
        "target": f"sip:phone@{place(phone.address)}",
        "follow_dns": False,
    }
    whence = rig.whence(
        trunks=[acme],
        agent={"nameserver": dns.place, "grace": 0, "on_stop": "leave"},
        registration={"response_timeout": 6},
    )
    return Scene(
        dns,
        whence,
        Registrar(former, whence, "acme"),
        Registrar(new, whence, "acme"),
        rig.endpoint("former"),
        rig.endpoint("new"),
        phone,
    )


@pytest.mark.parametrize("cause", ["its name moved", "a redirection", "no answer"])
def test_the_call_goes_on_and_each_server_is_admitted_for_as_long_as_it_granted(
    scene: Scene, cause: Cause
) -> None:
    whence, caller, new_caller, phone = scene.whence, scene.caller, scene.new_caller, scene.phone
    scene.register()
    former_until = scene.until()
    assert former_until.keys() == {caller.address[0]}
    call = connect(whence, caller, phone)
    assert try_to_call(new_caller, whence) == 403

    scene.change(cause)
    until = scene.until()
    assert until.pop(new_caller.address[0]) > time.time() + GRANTED_S
    assert until == former_until
    connect(whence, new_caller, phone)
    call.pass_on(call.from_caller("INVITE"), caller, phone)
    call.pass_on(call.from_phone("INVITE"), phone, caller)
    second = connect(whence, caller, phone)
    (told,) = [one for one in whence.get("/v1/alarms") if one["kind"] == "registrar_changed"]
    assert told["trunk"] == "acme"
    assert place(scene.new.endpoint.address) in told["message"]

    eventually(lambda: time.time() > former_until[caller.address[0]], what="its end")
    assert try_to_call(caller, whence) == 403
    assert scene.until().keys() == {new_caller.address[0]}
    call.pass_on(call.from_caller("INVITE"), caller, phone)
    call.pass_on(call.from_caller("BYE"), caller, phone)
    second.pass_on(second.from_phone("BYE"), phone, caller)
    last = connect(whence, new_caller, phone)
    last.pass_on(last.from_caller("BYE"), new_caller, phone)
