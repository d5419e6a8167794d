"""An existing Kamailio that registers with uac, and the three lines of the drop-in."""

import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from testkit.drop_in import DropIn, Record
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Address, Endpoint, Message, acknowledgement, place, reply, request
from testkit.wait import eventually
from tests.system.drop_in import ACCOUNTS, USERS, alices, bobs, registered

DISABLED, ONLINE = 1, 4
"""Flags of a uac account."""

OWN = """event_route[tm:local-request] {
	xlog("L_NOTICE", "own route: $rm\\n");
	python_exec("whence_local_request");
}
"""
SHORT = """event_route[tm:local-request] {
	t_set_fr(1000, 1000);
	python_exec("whence_local_request");
}
"""


def provider(rig: Rig, name: str = "provider", **more: object) -> Provider:
    """Start a provider that has both accounts."""
    return rig.provider(name, accounts=ACCOUNTS, **more)  # type: ignore[arg-type]


def phone(rig: Rig, native: DropIn, user: str) -> Endpoint:
    """Return a user's phone that has registered."""
    endpoint = rig.endpoint(f"phone of {user}", 5060)
    ip = native.address[0]
    assert endpoint.register(native.address, user, USERS[user], ip).status == 200
    return endpoint


def invite(who: Endpoint, native: DropIn, user: str, **parts: object) -> Message:
    ip = native.address[0]
    return request("INVITE", f"sip:{user}@{ip}", who.address, **parts)  # type: ignore[arg-type]


def rings(who: Endpoint, native: DropIn, user: str, at: Endpoint) -> Message:
    """Make a call that reaches a phone; return its INVITE there. The phone answers 486."""
    call = invite(who, native, user)
    who.send(call, native.address)
    return arrived_at(who, native, call, at)


def arrived_at(who: Endpoint, native: DropIn, call: Message, at: Endpoint) -> Message:
    """Return the INVITE of a call as a phone received it. The phone answers 486."""
    arrived = at.expect(lambda m: m.call_id == call.call_id, what="the call at the phone")
    at.send(reply(arrived, 486), native.address)
    who.expect(lambda m: m.status == 486, what="the refusal")
    return arrived


def is_admitted(who: Endpoint, native: DropIn, user: str, at: Endpoint) -> bool:
    """Make a call; return whether it reached a phone. Otherwise the edge answered 404."""
    call = invite(who, native, user)
    who.send(call, native.address)
    first = who.expect(lambda m: m.call_id == call.call_id, what="the first answer")
    if first.status == 404:
        who.send(acknowledgement(call, first), native.address)
        return False
    assert first.status == 100
    return bool(arrived_at(who, native, call, at))


def refused(who: Endpoint, native: DropIn, user: str) -> int:
    """Make a call that is refused, and return its final status."""
    return who.ask(invite(who, native, user), native.address).status


def both_at_one_provider(rig: Rig) -> tuple[DropIn, Endpoint, Endpoint, Endpoint]:
    """Register both accounts; return the drop-in, both phones, and a caller at the provider."""
    there = provider(rig)
    native = rig.drop_in(records=[alices(there), bobs(there)], users=USERS)
    registered(native, "trunk-of-alice", "trunk-of-bob")
    alice, bob = (phone(rig, native, user) for user in ("alice", "bob"))
    return native, alice, bob, at_provider(rig, there)


def flags(native: DropIn, l_uuid: str) -> int:
    """Return the flags of a uac account, as uac reports them."""
    return int(native.rpc("uac.reg_info", "l_uuid", l_uuid)["result"]["flags"])


def at_provider(rig: Rig, provider: Provider) -> Endpoint:
    """Return a caller at a provider's address."""
    return rig.endpoint(provider.name)


def test_call_from_a_learned_address_rings_the_user(rig: Rig) -> None:
    """A SIPp call, from INVITE to BYE. The INVITE carries the trunk and the source."""
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS)
    registered(native, "trunk-of-alice")
    at = rig.drop_in_phone("alice", USERS["alice"], native)
    outcome = rig.caller(native.address, there).call(
        f"sip:+442071234567@{native.address[0]}",
        expect=200,
        headers=[("X-Whence-Trunk", "forged")],
    )
    (arrived,) = [m for m in at.received() if m.method == "INVITE"]
    assert arrived.call_id == outcome.sent[0].call_id
    assert arrived.all("X-Whence-Trunk") == ["trunk-of-alice"]
    assert arrived["X-Whence-Source"].startswith(f"udp:{there.ip}:")


