"""Faults that `whence drop-in` names and `kamailio -c` accepts, on a real Kamailio.

Each test shows the fault, then the sentence, and then that following the sentence mends it.
"""

import re

import pytest

from testkit.drop_in import TABLES, DropIn
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, reply, request
from testkit.wait import eventually
from tests.system.drop_in import ACCOUNTS, USERS, alices, registered

RESTORE_NONE = 'modparam("uac", "restore_mode", "none")\n'
CONTACT = 'modparam("uac", "reg_contact_addr", '
STOPS = "Kamailio does not start; "


def advised(native: DropIn, output: str) -> None:
    """Add the first modparam that the sentence with STOPS says to write."""
    (sentence,) = [line for line in output.splitlines() if STOPS in line]
    written = re.search(r'write (modparam\("\w+", "\w+", (?:"[^"]*"|\d+)\))', sentence)
    assert written is not None, sentence
    native.edit(
        "####### Routing Logic ########\n", f"{written[1]}\n####### Routing Logic ########\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(RESTORE_NONE, "", "rr: append_fromtag is 0", id="append_fromtag"),
        pytest.param(
            RESTORE_NONE,
            RESTORE_NONE.replace("none", "sometimes"),
            "uac: restore_mode is none of auto, manual and none",
            id="restore_mode",
        ),
        pytest.param(
            RESTORE_NONE,
            RESTORE_NONE.replace("none", "manual") + 'modparam("uac", "rr_to_store_param", "")\n',
            "uac: rr_to_store_param is empty",
            id="store_param",
        ),
        pytest.param(
            RESTORE_NONE,
            RESTORE_NONE.replace("none", "manual")
            + 'modparam("uac", "restore_from_avp", "$var(x)")\n',
            "uac: restore_from_avp is no $avp(name)",
            id="restore_avp",
        ),
        pytest.param(
            RESTORE_NONE,
            RESTORE_NONE.replace("none", "auto") + 'modparam("uac", "restore_dlg", 1)\n',
            "uac: restore_dlg is set, and module dialog is not loaded",
            id="restore_dlg",
        ),
        pytest.param(
            CONTACT,
            'modparam("uac", "reg_db_table", "uacreg")\n#',
            "reg_contact_addr is not",
            id="contact",
        ),
    ],
)
def test_drop_in_names_what_keeps_kamailio_from_starting(
    rig: Rig, old: str, new: str, message: str
) -> None:
    native = rig.drop_in(records=[], users=USERS, start=False)
    native.edit(old, new)
    output = native.install(native.folder.parent)
    assert message in output
    assert native.check() == 0, "kamailio -c accepts it"
    assert "mod_init" in native.fails_to_start()
    if "restore_dlg" in new:
        native.edit('modparam("uac", "restore_dlg", 1)\n', RESTORE_NONE)
    else:
        advised(native, output)
    assert STOPS not in native.install(native.folder.parent)
    native.start()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            'modparam("uac", "reg_timer_interval", 1)\n',
            'modparam("uac", "reg_timer_interval", 1)\n'
            'modparam("uac", "default_socket", "udp:192.0.2.1:5060")\n',
            "uac: default_socket is no listen socket",
            id="default_socket",
        ),
        pytest.param(
            RESTORE_NONE,
            RESTORE_NONE + 'modparam("uac", "auth_realm_avp", "$avp(r)")\n',
            "uac: auth_username_avp, auth_password_avp is not set",
            id="auth_avps",
        ),
    ],
)
def test_drop_in_names_a_line_to_remove(rig: Rig, old: str, new: str, message: str) -> None:
    native = rig.drop_in(records=[], users=USERS, start=False)
    native.edit(old, new)
    assert message in native.install(native.folder.parent)
    assert native.check() == 0
    assert "mod_init" in native.fails_to_start()
    native.edit(new, old)
    native.start()


def test_drop_in_names_uac_before_tm(rig: Rig) -> None:
    native = rig.drop_in(records=[], users=USERS, start=False)
    native.edit('loadmodule "uac.so"\n', "")
    native.edit('loadmodule "tm.so"\n', 'loadmodule "uac.so"\nloadmodule "tm.so"\n')
    assert "uac is loaded before tm: Kamailio does not start" in native.install(
        native.folder.parent
    )
    assert native.check() == 0
    assert "can't load TM API" in native.fails_to_start()


