"""The story that the demo tells. Each sentence is said after the assertion behind it."""

import os
import time
from collections.abc import Sequence
from typing import Any

from testkit.rig import Rig
from testkit.sip import Message
from testkit.sip import request as sip_request
from testkit.sipp import Phone
from testkit.wait import eventually
from testkit.whence import trunk

ALICES_NUMBER = "+442071234567"
BOBS_NUMBER = "+442071234568"


class Story:
    """One provider with two accounts, Whence, two phones, an unknown source."""

    def __init__(self, rig: Rig) -> None:
        """Start nothing yet."""
        self._rig = rig
        self._sentences = 0

    def tell(self) -> None:
        """Run it all, and tell it. AssertionError where it does not go as told."""
        self._open()
        self._two_trunks_register()
        self._an_address_is_learned()
        self._phones_register()
        self._calls_reach_their_phones()
        self._an_unknown_source_is_refused()
        self._a_forged_reply_admits_nobody()
        self._a_restart_forgets_nothing()
        self._a_trunk_taken_away_is_not_identified()

    def _open(self) -> None:
        rig = self._rig
        print(
            "A provider has two accounts of ours, acct1 and acct2, and sends the calls of both\n"
            "from one address. Nothing in a call says which account it is for.\n"
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
        self.whence = rig.whence(trunks=self.trunks, users=["alice", "bob"])
        self._say(
            f"whence run started Kamailio and the agent on {self.whence.file.name}; "
            f"the edge listens on udp:{_place(self.whence.address)}"
        )

    def _two_trunks_register(self) -> None:
        self.whence.wait_registered()
        for account in ("acct1", "acct2"):
            held = self.provider.contacts(account)
            assert len(held) == 1, f"the registrar holds {held} for {account}"
        self._say(
            "both trunks registered: the provider's registrar, a Kamailio of its own that asks for "
            "a password, now holds a contact for acct1 and one for acct2"
        )

    def _an_address_is_learned(self) -> None:
        learned = self.whence.get("/v1/addresses")
        trunks = [self.whence.trunk(str(table["id"])) for table in self.trunks]
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
            f"learned for each of them: calls may come from {self.provider.ip}, which answered the "
            f"REGISTER, until {_clock(learned[0]['expires_at'])}: the 600 s that the registrar "
            "granted (3600 were asked for), and 32 s of grace for calls in flight"
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
            f"the provider called {ALICES_NUMBER}, alice's phone rang and answered; the call said "
            "X-Whence-Trunk: alices-trunk"
        )
        caller.call(self._uri(BOBS_NUMBER), expect=200)
        self._only_call(self.bob, "bobs-trunk")
        assert len(self.alice.calls()) == 1, self.alice.calls()
        self._say(
            f"the provider called {BOBS_NUMBER} from the same address, and bob's phone answered; "
            "the call said X-Whence-Trunk: bobs-trunk"
        )

    def _an_unknown_source_is_refused(self) -> None:
        unknown_source = self._rig.unknown_source()
        refusal = unknown_source.ask(
            sip_request("INVITE", self._uri(ALICES_NUMBER), unknown_source.address),
            self.whence.address,
        )
        assert refusal.status == 403, refusal
        told = {name.lower() for name, _ in refusal.headers}
        assert told == {"via", "from", "to", "call-id", "cseq", "content-length"}, refusal
        assert len(self.alice.calls()) == 1, self.alice.calls()
        asked = self.whence.explain(
            f"udp:{_place(unknown_source.address)}", self._uri(ALICES_NUMBER)
        )
        assert asked["decision"] == "unknown", asked
        self._say(
            "an unknown source called alice's number: 403, with nothing in it; no phone rang. "
            f"whence explain says why: {asked['message']}"
        )

    def _a_forged_reply_admits_nobody(self) -> None:
        before = self.whence.get("/v1/addresses")
        unknown_source = self._rig.unknown_source()
        seen = self.provider.registers()[-1]
        for edge in (self.whence.address, self.whence.agent_socket):
            unknown_source.send(_forged_200(seen.call_id, seen.cseq, seen.contact, edge), edge)
        # What the edge is asked after the forgeries, it answers after it has read them.
        refusal = unknown_source.ask(
            sip_request("INVITE", self._uri(ALICES_NUMBER), unknown_source.address),
            self.whence.address,
        )
        assert refusal.status == 403, refusal
        after = self.whence.get("/v1/addresses")
        assert after == before, f"{before} became {after}"
        self._say(
            "the unknown source forged a 200 OK to a REGISTER, with a stamp that it made itself "
            "and with all that was seen on the wire: nothing was learned, its next call got 403"
        )

    def _a_restart_forgets_nothing(self) -> None:
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
            "kill -9 ended everything; after a new start the provider's next call reached bob, "
            "and nobody had sent a REGISTER: neither the trunks nor the phones"
        )

    def _a_trunk_taken_away_is_not_identified(self) -> None:
        self.whence.edit(trunks=[])
        self.whence.reload()
        eventually(
            lambda: not self.provider.contacts("acct1") and not self.provider.contacts("acct2"),
            what="nothing registered at the provider",
        )
        assert self.whence.get("/v1/addresses") == []
        caller = self._rig.caller(self.whence, at=self.provider)
        caller.call(self._uri(ALICES_NUMBER), expect=403)
        assert len(self.alice.calls()) == 1, self.alice.calls()
        self._say(
            "both trunks were taken out of the file (SIGHUP): they were unregistered, "
            "their addresses ended at once, and the provider's next call was refused with 403"
        )

    def put_back(self) -> None:
        """Write the trunks into the file again, so that there is something to try."""
        self.whence.edit(trunks=self.trunks)
        self.whence.reload()
        eventually(lambda: len(self.whence.get("/v1/trunks")) == 2, what="two trunks again")
        self.whence.wait_registered()

    def commands(self) -> str:
        """What a reader can try on it while it runs."""
        whence, api = ".venv/bin/whence", f"--api {self.whence.api}"
        run = self.whence.process.pid if self.whence.process else 0
        source = f"--source udp:{self.provider.ip}:5060"
        return "\n".join(
            [
                "",
                "It runs, with both trunks back in the file. Try, in another terminal:",
                f"  {whence} trunks {api}",
                f"  {whence} addresses {api}",
                f"  {whence} users {api}",
                f"  {whence} explain {source} --ruri {self._uri(BOBS_NUMBER)} {api}",
                f"  {whence} explain {source} --ruri {self._uri('+440000000000')} {api}",
                f"  kill -9 {self.whence.kamailio_pids()[0]}      # Kamailio; it comes back",
                f"  kill -HUP {run}     # after a change of {self.whence.file}",
                f"  less {self._rig.directory}/{self.whence.name}.log",
                f"The API's own page: {self.whence.api}/docs. Ctrl-C ends everything.",
            ]
        )

    def _uri(self, number: str) -> str:
        return f"sip:{number}@{_place(self.whence.address)}"

    def _only_call(self, phone: Phone, trunk_id: str) -> None:
        calls = phone.calls()
        assert len(calls) == 1, calls
        said: Sequence[str] = calls[0].all("X-Whence-Trunk")
        assert said == [trunk_id], calls[0]

    def _say(self, sentence: str) -> None:
        self._sentences += 1
        print(f"{self._sentences:2}. {sentence[:1].upper()}{sentence[1:]}.", flush=True)


def _forged_200(call_id: str, cseq: int, contact: str, edge: tuple[str, int]) -> Message:
    """A 200 OK to a REGISTER of ours, as an unknown source that saw it would make it."""
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