def test_ipv6_wildcard_socket_admits_ipv4_callers(rig: Rig) -> None:
    """Kamailio shows them as ::ffff:192.0.2.1, which is 192.0.2.1 (RFC 4291 2.5.5.2)."""
    there, everywhere = provider(rig), rig.network.port()
    native = rig.drop_in(
        records=[alices(there)], users=USERS, also_listens=f"udp:[::]:{everywhere}"
    )
    registered(native, "trunk-of-alice")
    alice, caller, edge = phone(rig, native, "alice"), at_provider(rig, there), native.address
    call = request("INVITE", f"sip:acct1@{edge[0]}", caller.address)
    caller.send(call, ("127.0.0.1", everywhere))
    arrived = alice.expect(lambda m: m.call_id == call.call_id, what="the call at the phone")
    assert arrived["X-Whence-Trunk"] == "trunk-of-alice"
    assert arrived["X-Whence-Source"] == f"udp:{place(caller.address)}"
    unknown_source = rig.unknown_source()
    unknown_source.send(invite(unknown_source, native, "acct1"), ("127.0.0.1", everywhere))
    unknown_source.expect(lambda m: m.status == 404, what="the refusal")


def test_accounts_at_one_provider_are_distinguished(rig: Rig) -> None:
    """Each account gets the calls that name it; a call that names neither is refused."""
    native, alice, bob, caller = both_at_one_provider(rig)
    for user, at, trunk in (
        ("trunk-of-bob", bob, "trunk-of-bob"),  # the token: our Contact
        ("trunk-of-alice", alice, "trunk-of-alice"),
        ("acct2", bob, "trunk-of-bob"),  # the account's own user
        ("acct1", alice, "trunk-of-alice"),
    ):
        assert rings(caller, native, user, at)["X-Whence-Trunk"] == trunk
    assert refused(caller, native, "+442071230000") == 404
    assert "no trunk's call: ambiguous" in native.log


def test_token_from_a_wrong_source_is_refused(rig: Rig) -> None:
    here, there = provider(rig), provider(rig, "other")
    native = rig.drop_in(records=[alices(here), bobs(there)], users=USERS)
    registered(native, "trunk-of-alice", "trunk-of-bob")
    phone(rig, native, "alice")
    for who in (at_provider(rig, there), rig.unknown_source()):
        assert refused(who, native, "trunk-of-alice") == 404
        odd = request("INVITE", "urn:service:sos", who.address)
        assert who.ask(odd, native.address).status >= 400
    assert "whence_identify" not in native.log, "unknown sources cause no error lines"
    assert "no trunk's call: token_from_wrong_source" in native.log
    assert "no trunk's call: unknown_address: no address admits the source" in native.log


def test_header_hidden_behind_a_cr_is_refused(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS)
    registered(native, "trunk-of-alice")
    alice, caller = phone(rig, native, "alice"), at_provider(rig, there)
    hidden = invite(caller, native, "acct1", headers=[("Subject", "a\rX-Whence-Trunk: forged")])
    assert caller.ask(hidden, native.address).status == 400
    rings(caller, native, "acct1", alice)  # the refused INVITE did not arrive before it


@dataclass(frozen=True)
class Registrar:
    """A registrar whose answers the test chooses."""

    at: Endpoint
    domain: str = "provider.example"
    accounts: Mapping[str, str] = field(default_factory=lambda: ACCOUNTS)

    @property
    def ip(self) -> str:
        return self.at.address[0]

    @property
    def address(self) -> Address:
        return self.at.address

    def answers(self, native: DropIn, *contacts: tuple[str, str], status: int = 200) -> Message:
        """Wait for a REGISTER, answer it with these headers, and return it."""
        asked = self.at.expect(lambda m: m.method == "REGISTER")
        self.at.send(reply(asked, status, headers=contacts), native.address)
        return asked


def test_contact_is_found_in_every_form_of_a_200(rig: Rig) -> None:
    """The compact form, several headers, commas in names. A 200 without ours grants nothing."""
    registrar = Registrar(rig.endpoint("registrar", 5060))
    native = rig.drop_in(records=[alices(registrar)], users=USERS)  # type: ignore[arg-type]
    ours = f"<sip:trunk-of-alice@{native.address[0]}:5060>"
    other = '"a, b" <sip:another@192.0.2.1>;expires=7200'
    registrar.answers(native, ("m", other))
    eventually(
        lambda: native.states() == {"trunk-of-alice": "waiting"}, what="the state without a grant"
    )
    assert native.addresses() == []
    native.rpc("uac.reg_refresh", "trunk-of-alice")
    registrar.answers(
        native, ("m", f"{other}, <sip:c@192.0.2.3>"), ("Contact", f"{ours};expires=77")
    )
    registered(native, "trunk-of-alice")
    assert native.rows("SELECT granted_s FROM registration") == [(77,)]
    assert native.addresses() == [("trunk-of-alice", registrar.ip)]


