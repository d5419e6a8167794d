"""Another server grants the refresh during a call of the former server: the call continues.

The former server's grant stays valid until its end, and admits new calls until then.
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

DNS_CACHE_S = 5
"""The agent does not resolve a name again in this time, even with a shorter TTL."""

GRANTED_S = 40
"""The former server's grant: long enough for the change, short enough to see its end."""

Cause = Literal["its name moved", "a redirection", "no answer"]


@dataclass
class Scene:
    """A trunk whose registrar is a name of one server; another server, and callers at both."""

    dns: NameServer
    whence: Whence
    former: Registrar
    new: Registrar
    caller: Endpoint
    new_caller: Endpoint
    phone: Endpoint

    def register(self) -> None:
        """Let the former server grant for `GRANTED_S`; on a busy machine more than once."""

        def is_registered() -> bool:
            with suppress(AssertionError):
                register = self.former.next_register(0.1)
                contact = register["Contact"].partition(";expires=")[0]
                self.former.grant(register, ("Contact", f"{contact};expires={GRANTED_S}"))
            return bool(self.whence.trunk("acme")["state"] == "registered")

        eventually(is_registered, what="registered")

    def change(self, cause: Cause) -> None:
        """Let the new server grant the refresh. The former one answers with a 302 or not at all."""
        ips = [server.endpoint.address[0] for server in (self.former, self.new)]
        if cause == "its name moved":
            self.dns.change(address(DOMAIN, ips[1], ttl_s=1))
        elif cause == "no answer":
            self.dns.change(address(DOMAIN, *ips, ttl_s=1))
        if cause != "a redirection":
            resolved_again_at = time.time() + DNS_CACHE_S
            eventually(
                lambda: time.time() > resolved_again_at, what="the end of the cached DNS answer"
            )
        assert self.whence.cli("register", "acme").returncode == 0
        if cause == "a redirection":
            there = f"<sip:{place(self.new.endpoint.address)}>"
            self.former.answer(self.former.next_register(), 302, ("Contact", there))
        self.new.granted()
        server = f"udp:{place(self.new.endpoint.address)}"
        eventually(lambda: self.whence.trunk("acme")["registrar"] == server, what="the change")

    def ends_at(self) -> dict[str, float]:
        """Return ip → end of its address."""
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
def test_registrar_change_keeps_call_and_former_address(scene: Scene, cause: Cause) -> None:
    whence, caller, new_caller, phone = scene.whence, scene.caller, scene.new_caller, scene.phone
    scene.register()
    former_until = scene.ends_at()
    assert former_until.keys() == {caller.address[0]}
    call = connect(whence, caller, phone)
    assert try_to_call(new_caller, whence) == 403

    scene.change(cause)
    ends_at = scene.ends_at()
    assert ends_at.pop(new_caller.address[0]) > time.time() + GRANTED_S
    assert ends_at == former_until
    connect(whence, new_caller, phone)
    call.pass_on(call.from_caller("INVITE"), caller, phone)
    call.pass_on(call.from_phone("INVITE"), phone, caller)
    second = connect(whence, caller, phone)
    (alarm,) = [one for one in whence.get("/v1/alarms") if one["kind"] == "registrar_changed"]
    assert alarm["trunk"] == "acme"
    assert place(scene.new.endpoint.address) in alarm["message"]

    eventually(
        lambda: time.time() > former_until[caller.address[0]], what="the end of the former address"
    )
    assert try_to_call(caller, whence) == 403
    assert scene.ends_at().keys() == {new_caller.address[0]}
    call.pass_on(call.from_caller("INVITE"), caller, phone)
    call.pass_on(call.from_caller("BYE"), caller, phone)
    second.pass_on(second.from_phone("BYE"), phone, caller)
    last = connect(whence, new_caller, phone)
    last.pass_on(last.from_caller("BYE"), new_caller, phone)
