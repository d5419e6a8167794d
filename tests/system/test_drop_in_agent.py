"""The drop-in with `whence agent --track-only`, which registers nothing."""

from testkit.drop_in import DropIn, Record
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, reply, request
from testkit.tracking import Tracking
from testkit.wait import eventually

USERS = {"alice": "alice's secret", "bob": "bob's secret"}
ACCOUNTS = {"acct1": "secret of acct1", "acct2": "secret of acct2"}
ALICES, BOBS = "+442071234567", "+441614960000"


def records(there: Provider, bobs: Provider | None = None) -> list[Record]:
    return [
        Record("trunk-of-alice", "alice", "acct1", there),
        Record("trunk-of-bob", "bob", "acct2", bobs or there),
    ]


def registered(native: DropIn) -> None:
    eventually(
        lambda: list(native.states().values()) == ["registered"] * 2, what="both registrations"
    )


def phone(rig: Rig, native: DropIn, user: str) -> Endpoint:
    endpoint = rig.endpoint(f"phone of {user}", 5060)
    assert endpoint.register(native.address, user, USERS[user], native.address[0]).status == 200
    return endpoint


def call(who: Endpoint, native: DropIn, user: str) -> Message:
    return request("INVITE", f"sip:{user}@{native.address[0]}", who.address)


def refused(who: Endpoint, native: DropIn, user: str) -> str:
    """Make a call that is refused, and return its Call-ID."""
    asked = call(who, native, user)
    assert who.ask(asked, native.address).status in (403, 404, 407)
    return asked.call_id


def rings(who: Endpoint, native: DropIn, user: str, at: Endpoint) -> str:
    """Make a call that a phone answers with 486, and return its Call-ID."""
    asked = call(who, native, user)
    who.send(asked, native.address)
    arrived = at.expect(lambda m: m.call_id == asked.call_id, what="the call at the phone")
    at.send(reply(arrived, 486), native.address)
    who.expect(lambda m: m.status == 486, what="the refusal")
    return asked.call_id


def test_agent_shows_trunks_and_explains_a_refused_call(rig: Rig) -> None:
    there = rig.provider(accounts=ACCOUNTS)
    native = rig.drop_in(records=records(there), users=USERS)
    with Tracking(native) as agent:
        registered(native)
        trunks = agent.output("trunks")
        assert all(one in trunks for one in ("trunk-of-alice", "trunk-of-bob", "registered"))
        addresses = agent.output("addresses")
        assert addresses.count(there.ip) == 2
        assert "learned" in addresses
        eventually(lambda: agent.status("/healthz") == 200, what="a healthy agent")

        caller, alice = rig.endpoint(there.name), phone(rig, native, "alice")
        ambiguous = refused(caller, native, ALICES)
        eventually(lambda: agent.cli("explain", "--call", ambiguous).returncode == 0)
        output = agent.output("explain", "--call", ambiguous)
        assert "it was refused: ambiguous" in output
        assert "trunks: trunk-of-alice, trunk-of-bob" in output
        eventually(
            lambda: [event["kind"] for event in agent.get("/v1/alarms")] == ["conflict"],
            what="the alarm about the conflict",
        )

        agent.write(f'[numbers]\ntrunk-of-alice = ["{ALICES}"]\ntrunk-of-bob = ["{BOBS}"]\n')
        assert "trunk-of-alice" in agent.output("reload")
        assert "now it would be identified as trunk trunk-of-alice" in (
            agent.output("explain", "--call", ambiguous)
        )
        given = rings(caller, native, ALICES, alice)
        eventually(
            lambda: (
                f"number {ALICES[1:]}" in agent.output("explain", "--call", given)
                or "it was identified as trunk trunk-of-alice"
                in agent.output("explain", "--call", given)
            )
        )
        assert 'decision="identified",rule="number",trunk="trunk-of-alice"} 1.0' in agent.metrics()
        assert 'whence_registrations{state="registered"} 2.0' in agent.metrics()
        eventually(lambda: agent.output("conflicts").startswith("no "), what="no conflict")


def test_numbers_are_installed_without_an_agent(rig: Rig) -> None:
    there = rig.provider(accounts=ACCOUNTS)
    native = rig.drop_in(records=records(there), users=USERS)
    registered(native)
    caller, bob = rig.endpoint(there.name), phone(rig, native, "bob")
    refused(caller, native, BOBS)
    (native.folder / "drop-in.toml").write_text(f'[numbers]\ntrunk-of-bob = ["{BOBS}"]\n')
    assert "the numbers of 1 trunk," in native.install(native.folder.parent)
    rings(caller, native, BOBS, bob)


def test_unknown_source_is_allowed_and_raises_an_alarm(rig: Rig) -> None:
    there = rig.provider(accounts=ACCOUNTS)
    native = rig.drop_in(records=records(there), users=USERS)
    with Tracking(native) as agent:
        registered(native)
        alice, unknown_source = phone(rig, native, "alice"), rig.unknown_source()
        for _ in range(4):
            refused(unknown_source, native, "acct1")
        source = f"udp:{unknown_source.address[0]}:{unknown_source.address[1]}"
        eventually(lambda: source in agent.output("unknown"), what="the unknown source in the list")
        eventually(
            lambda: "many_unknown_requests" in {event["kind"] for event in agent.get("/v1/alarms")},
            what="the alarm about many requests",
        )
        output = agent.output("allow", source, "--trunk", "trunk-of-alice", "--for", "1h")
        assert "is allowed as trunk trunk-of-alice" in output
        rings(unknown_source, native, "anything", alice)
        assert "pinned" in agent.output("addresses")
        assert "allowed" in agent.output("trunk", "trunk-of-alice")


def test_agent_reports_wrong_tokens_and_expirations(rig: Rig) -> None:
    there = rig.provider(accounts=ACCOUNTS, grants_s=3)
    other = rig.provider("other", accounts=ACCOUNTS)
    native = rig.drop_in(records=records(there, other), users=USERS, retry_s=3600, grace_s=0)
    with Tracking(native) as agent:
        registered(native)
        refused(rig.endpoint(other.name), native, "trunk-of-alice")
        there.refuse(403)
        other.refuse(403)

        def kinds() -> set[str]:
            return {event["kind"] for event in agent.get("/v1/alarms")}

        expected = {"token_from_wrong_source", "registration_expired"}
        eventually(lambda: expected <= kinds(), what="both alarms")
        eventually(lambda: "whence_registrations_active 1.0" in agent.metrics())
        native.rpc("uac.reg_unregister", "l_uuid", "trunk-of-bob")
        eventually(lambda: agent.status("/healthz") == 503, what="no registration")
        ordered = agent.cli("register", "trunk-of-alice")
        assert ordered.returncode == 1
        assert "kamcmd uac.reg_refresh s:trunk-of-alice" in ordered.stderr
        there.accept()
        native.rpc("uac.reg_refresh", "trunk-of-alice")
        eventually(lambda: agent.status("/healthz") == 200, what="the new registration")


def test_drop_in_command_describes_the_running_kamailio(rig: Rig) -> None:
    there = rig.provider(accounts=ACCOUNTS, grants_s=3)
    native = rig.drop_in(records=records(there), users=USERS, retry_s=0)
    registered(native)
    output = native.install(native.folder.parent)
    assert "all lines to add are present" in output
    assert "uac: reg_retry_interval is 0" in output
    assert "trunk-of-alice is granted 3 s" in output
    assert "does not run on this file" not in output
    assert not any(secret in output for secret in ACCOUNTS.values())