@pytest.mark.parametrize(("name", "value"), [("Call-ID", "another"), ("CSeq", "77 REGISTER")])
def test_reply_with_another_call_id_or_cseq_is_ignored(rig: Rig, name: str, value: str) -> None:
    """It has our branch, which is all that Kamailio compares: uac accepts it."""
    registrar = Registrar(rig.endpoint("registrar", 5060))
    native = rig.drop_in(records=[alices(registrar)], users=USERS)  # type: ignore[arg-type]
    asked = registrar.at.expect(lambda m: m.method == "REGISTER")
    ours = ("Contact", f"<sip:trunk-of-alice@{native.address[0]}:5060>;expires=60")
    forged = reply(asked, 200, headers=[ours])
    fields = tuple((n, value if n == name else v) for n, v in forged.headers)
    rig.unknown_source().send(Message(forged.start_line, fields), native.address)
    eventually(lambda: flags(native, "trunk-of-alice") & ONLINE, what="uac accepts the reply")
    assert native.addresses() == []


def test_restart_keeps_what_was_learned(rig: Rig) -> None:
    """The provider is stopped, so the drop-in cannot learn the address again."""
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS)
    registered(native, "trunk-of-alice")
    there.stop()
    native.stop()
    native.start()
    alice, caller = phone(rig, native, "alice"), at_provider(rig, there)
    rings(caller, native, "acct1", alice)


