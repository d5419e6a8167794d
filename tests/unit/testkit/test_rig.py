"""The rig without Whence. All system tests rely on it."""

import os
import signal
import sys
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from testkit import network
from testkit.nameserver import address, refused
from testkit.network import Network
from testkit.process import Process, alive
from testkit.provider import Contact, Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, expect_any, once, reply, request
from testkit.sipp import Load
from testkit.wait import eventually

ACCOUNTS = {"acct1": "secret", "acct2": "terces"}


def test_networks_of_two_runs_never_overlap() -> None:
    with Network() as one, Network() as other:
        assert not one.block.overlaps(other.block)


def test_ports_of_two_networks_never_overlap() -> None:
    with Network() as one, Network() as other:
        ports = [one.port(), one.port(), other.port()]
    assert len(set(ports)) == 3
    assert all(port % 2 == 0 for port in ports)


CLAIMANT = """if True:
    import sys, time
    from testkit import network
    network.CLAIM_PORT = int(sys.argv[1])
    claimed = network.Network()
    print(claimed.block, claimed.port(), flush=True)
    time.sleep(1000)
"""


def test_claim_of_a_killed_process_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim is no file: a process that shares only the network with us notices it."""
    own = 10_000 + os.getpid() % 1000  # no other run uses this port for claims
    monkeypatch.setattr(network, "CLAIM_PORT", own)
    environment = {"TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-c", CLAIMANT, str(own)]
    with Process("claimant", argv, tmp_path / "log", env=environment) as claimant:
        block, port = eventually(lambda: tuple(claimant.log.split()), what="the other claim")
        with Network() as ours:
            assert str(ours.block) != block
            assert str(ours.port()) != port
        claimant.signal(signal.SIGKILL)
        claimant.wait()
    with Network() as ours:
        assert str(ours.block) == block, "the first block is free again"


def test_ip_of_a_name_stays_the_same() -> None:
    with Network() as network:
        edge, provider = network.ip("edge"), network.ip("provider")
        assert edge != provider
        assert network.ip("edge") == edge


def test_eventually_error_has_the_last_result() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: tea \(last value: \[\]\)"):
        eventually(list, within_s=0, what="tea")
    pots: dict[str, int] = {}
    with pytest.raises(AssertionError, match=r"tea \(last try raised KeyError\('pot'\)\)"):
        eventually(lambda: pots["pot"], within_s=0, what="tea")


def test_stop_ends_all_descendants(tmp_path: Path) -> None:
    script = "setsid sleep 1000 & sleep 1000 & echo started; wait"
    process = Process("parent", ["sh", "-c", script], tmp_path / "log")
    eventually(lambda: process.log and len(process.descendants()) == 2, what="two children")
    descendants = process.descendants()
    process.stop()
    assert not [pid for pid in [process.pid, *descendants] if alive(pid)]
    assert process.log == "started\n"


def test_alive_counts_a_process_while_any_thread_runs(tmp_path: Path) -> None:
    """A kill leaves this for a moment: the first thread is a zombie, another keeps the port."""
    script = """if True:
        import ctypes, threading, time
        threading.Thread(target=time.sleep, args=(1000,)).start()
        ctypes.CDLL(None).pthread_exit(None)
    """
    with Process("threads", [sys.executable, "-c", script], tmp_path / "log") as process:
        first = Path(f"/proc/{process.pid}/task/{process.pid}/stat")
        eventually(lambda: ") Z " in first.read_text("ascii"), what="the first thread's end")
        assert alive(process.pid)
        process.kill()
        assert not alive(process.pid)


def test_provider_killed_leaves_no_process(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    processes = [provider.process.pid, *provider.process.descendants()]
    assert len(processes) > 1
    provider.kill()
    assert not [pid for pid in processes if alive(pid)]
    provider.start()


def test_test_run_killed_leaves_no_process(rig: Rig) -> None:
    script = f"""if True:
        import pathlib, time
        from testkit.provider import Provider
        directory = pathlib.Path({str(rig.directory)!r})
        provider = Provider({rig.ip("provider")!r}, directory, accounts={{}})
        print(provider.process.pid, *provider.process.descendants(), flush=True)
        time.sleep(1000)
    """
    with Process("run", [sys.executable, "-c", script], rig.directory / "run.log") as run:
        processes = eventually(lambda: [int(pid) for pid in run.log.split()], what="a provider")
        run.signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    eventually(lambda: not any(map(alive, processes)), what="the provider's end")


def test_provider_challenges_and_registers(rig: Rig) -> None:
    provider, client = rig.provider(accounts=ACCOUNTS), rig.unknown_source()
    granted = register(client, provider, contact="<sip:token@192.0.2.1>")
    assert granted.status == 200
    assert granted["CSeq"] == "2 REGISTER"
    assert provider.contacts("acct1") == [Contact("sip:token@192.0.2.1", 3600)]
    assert provider.contacts("acct2") == []
    assert [seen.cseq for seen in provider.registers()] == [1, 2]
    assert register(client, provider, password="wrong").status == 401
    assert register(client, provider, user="acct2", password="secret").status == 401


def test_register_retransmission_is_seen_once(rig: Rig) -> None:
    """The same content on another branch is another REGISTER."""
    provider, client = rig.provider(accounts=ACCOUNTS), rig.unknown_source()
    uri = f"sip:acct1@{provider.domain}"
    first, other = (
        request("REGISTER", uri, client.address, call_id="known", contact=f"<{uri}>")
        for _ in range(2)
    )
    for ask in (first, first, other, first):
        assert client.ask(ask, provider.address).status == 401
    assert [seen.call_id for seen in provider.registers()] == ["known"] * 2


def test_provider_without_a_challenge_registers_at_once(rig: Rig) -> None:
    provider, client = rig.provider(accounts=ACCOUNTS, challenge=False), rig.unknown_source()
    assert register(client, provider)["CSeq"] == "1 REGISTER"
    assert register(client, provider, user="unknown").status == 404


def test_provider_options_change_the_grant(rig: Rig) -> None:
    other = "sip:other@198.51.100.9:5060"
    provider = rig.provider(accounts=ACCOUNTS, grants_s=40, min_expires=20, also_lists=other)
    client = rig.unknown_source()
    granted = register(client, provider, contact="<sip:token@192.0.2.1>")
    another, ours = granted.contacts
    # Kamailio may list the Contact a second after it stored it.
    assert another in {f"<{other}>;q=0;expires={s}" for s in (7200, 7199)}
    assert ours == "<sip:token@192.0.2.1>;expires=40"
    too_brief = register(client, provider, expires_s=19)
    assert (too_brief.status, too_brief["Min-Expires"]) == (423, "20")


def test_provider_refuses_until_accept(rig: Rig) -> None:
    provider, client = rig.provider(accounts=ACCOUNTS, refuses=403), rig.unknown_source()
    assert register(client, provider).status == 403
    provider.accept()
    assert register(client, provider).status == 200
    provider.refuse(503)
    assert register(client, provider).status == 503
    provider.restart()
    assert register(client, provider).status == 503
    assert provider.contacts("acct1") == []


def test_endpoint_sends_and_answers_requests(rig: Rig) -> None:
    caller, server = rig.unknown_source(), rig.endpoint("server", 5060)
    uri = f"sip:user@{rig.ip('server')}"
    caller.send(request("OPTIONS", uri, caller.address), server.address)
    asked = server.receive()
    assert (asked.method, asked.request_uri) == ("OPTIONS", uri)
    server.send(reply(asked, 404, headers=[("X-Byte", "\udcff")]), caller.address)
    answer = caller.receive()
    assert (answer.status, answer.call_id) == (404, asked.call_id)
    assert b"X-Byte: \xff" in bytes(answer)
    assert answer.source == server.address


def test_expect_any_returns_the_endpoint_that_received(rig: Rig) -> None:
    sender, one, other = rig.unknown_source(), rig.endpoint("one"), rig.endpoint("other")
    unwanted = request("OPTIONS", "sip:one@invalid", sender.address)
    wanted = request("INVITE", "sip:other@invalid", sender.address)
    sender.send(unwanted, one.address)
    sender.send(wanted, other.address)
    at, message = expect_any([one, other], lambda m: m.method == "INVITE", what="an INVITE")
    assert (at, message.call_id) == (other, wanted.call_id)
    sender.send(wanted, other.address)  # a retransmission
    sender.send(request("INVITE", "sip:one@invalid", sender.address), one.address)
    at, _ = expect_any([other, one], lambda m: m.method == "INVITE", what="another INVITE")
    assert at is one


def test_caller_calls_a_phone(rig: Rig) -> None:
    phone = rig.phone("alice")
    caller = rig.caller(phone.address)
    outcome = caller.call(
        phone.uri, headers=[("X-One", "1"), ("X-Two", "2")], call_id="known", expect=200
    )
    assert [m.status for m in once(outcome.received)] == [180, 200, 200]
    caller.call("sip:+442071234567@edge.example", to="sip:someone@else.example", expect=200)
    first, second = phone.calls()
    assert (first.call_id, first["X-One"], first["X-Two"]) == ("known", "1", "2")
    assert second.request_uri == "sip:+442071234567@edge.example"
    assert second["To"] == "<sip:someone@else.example>"


def test_caller_ignores_a_180_after_the_200(rig: Rig) -> None:
    """Two workers of Kamailio may overtake each other, and UDP keeps no order."""
    phone = rig.endpoint("phone", 5060)
    call = rig.caller(phone.address).dial(f"sip:alice@{phone.address[0]}")
    asked = phone.receive()
    assert asked.source
    contact = [("Contact", f"<sip:{phone.address[0]}>")]
    for status in (200, 180):
        phone.send(reply(asked, status, headers=contact), asked.source)
    bye = phone.expect(lambda message: message.method == "BYE", what="the BYE")
    phone.send(reply(bye, 200), asked.source)
    assert call.outcome().complete


def test_phone_has_each_behaviour(rig: Rig) -> None:
    phone = rig.phone("alice", behaviour="busy")
    caller = rig.caller(phone.address)
    caller.call(phone.uri, expect=486)
    phone.behave(404)
    caller.call(phone.uri, expect=404)
    phone.behave("rings")
    caller.call(phone.uri, cancel_after_s=0, expect=487)
    phone.behave("hangs_up")
    caller.call(phone.uri, hung_up_by="phone", expect=200)
    assert len(phone.calls()) == 4


def test_caller_error_has_the_messages_of_the_call(rig: Rig) -> None:
    phone = rig.phone("alice", behaviour="busy")
    with pytest.raises(AssertionError, match=r"486, not 200:\nINVITE "):
        rig.caller(phone.address).call(phone.uri, expect=200)


def test_dial_returns_a_call_that_can_be_watched(rig: Rig) -> None:
    phone = rig.phone("alice", behaviour="rings")
    call = rig.caller(phone.address).dial(phone.uri)
    call.wait_for(180)
    assert call.status is None
    call.vanish()


def test_load_counts_the_calls(rig: Rig) -> None:
    phone = rig.phone("alice", trace=False)
    caller = rig.caller(phone.address)
    uris = [phone.uri, "sip:+442071234567@edge.example"]
    assert caller.load(uris, calls=100, rate=200) == Load(successful=100, failed=0)
    phone.behave("busy")
    assert caller.load(uris, calls=10, rate=100) == Load(successful=0, failed=10)


def test_nameserver_answers_with_its_current_records(rig: Rig) -> None:
    def ask() -> tuple[str, list[str]]:
        query = dns.message.make_query("sip.example", "A")
        answer = dns.query.udp(query, server.address[0], 5, server.address[1])
        texts = [str(record) for rrset in answer.answer for record in rrset]
        return dns.rcode.to_text(answer.rcode()), texts

    server = rig.nameserver(address("sip.example", "192.0.2.1"))
    assert ask() == ("NOERROR", ["192.0.2.1"])
    server.change(address("sip.example", "192.0.2.2"))
    assert ask() == ("NOERROR", ["192.0.2.2"])
    server.change()
    assert ask() == ("NXDOMAIN", [])
    server.change(refused("sip.example"))
    assert ask() == ("REFUSED", [])
    assert server.asked("sip.example") == [("A", "sip.example")] * 4


def test_caller_through_a_proxy_reaches_the_phone(rig: Rig) -> None:
    """With a real Kamailio between them: two Vias, Record-Route, hop-by-hop CANCEL."""
    provider = rig.provider(accounts=ACCOUNTS)
    phone = rig.phone("acct1")
    caller = rig.caller(provider.address)
    uri = f"sip:acct1@{provider.domain}"
    caller.call(uri, expect=404)
    register(rig.unknown_source(), provider, contact=f"<{phone.uri}>")
    caller.call(uri, expect=200)
    phone.behave("hangs_up")
    caller.call(uri, hung_up_by="phone", expect=200)
    phone.behave("rings")
    caller.call(uri, cancel_after_s=0.05, expect=487)
    phone.behave("busy")
    caller.call(uri, expect=486)
    assert [len(invite.all("Via")) for invite in phone.calls()] == [2, 2, 2, 2]


def register(
    client: Endpoint,
    provider: Provider,
    user: str = "acct1",
    *,
    password: str | None = None,
    contact: str | None = None,
    expires_s: int = 3600,
) -> Message:
    return client.register(
        provider.address,
        user,
        password or ACCOUNTS.get(user, ""),
        provider.domain,
        contact=contact,
        expires_s=expires_s,
    )