def provider(rig: Rig) -> Provider:
    return rig.provider("provider", accounts=ACCOUNTS)


def rings(rig: Rig, native: DropIn, caller: Endpoint, at: Endpoint) -> None:
    """Make a call from the provider that arrives at an endpoint, which refuses it."""
    call = request("INVITE", f"sip:acct1@{native.address[0]}", caller.address)
    caller.send(call, native.address)
    arrived = at.expect(lambda m: m.call_id == call.call_id, what="the call")
    at.send(reply(arrived, 486), native.address)
    caller.expect(lambda m: m.status == 486, what="the refusal")


def test_l_domain_that_is_no_alias_sends_calls_away(rig: Rig) -> None:
    there, elsewhere = provider(rig), rig.endpoint("elsewhere", 5060)
    native = rig.drop_in(records=[alices(there)], users=USERS, start=False)
    native.update("uacreg", l_domain=elsewhere.address[0])
    output = native.install(native.folder.parent)
    assert f"table uacreg: trunk-of-alice: l_domain {elsewhere.address[0]} is no alias" in output
    native.start()
    registered(native, "trunk-of-alice")
    alice = rig.endpoint("phone of alice", 5060)
    ip = native.address[0]
    assert alice.register(native.address, "alice", USERS["alice"], ip).status == 200
    caller = rig.endpoint(there.name)
    rings(rig, native, caller, elsewhere)
    eventually(lambda: "uri==myself is false for sip:alice@" in native.log, what="a log line")
    native.stop()
    warnings = native.log.count("uri==myself is false")
    native.edit("#!define WITH_AUTH\n", f"#!define WITH_AUTH\nalias={elsewhere.address[0]}\n")
    assert "l_domain" not in native.install(native.folder.parent)
    native.start()
    registered(native, "trunk-of-alice")
    assert alice.register(native.address, "alice", USERS["alice"], ip).status == 200
    rings(rig, native, caller, alice)
    assert native.log.count("uri==myself is false") == warnings