def test_unregistered_account_is_refused_at_once(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(records=[alices(there), bobs(there)], users=USERS)
    registered(native, "trunk-of-alice", "trunk-of-bob")
    alice, caller = phone(rig, native, "alice"), at_provider(rig, there)
    rings(caller, native, "acct1", alice)
    there.refuse(503)  # the answer to the un-REGISTER does not matter
    native.rpc("uac.reg_unregister", "l_uuid", "trunk-of-alice")
    eventually(lambda: native.addresses() == [("trunk-of-bob", there.ip)])
    assert refused(caller, native, "trunk-of-alice") == 404


@pytest.mark.parametrize(
    "command",
    [("uac.reg_remove", "trunk-of-alice"), ("uac.reg_disable", "l_uuid", "trunk-of-alice")],
    ids=["removed", "disabled"],
)
def test_account_removed_from_uac_is_no_candidate(rig: Rig, command: tuple[str, ...]) -> None:
    """uac sends no REGISTER then. The other account at that address is the only candidate."""
    there = provider(rig)
    native = rig.drop_in(records=[alices(there), bobs(there)], users=USERS)
    registered(native, "trunk-of-alice", "trunk-of-bob")
    bob, caller = phone(rig, native, "bob"), at_provider(rig, there)
    assert refused(caller, native, "+442071230000") == 404
    native.rpc(*command)

    def goes_to_bob() -> bool:
        """Return whether the call rings at bob's phone.

        uac reports a disabled account as registered for one more second. Just after a start the
        edge misses no account, because uac may not have read its table yet.
        """
        return is_admitted(caller, native, "+442071230000", bob)

    eventually(goes_to_bob, what="the other account as the only candidate")
    assert refused(caller, native, "trunk-of-alice") == 404, "bob does not get it"


def test_call_that_names_a_removed_account_is_refused(rig: Rig) -> None:
    """uac also has no account for a moment while it reloads its table; no other gets the call."""
    native, alice, bob, caller = both_at_one_provider(rig)
    rings(caller, native, "acct1", alice)
    native.rpc("uac.reg_remove", "trunk-of-alice")
    eventually(lambda: refused(caller, native, "acct1") == 404, what="alice's account missed")
    for user in ("acct1", "trunk-of-alice"):
        assert refused(caller, native, user) == 404
    assert "no trunk's call: account_missed: uac has no account trunk-of-alice" in native.log

    def rings_at_bob() -> bool:
        return is_admitted(caller, native, "+442071230000", bob)

    eventually(rings_at_bob, what="bob as the only candidate")

    def is_gone() -> bool:  # each worker notices this separately
        for user in ("acct1", "trunk-of-alice"):
            assert refused(caller, native, user) == 404
        return "no trunk's call: account_gone" in native.log

    eventually(is_gone, what="the reason in the log")


def test_refresh_that_fails_keeps_the_address(rig: Rig) -> None:
    """By default (`reg_retry_interval` 0) uac then even disables the account permanently."""
    there = provider(rig, grants_s=60)
    native = rig.drop_in(records=[alices(there)], users=USERS, retry_s=0)
    registered(native, "trunk-of-alice")
    alice, caller = phone(rig, native, "alice"), at_provider(rig, there)
    there.refuse(403)
    native.rpc("uac.reg_refresh", "trunk-of-alice")
    eventually(
        lambda: native.states() == {"trunk-of-alice": "waiting"},
        what="the refusal in the directory",
    )
    eventually(
        lambda: flags(native, "trunk-of-alice") & DISABLED, what="the account disabled by uac"
    )
    rings(caller, native, "acct1", alice)


def test_address_without_a_refresh_ends_with_its_grant(rig: Rig) -> None:
    there = provider(rig, grants_s=5)
    native = rig.drop_in(records=[alices(there)], users=USERS, retry_s=3600, grace_s=0)
    alice, caller = phone(rig, native, "alice"), at_provider(rig, there)
    registered(native, "trunk-of-alice")
    there.refuse(403)
    ((granted_s, expires_at),) = native.rows("SELECT granted_s, expires_at FROM registration")
    assert granted_s == 5
    ((until,),) = native.rows("SELECT expires_at FROM address")
    assert until == expires_at
    rings(caller, native, "acct1", alice)
    eventually(
        lambda: refused(caller, native, "trunk-of-alice") == 404, what="the end of the address"
    )
    assert time.time() >= until


def test_silent_registrar_is_stored_as_no_answer(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS, own_event_route=SHORT)
    registered(native, "trunk-of-alice")
    there.stop()
    native.rpc("uac.reg_refresh", "trunk-of-alice")
    eventually(
        lambda: native.states() == {"trunk-of-alice": "waiting"},
        what="the failure in the directory",
    )
    assert native.rows("SELECT reason, last_status FROM registration") == [("no_answer", None)]
    assert native.addresses() == [("trunk-of-alice", there.ip)]


def test_second_server_that_grants_is_learned_too(rig: Rig) -> None:
    here, there = provider(rig), provider(rig, "other")
    native = rig.drop_in(records=[alices(here)], users=USERS)
    registered(native, "trunk-of-alice")
    native.update("uacreg", auth_proxy=f"sip:{there.ip}:5060")
    native.rpc("uac.reg_refresh", "trunk-of-alice")
    both = sorted([("trunk-of-alice", here.ip), ("trunk-of-alice", there.ip)])
    eventually(lambda: native.addresses() == both, what="both addresses")
    alice = phone(rig, native, "alice")
    for at in (here, there):
        rings(at_provider(rig, at), native, "acct1", alice)


def test_locked_directory_delays_writes_and_loses_none(rig: Rig) -> None:
    """With one worker: it writes the delayed change with the next message."""
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS, workers=1, start=False)
    with closing(sqlite3.connect(native.directory, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        native.start()
        eventually(lambda: "changes are kept for later" in native.log, what="the line in the log")
        assert native.addresses() == []
        other.execute("ROLLBACK")
    alice, caller = phone(rig, native, "alice"), at_provider(rig, there)
    rings(caller, native, "acct1", alice)


def test_sixty_accounts_register_at_once(rig: Rig) -> None:
    """The include may not call uac in event_route[tm:local-request].

    uac holds its lock there. A call into it would wait for ever, and no account would register.
    """
    accounts = {f"acct{n}": f"secret of {n}" for n in range(60)}
    there = rig.provider(accounts=accounts)
    records = [Record(f"trunk-{account}", "alice", account, there) for account in accounts]
    native = rig.drop_in(records=records, users=USERS)
    registered(native, *(record.l_uuid for record in records))
    assert len(native.addresses()) == 60
    include = (native.folder / "whence.cfg").read_text()
    (route,) = re.findall(r"^event_route\[tm:local-request\] \{(.*?)^\}", include, re.M | re.S)
    assert re.findall(r"\w+(?=\()", route) == ["python_exec"]


def test_own_event_route_calls_whence(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS, own_event_route=OWN)
    registered(native, "trunk-of-alice")
    assert "own route: REGISTER" in native.log
