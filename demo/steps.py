"""The steps of the demo. Each prints its sentence after the assertions that prove it."""

import os
import time
from collections.abc import Sequence
from typing import Any

from testkit.calling_phone import Phone as CallingPhone
from testkit.rig import Rig
from testkit.sip import Message
from testkit.sip import request as sip_request
from testkit.sipp import Phone
from testkit.strict_uas import Behaviour
from testkit.wait import eventually
from testkit.whence import Table, trunk

ALICES_NUMBER = "+442071234567"
BOBS_NUMBER = "+442071234568"


CALLED = "+442079460000"
LINES = ("first-line", "second-line")
"""Trunks for calls out."""


class Demo:
    """A demo with one provider, two accounts, Whence, two phones and an unknown source."""

    def __init__(self, rig: Rig) -> None:
        """Use a rig; `run` starts the programs."""
        self._rig = rig
        self._sentences = 0

    def run(self) -> None:
        """Run all steps. Raises: AssertionError if a step fails."""
        self._open()
        self._two_trunks_register()
        self._addresses_are_learned()
        self._phones_register()
        self._calls_reach_their_phones()
        self._alice_calls_out()
        self._a_failed_trunk_is_passed_over()
        self._an_unknown_source_is_refused()
        self._a_forged_reply_is_ignored()
        self._a_restart_keeps_everything()
        self._removed_trunks_are_refused()

    def _open(self) -> None:
        rig = self._rig
        print(
            "A provider has two accounts of ours, acct1 and acct2. It sends the calls of both\n"
            "from one address. No header of a call proves which account it is for.\n"
        )
        self.provider = rig.provider(
            accounts={"acct1": "secret of acct1", "acct2": "secret of acct2"}, grants_s=600
        )
        self.trunks = [
            trunk(
                "alices-trunk", self.provider, "acct1", "sip:alice@edge.example", [ALICES_NUMBER]
            ),
            trunk("bobs-trunk", self.provider, "acct2", "sip:bob@edge.example", [BOBS_NUMBER]),
        ]
        self.whence = rig.whence(start=False, edge={"country": "44"})
        self.lines = [rig.strict_uas(name, self.whence.address) for name in LINES]
        self.trunks += [
            {
                "id": name,
                "registrar": f"sip:{line.address[0]}",
                "user": "acct1",
                "password": "secret",
                "target": "sip:alice@edge.example",
            }
            for name, line in zip(LINES, self.lines, strict=True)
        ]
        alice = {"name": "alice", "password": "alice's password", "trunks": list(LINES)}
        self.users: list[str | Table] = [alice, "bob"]
        self.whence.edit(trunks=self.trunks, users=self.users)
        self.whence.start()
        self._say(
            f"whence run started Kamailio and the agent with {self.whence.file.name}. "
            f"The edge listens on udp:{_place(self.whence.address)}"
        )

    def _two_trunks_register(self) -> None:
        self.whence.wait_registered()
        for account in ("acct1", "acct2"):
            contacts = self.provider.contacts(account)
            assert len(contacts) == 1, f"the registrar has {contacts} for {account}"
        self._say(
            "all trunks registered. The provider's registrar is another Kamailio, and asks for a "
            "password. It now has a contact for acct1 and one for acct2"
        )

    def _addresses_are_learned(self) -> None:
        addresses = self.whence.get("/v1/addresses")
        learned = [one for one in addresses if one["trunk"] not in LINES]
        trunks = [self.whence.trunk(str(table["id"])) for table in self.trunks[:2]]
        assert {one["trunk"] for one in learned} == {"alices-trunk", "bobs-trunk"}, learned
        assert {one["ip"] for one in learned} == {self.provider.ip}, learned
        assert all(one["origin"] == "learned" for one in learned), learned
        assert all(one["granted_s"] == 600 for one in trunks), trunks
        grace_s = [
            address["expires_at"] - one["expires_at"]
            for address, one in zip(learned, trunks, strict=True)
        ]
        assert all(abs(grace - 32) < 0.001 for grace in grace_s), grace_s
        self._say(
            f"Whence learned an address for each trunk: {self.provider.ip}, which answered the "
            f"REGISTER. It admits calls until {_clock(learned[0]['expires_at'])}. The registrar "
            "granted 600 s (of 3600 s requested), and 32 s are grace for calls on their way"
        )

    def _phones_register(self) -> None:
        self.alice = self._rig.phone("alice", self.whence)
        self.bob = self._rig.phone("bob", self.whence)
        users = {one["name"]: one["contacts"] for one in self.whence.get("/v1/users")}
        assert len(users["alice"]) == 1, users
        assert len(users["bob"]) == 1, users
        self._say("the phones of alice and bob registered at the edge, each with its password")

    def _calls_reach_their_phones(self) -> None:
        caller = self._rig.caller(self.whence, at=self.provider)
        caller.call(self._uri(ALICES_NUMBER), expect=200)
        self._only_call(self.alice, "alices-trunk")
        assert not self.bob.calls(), self.bob.calls()
        self._say(
            f"the provider called {ALICES_NUMBER}. Alice's phone rang and answered. The call had "
            "the header X-Whence-Trunk: alices-trunk"
        )
        caller.call(self._uri(BOBS_NUMBER), expect=200)
        self._only_call(self.bob, "bobs-trunk")
        assert len(self.alice.calls()) == 1, self.alice.calls()
        self._say(
            f"the provider called {BOBS_NUMBER} from the same address. Bob's phone answered. The "
            "call had the header X-Whence-Trunk: bobs-trunk"
        )

    def _alice_calls_out(self) -> None:
        phone = self._desk_phone()
        call = phone.call(CALLED)
        first, second = self.lines
        invites = first.requests("INVITE")
        assert len(invites) == 2, invites
        assert "Proxy-Authorization" in invites[1], invites[1]
        assert not second.requests("INVITE")
        assert phone.user not in str(invites[1]), invites[1]
        assert phone.ask(call, "BYE").status == 200
        assert first.faults + phone.faults == []
        self._say(
            f"alice called {CALLED}. Trunk {LINES[0]} asked for a password, and Whence answered. "
            "The trunk saw its own account, and nothing of the phone"
        )

    def _a_failed_trunk_is_passed_over(self) -> None:
        first, second = self.lines
        first.behaviour = Behaviour(503)
        phone = self._desk_phone()
        call = phone.call(CALLED)
        assert second.requests("INVITE")
        assert phone.ask(call, "BYE").status == 200
        assert second.faults + phone.faults == []
        tried = eventually(
            lambda: [one["trunk"] for one in self.whence.get("/v1/calls")[0]["tried"]],
            what="the trunks of the call",
        )
        assert tried == list(LINES), tried
        self._say(
            f"trunk {LINES[0]} answered 503 to alice's next call. Trunk {LINES[1]} got it within "
            "the same call. whence calls names both"
        )

    def _desk_phone(self) -> CallingPhone:
        """Return another phone of alice, which calls."""
        at = self._rig.endpoint("desk")
        phone = CallingPhone(at, self.whence.address, "alice", "alice's password", "edge.example")
        return phone

    def _an_unknown_source_is_refused(self) -> None:
        unknown_source = self._rig.unknown_source()
        refusal = unknown_source.ask(
            sip_request("INVITE", self._uri(ALICES_NUMBER), unknown_source.address),
            self.whence.address,
        )
        assert refusal.status == 403, refusal
        names = {name.lower() for name, _ in refusal.headers}
        assert names == {"via", "from", "to", "call-id", "cseq", "content-length"}, refusal
        assert len(self.alice.calls()) == 1, self.alice.calls()
        explained = self.whence.explain(
            f"udp:{_place(unknown_source.address)}", self._uri(ALICES_NUMBER)
        )
        assert explained["decision"] == "unknown", explained
        self._say(
            "an unknown source called alice's number. It got a 403 without detail, and no phone "
            f"rang. whence explain gives the reason: {explained['message']}"
        )

    def _a_forged_reply_is_ignored(self) -> None:
        before = self.whence.get("/v1/addresses")
        unknown_source = self._rig.unknown_source()
        seen = self.provider.registers()[-1]
        for edge in (self.whence.address, self.whence.agent_socket):
            unknown_source.send(_forged_200(seen.call_id, seen.cseq, seen.contact, edge), edge)
        # The edge answers this call after it has read the forgeries.
        refusal = unknown_source.ask(
            sip_request("INVITE", self._uri(ALICES_NUMBER), unknown_source.address),
            self.whence.address,
        )
        assert refusal.status == 403, refusal
        after = self.whence.get("/v1/addresses")
        assert after == before, f"{before} became {after}"
        self._say(
            "the unknown source forged a 200 OK to a REGISTER, with a source header and with all "
            "values of the real REGISTER. Whence learned nothing from it. Its next call got a 403"
        )

    def _a_restart_keeps_everything(self) -> None:
        registers, users = len(self.provider.registers()), self.whence.get("/v1/users")
        pids = [self.whence.agent_pid(), *self.whence.kamailio_pids()]
        self.whence.kill_run()
        eventually(lambda: not any(map(_runs, pids)), what="the end of agent and Kamailio")
        self.whence.start()
        caller = self._rig.caller(self.whence, at=self.provider)
        caller.call(self._uri(BOBS_NUMBER), expect=200)
        assert len(self.bob.calls()) == 2, self.bob.calls()
        assert len(self.provider.registers()) == registers, self.provider.registers()[registers:]
        assert self.whence.get("/v1/users") == users, "a phone registered again"
        self._say(
            "kill -9 ended whence run, Kamailio and the agent. After a new start the provider's "
            "next call reached bob. No trunk and no phone had to register again"
        )

    def _removed_trunks_are_refused(self) -> None:
        self.whence.edit(trunks=[], users=["alice", "bob"])
        self.whence.reload()
        eventually(
            lambda: not self.provider.contacts("acct1") and not self.provider.contacts("acct2"),
            what="no contact at the provider",
        )
        assert self.whence.get("/v1/addresses") == []
        caller = self._rig.caller(self.whence, at=self.provider)
        caller.call(self._uri(ALICES_NUMBER), expect=403)
        assert len(self.alice.calls()) == 1, self.alice.calls()
        self._say(
            "all trunks were removed from the file, and SIGHUP reloaded it. Whence unregistered "
            "them, and their addresses ended at once. The provider's next call got a 403"
        )

    def restore_trunks(self) -> None:
        """Write the trunks into the file again, for a reader who tries commands."""
        self.whence.edit(trunks=self.trunks, users=self.users)
        self.whence.reload()
        eventually(lambda: len(self.whence.get("/v1/trunks")) == 4, what="four trunks")
        self.whence.wait_registered()

    def commands(self) -> str:
        """Return the commands that a reader can try while the demo runs."""
        whence, api = ".venv/bin/whence", f"--api {self.whence.api}"
        run = self.whence.process.pid if self.whence.process else 0
        source = f"--source udp:{self.provider.ip}:5060"
        return "\n".join(
            [
                "",
                "The demo runs, with all trunks in the file again. Try these in another terminal:",
                f"  {whence} trunks {api}",
                f"  {whence} addresses {api}",
                f"  {whence} users {api}",
                f"  {whence} explain {source} --ruri {self._uri(BOBS_NUMBER)} {api}",
                f"  {whence} explain {source} --ruri {self._uri('+440000000000')} {api}",
                f"  kill -9 {self.whence.kamailio_pids()[0]}      # ends Kamailio; it is restarted",
                f"  kill -HUP {run}     # reload, after a change of {self.whence.file}",
                f"  less {self._rig.directory}/{self.whence.name}.log",
                f"The API describes itself at {self.whence.api}/docs. Ctrl-C ends the demo.",
            ]
        )

    def _uri(self, number: str) -> str:
        return f"sip:{number}@{_place(self.whence.address)}"

    def _only_call(self, phone: Phone, trunk_id: str) -> None:
        calls = phone.calls()
        assert len(calls) == 1, calls
        trunks: Sequence[str] = calls[0].all("X-Whence-Trunk")
        assert trunks == [trunk_id], calls[0]

    def _say(self, sentence: str) -> None:
        self._sentences += 1
        print(f"{self._sentences:2}. {sentence[:1].upper()}{sentence[1:]}.", flush=True)


def _forged_200(call_id: str, cseq: int, contact: str, edge: tuple[str, int]) -> Message:
    """Make the 200 OK to our REGISTER that an unknown source could forge after it saw one."""
    return Message(
        "SIP/2.0 200 OK",
        (
            ("Via", f"SIP/2.0/UDP {_place(edge)};branch=z9hG4bKforged.0"),
            ("Via", f"SIP/2.0/UDP {edge[0]}:5062;branch=z9hG4bKforged.1"),
            ("Via", f"SIP/2.0/UDP {edge[0]}:5063;branch=z9hG4bKforged"),
            ("From", "<sip:acct1@provider.example>;tag=forged"),
            ("To", "<sip:acct1@provider.example>;tag=forged"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} REGISTER"),
            ("Contact", contact),
            ("X-Whence-Source", "udp:127.0.0.9:5060"),
            ("X-Whence-Mac", "0" * 32),
            ("Content-Length", "0"),
        ),
    )


def _place(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _clock(at: Any) -> str:
    return time.strftime("%H:%M:%S", time.localtime(float(at)))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