def test_phone_at_another_domain_gets_no_call_with_use_domain(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(
        records=[alices(there)],
        users=USERS,
        settings="#!define WITH_MULTIDOMAIN\nalias=edge.example\n",
        start=False,
    )
    for statement in (TABLES / "domain-create.sql").read_text().split(";\n"):
        native.execute(statement)
    preload = 'modparam("usrloc", "preload", "location")\n'
    native.edit(preload, f'{preload}modparam("usrloc", "timer_interval", 1)\n')  # writes soon
    native.update("uacreg", l_domain="edge.example")
    native.start()
    registered(native, "trunk-of-alice")
    alice, caller = rig.endpoint("phone of alice", 5060), rig.endpoint(there.name)
    ip = native.address[0]
    assert alice.register(native.address, "alice", USERS["alice"], ip).status == 200

    def named() -> bool:
        output = native.install(native.folder.parent)
        return f"phones of alice registered at {ip}, and l_domain is edge.example" in output

    eventually(named, what="the contact is in the table")
    call = request("INVITE", f"sip:acct1@{ip}", caller.address)
    assert caller.ask(call, native.address).status == 404
    native.stop()
    native.update("uacreg", l_domain=ip)
    assert not named()
    native.start()
    registered(native, "trunk-of-alice")
    rings(rig, native, caller, alice)


ROW: dict[str, str | int] = {
    "l_username": "bob",
    "r_username": "acct2",
    "r_domain": "provider.example",
    "realm": "",
    "auth_username": "acct2",
    "auth_password": ACCOUNTS["acct2"],
    "auth_ha1": "",
    "expires": 60,
    "flags": 0,
    "reg_delay": 0,
    "contact_addr": "",
    "socket": "",
}
IGNORED: dict[str, dict[str, str | int]] = {
    "no-proxy": {"auth_proxy": ""},
    "no-user": {"l_username": ""},
    "no-domain": {"l_domain": ""},
    "no-password": {"auth_password": ""},
    "short-ha1": {"auth_ha1": "abc"},
}
UNSENT: dict[str, dict[str, str | int]] = {
    "no-scheme": {"auth_proxy": "127.0.0.1:5060"},
    "tcp": {"auth_proxy": "sip:127.0.0.1:5060;transport=tcp"},
    "tls": {"auth_proxy": "sips:127.0.0.1:5061"},
    "ipv6": {"auth_proxy": "sip:[2001:db8::1]"},
}
IDLE: dict[str, dict[str, str | int]] = {"disabled": {"flags": 1}, "no-expires": {"expires": 0}}


def test_drop_in_names_the_accounts_that_uac_does_not_register(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(records=[alices(there)], users=USERS, start=False)
    for l_uuid, wrong in {**IGNORED, **UNSENT, **IDLE}.items():
        proxy = {"auth_proxy": f"sip:{there.ip}", "l_domain": native.address[0]}
        row: dict[str, str | int] = {"l_uuid": l_uuid, **ROW, **proxy, **wrong}
        native.execute(
            f"INSERT INTO uacreg ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            *row.values(),
        )
    output = native.install(native.folder.parent)
    named = {
        l_uuid
        for found in re.findall(r"table uacreg: ([^:]+): ", output)
        for l_uuid in found.split(", ")
    }
    assert named == {*IGNORED, *UNSENT, *IDLE}
    native.start()
    registered(native, "trunk-of-alice")
    known = {account["l_uuid"] for account in native.rpc("uac.reg_dump")["result"]}
    assert known == {"trunk-of-alice", *UNSENT, *IDLE}
    for l_uuid in UNSENT:
        assert f"failed to send request for [{l_uuid}]" in native.log
    for l_uuid in IDLE:
        assert int(native.rpc("uac.reg_info", "l_uuid", l_uuid)["result"]["flags"]) in (0, 1)


OWN_REPLY_ROUTE = """onreply_route[MINE] { xlog("L_NOTICE", "mine\\n"); }
event_route[tm:local-request] {
	python_exec("whence_local_request");
	t_on_reply("MINE");
}
"""
ONLINE = 4
"""A flag of a uac account."""


def test_reply_route_after_our_handler_learns_nothing(rig: Rig) -> None:
    native = rig.drop_in(
        records=[alices(provider(rig))], users=USERS, own_event_route=OWN_REPLY_ROUTE
    )
    assert "t_on_reply replaces the route of the include" in native.install(native.folder.parent)

    def is_online() -> bool:
        account = native.rpc("uac.reg_info", "l_uuid", "trunk-of-alice")["result"]
        return bool(int(account["flags"]) & ONLINE)

    eventually(is_online, what="uac is registered")
    assert native.states() == {}
    native.stop()
    call = '\tpython_exec("whence_local_request");\n'
    native.edit(f'{call}\tt_on_reply("MINE");\n', f'\tt_on_reply("MINE");\n{call}')
    assert "t_on_reply" not in native.install(native.folder.parent)
    native.start()
    registered(native, "trunk-of-alice")


def test_pike_before_route_whence_blocks_a_provider(rig: Rig) -> None:
    there = provider(rig)
    native = rig.drop_in(
        records=[alices(there)], users=USERS, settings="#!define WITH_ANTIFLOOD\n", start=False
    )
    output = native.install(native.folder.parent)
    assert "pike_check_req counts the requests of your providers" in output
    native.start()
    registered(native, "trunk-of-alice")
    caller = rig.endpoint(there.name)

    def is_blocked() -> bool:
        caller.send(request("OPTIONS", f"sip:{native.address[0]}", caller.address), native.address)
        return "pike blocking" in native.log

    eventually(is_blocked, what="the provider is blocked")
    native.stop()
    blocked = native.log.count("pike blocking")
    native.edit('"reqs_density_per_unit", 16', '"reqs_density_per_unit", 1000')
    assert "pike_check_req" not in native.install(native.folder.parent)
    native.start()
    registered(native, "trunk-of-alice")
    for _ in range(40):
        caller.ask(request("OPTIONS", f"sip:{native.address[0]}", caller.address), native.address)
    assert native.log.count("pike blocking") == blocked


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE version SET table_version = 4 WHERE table_name = 'uacreg'", "has version 4"),
        ("DROP TABLE uacreg", "no such table: uacreg"),
        ("DELETE FROM uacreg", "has no row"),
    ],
)
def test_drop_in_names_a_table_that_uac_cannot_read(rig: Rig, statement: str, message: str) -> None:
    native = rig.drop_in(records=[alices(provider(rig))], users=USERS, start=False)
    assert "table uacreg" not in native.install(native.folder.parent)
    native.execute(statement)
    output = native.install(native.folder.parent)
    assert message in output
    assert "uac registers nothing" in output
    assert native.check() == 0
    native.start()
    assert native.rpc("uac.reg_dump").get("result", []) == []
