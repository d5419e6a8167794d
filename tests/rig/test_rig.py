"""The rig by itself, without Whence: what every other test relies on."""

from pathlib import Path

import pytest

from tests.rig.network import Network
from tests.rig.process import Process, alive
from tests.rig.provider import Contact, Provider
from tests.rig.sip import Endpoint, Message, reply, request
from tests.rig.wait import eventually

ACCOUNTS = {"acct1": "secret", "acct2": "terces"}


def test_two_networks_never_overlap() -> None:
    with Network() as one, Network() as other:
        assert not one.block.overlaps(other.block)


def test_a_name_keeps_its_address() -> None:
    with Network() as network:
        edge, provider = network.ip("edge"), network.ip("provider")
        assert edge != provider
        assert network.ip("edge") == edge


def test_eventually_says_what_it_waited_for_and_how_the_last_try_ended() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: tea \(last value: \[\]\)"):
        eventually(list, within_s=0, what="tea")
    pots: dict[str, int] = {}
    with pytest.raises(AssertionError, match=r"tea \(last try raised KeyError\('pot'\)\)"):
        eventually(lambda: pots["pot"], within_s=0, what="tea")


def test_a_process_ends_with_all_that_it_started(tmp_path: Path) -> None:
    script = "setsid sleep 1000 & sleep 1000 & echo started; wait"
    process = Process("parent", ["sh", "-c", script], tmp_path / "log")
    eventually(lambda: len(process.descendants()) == 2, what="two children")
    descendants = process.descendants()
    process.stop()
    assert not [pid for pid in [process.pid, *descendants] if alive(pid)]
    assert process.log == "started\n"


def test_a_killed_provider_leaves_no_process_behind(network: Network, tmp_path: Path) -> None:
    provider = Provider(network.ip("provider"), tmp_path, accounts=ACCOUNTS)
    workers = provider.process.descendants()
    assert workers
    provider.kill()
    assert not [pid for pid in [provider.process.pid, *workers] if alive(pid)]
    provider.start()
    provider.stop()


def test_a_provider_challenges_and_registers(network: Network, tmp_path: Path) -> None:
    with (
        Provider(network.ip("provider"), tmp_path, accounts=ACCOUNTS) as provider,
        Endpoint(network.ip("edge")) as client,
    ):
        granted = register(client, provider, "<sip:token@192.0.2.1>")
        assert granted.status == 200
        assert granted["CSeq"] == "2 REGISTER"
        assert provider.contacts("acct1") == [Contact("sip:token@192.0.2.1", 3600)]
        assert provider.contacts("acct2") == []
        assert [seen.cseq for seen in provider.registers()] == [1, 2]
        assert client.register(provider.address, "acct1", "wrong", provider.domain).status == 401
        as_another = client.register(provider.address, "acct2", "secret", provider.domain)
        assert as_another.status == 401


def test_a_provider_may_not_challenge(network: Network, tmp_path: Path) -> None:
    with (
        Provider(network.ip("provider"), tmp_path, accounts=ACCOUNTS, challenge=False) as provider,
        Endpoint(network.ip("edge")) as client,
    ):
        assert register(client, provider)["CSeq"] == "1 REGISTER"
        unknown = client.register(provider.address, "nobody", "", provider.domain)
        assert unknown.status == 404


def test_a_provider_grants_less_lists_another_and_asks_for_more(
    network: Network, tmp_path: Path
) -> None:
    other = "sip:other@198.51.100.9:5060"
    with (
        Provider(
            network.ip("provider"),
            tmp_path,
            accounts=ACCOUNTS,
            grants_s=40,
            min_expires=20,
            also_lists=other,
        ) as provider,
        Endpoint(network.ip("edge")) as client,
    ):
        granted = register(client, provider, "<sip:token@192.0.2.1>")
        assert granted.contacts == [
            f"<{other}>;q=0;expires=7200",
            "<sip:token@192.0.2.1>;expires=40",
        ]
        too_brief = client.register(
            provider.address, "acct1", "secret", provider.domain, expires_s=19
        )
        assert (too_brief.status, too_brief["Min-Expires"]) == (423, "20")


def test_a_provider_refuses_while_told_to(network: Network, tmp_path: Path) -> None:
    with (
        Provider(network.ip("provider"), tmp_path, accounts=ACCOUNTS, refuses=403) as provider,
        Endpoint(network.ip("edge")) as client,
    ):
        assert register(client, provider).status == 403
        provider.accept()
        assert register(client, provider).status == 200
        provider.refuse(503)
        assert register(client, provider).status == 503
        provider.restart()
        assert register(client, provider).status == 503
        assert provider.contacts("acct1") == []


def test_an_endpoint_answers_by_hand(network: Network) -> None:
    with Endpoint(network.ip("caller")) as caller, Endpoint(network.ip("server"), 5060) as server:
        uri = f"sip:someone@{network.ip('server')}"
        caller.send(request("OPTIONS", uri, caller.address), server.address)
        asked = server.receive()
        assert (asked.method, asked.request_uri) == ("OPTIONS", uri)
        server.send(reply(asked, 404, headers=[("X-Byte", "\udcff")]), caller.address)
        answer = caller.receive()
        assert (answer.status, answer.call_id) == (404, asked.call_id)
        assert b"X-Byte: \xff" in bytes(answer)
        assert answer.source == server.address


def register(client: Endpoint, provider: Provider, contact: str | None = None) -> Message:
    return client.register(provider.address, "acct1", "secret", provider.domain, contact=contact)
