"""A user's phone: it calls, and checks that answers have the headers of its own requests."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from testkit.sip import (
    Address,
    Endpoint,
    Headers,
    Message,
    acknowledgement,
    authorization,
    reply,
    request,
)
from testkit.wait import PATIENCE_S

SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
STALE_S = 0.05


@dataclass
class Dialog:
    """A call of the phone."""

    invite: Message
    answer: Message
    cseq: int
    target: str
    arrived: list[Message] = field(default_factory=list)

    @property
    def routes(self) -> Headers:
        return [("Route", value) for value in reversed(self.answer.all("Record-Route"))]


@dataclass
class Phone:
    """A phone of a local user. `faults` has what was wrong with the answers that it got."""

    at: Endpoint
    edge: Address
    user: str
    password: str
    domain: str
    faults: list[str] = field(default_factory=list)
    tag: str = "callee"
    """Its tag in calls that it accepts."""
    display: str = '"Our Private Name" '

    @property
    def aor(self) -> str:
        return f"sip:{self.user}@{self.domain}"

    @property
    def contact(self) -> str:
        return f"<sip:{self.user}@{self.at.address[0]}:{self.at.address[1]};ob>"

    def invite(self, uri: str, *, cseq: int = 1, headers: Headers = (), **parts: str) -> Message:
        """Make an INVITE, without credentials."""
        made = request(
            "INVITE",
            uri,
            self.at.address,
            from_uri=parts.pop("from_uri", self.aor),
            contact=self.contact,
            cseq=cseq,
            headers=headers,
            body=SDP,
            **parts,
        )
        fields = [(n, self.display + v if n == "From" else v) for n, v in made.headers]
        return Message(made.start_line, tuple(fields), made.body)

    def send_call(self, number: str, *, invite: Message | None = None) -> Message:
        """Call a number, answer the edge's challenge, and return the INVITE that it accepted."""
        sent = invite or self.invite(self.uri(number))
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            self.at.send(sent, self.edge)
            challenge = self.at.expect(self._answers(sent, lambda s: True), what="an answer")
            if challenge.status != 407:
                assert challenge.status == 100, challenge.start_line
                return sent
            self.at.send(acknowledgement(sent, challenge), self.edge)
            if "stale=true" in challenge["Proxy-Authenticate"]:
                time.sleep(STALE_S)  # Kamailio 6 treats the nonces of its first second as stale
            sent = self.authorized(sent, challenge)
        raise AssertionError("the edge accepted no call")

    def authorized(
        self, sent: Message, challenge: Message, password: str = "", only: str = ""
    ) -> Message:
        """Return the INVITE again, with the answer to a challenge, or to that of *only*."""
        secret = password or self.password
        uri = sent.request_uri
        header = authorization(challenge, "INVITE", uri, self.user, secret, only=only)
        number = int(sent["CSeq"].split()[0]) + 1
        via = re.sub("branch=.*", f"branch=z9hG4bK{secrets.token_hex(8)}", sent["Via"])
        new = {"CSeq": f"{number} INVITE", "Via": via}
        fields = [(n, new.get(n, v)) for n, v in sent.headers if n != "Proxy-Authorization"]
        return Message(sent.start_line, (*fields[:-1], header, fields[-1]), sent.body)

    def uri(self, number: str) -> str:
        return number if ":" in number else f"sip:{number}@{self.domain}"

    def final(self, sent: Message, within_s: float = PATIENCE_S) -> Message:
        """Return the final answer to an INVITE, and acknowledge a refusal."""
        answer = self.at.expect(
            self._answers(sent, lambda status: status >= 200), within_s, "the final answer"
        )
        self.check(sent, answer)
        if answer.status >= 300:
            self.at.send(acknowledgement(sent, answer), self.edge)
        return answer

    def ringing(self, sent: Message) -> Message:
        """Return the 180 to an INVITE."""
        answer = self.at.expect(self._answers(sent, lambda s: s == 180), what="ringing")
        self.check(sent, answer)
        return answer

    def early(self, sent: Message) -> Dialog:
        """Wait for the 180 to an INVITE, and return the early dialog."""
        answer = self.ringing(sent)
        return Dialog(sent, answer, int(sent["CSeq"].split()[0]), uri_of(answer["Contact"]))

    def call(self, number: str, *, invite: Message | None = None) -> Dialog:
        """Call a number, and acknowledge its answer."""
        sent = self.send_call(number, invite=invite)
        return self.answered(sent)

    def answered(self, sent: Message) -> Dialog:
        """Wait for the 200 to an INVITE, and acknowledge it."""
        answer = self.final(sent)
        assert answer.status == 200, answer.start_line
        dialog = Dialog(sent, answer, int(sent["CSeq"].split()[0]), uri_of(answer["Contact"]))
        self.at.send(self.request(dialog, "ACK"), self.edge)
        return dialog

    def refused(self, number: str, *, invite: Message | None = None) -> Message:
        """Call a number, and return the final answer, also one of the edge itself."""
        sent = invite or self.invite(self.uri(number))
        while True:
            self.at.send(sent, self.edge)
            answer = self.final(sent)
            if answer.status != 407 or "Proxy-Authorization" in sent:
                return answer
            sent = self.authorized(sent, answer)

    def cancel(self, sent: Message) -> None:
        """Cancel an INVITE."""
        number = sent["CSeq"].split()[0]
        names = ("Via", "Max-Forwards", "From", "To", "Call-ID")
        fields = [(name, sent[name]) for name in names]
        fields += [("CSeq", f"{number} CANCEL"), ("Content-Length", "0")]
        line = sent.start_line.replace("INVITE", "CANCEL", 1)
        self.at.send(Message(line, tuple(fields)), self.edge)

    def request(
        self, dialog: Dialog, method: str, headers: Headers = (), *, body: str = ""
    ) -> Message:
        """Make a request in a call."""
        made = request(
            method,
            dialog.target,
            self.at.address,
            from_uri=self.aor,
            to_uri=uri_of(dialog.invite["To"]),
            from_tag=tag_of(dialog.invite["From"]),
            to_tag=tag_of(dialog.answer["To"]),
            call_id=dialog.invite.call_id,
            cseq=dialog.cseq,
            contact=self.contact if method in ("INVITE", "UPDATE") else None,
            headers=[*dialog.routes, *headers],
            body=body,
        )
        return made

    def ask(self, dialog: Dialog, method: str, headers: Headers = (), *, body: str = "") -> Message:
        """Send a request in a call, return its final answer, and acknowledge it."""
        dialog.cseq += 1
        sent = self.request(dialog, method, headers, body=body)
        self.at.send(sent, self.edge)
        if method != "INVITE":
            answer = self.at.expect(self._answers(sent, lambda s: s >= 200), what=method)
            self.check(sent, answer)
            return answer
        answer = self.final(sent)
        if answer.status < 300:
            self.at.send(self.request(dialog, "ACK"), self.edge)
        return answer

    def request_of(self, dialog: Dialog, method: str) -> Message:
        """Make the next request in a call."""
        dialog.cseq += 1
        return self.request(dialog, method)

    def result(self, method: str) -> Message:
        """Return the next final answer to a request of this method."""
        return self.at.expect(lambda m: m.status >= 200 and m.method == method, what=method)

    def accept(self, invite: Message) -> None:
        """Accept a call that arrived."""
        headers = [("Contact", self.contact)]
        self.at.send(reply(invite, 200, headers=headers, to_tag=self.tag), self.edge)

    def dialog_of(self, invite: Message) -> Dialog:
        """Return the call that this phone has accepted, for its own requests."""
        swapped = {"From": f"{invite['To']};tag={self.tag}", "To": invite["From"]}
        routes = [("Record-Route", one) for one in reversed(invite.all("Record-Route"))]
        mine = Message("INVITE", (*swapped.items(), ("Call-ID", invite.call_id)))
        answer = Message("SIP/2.0 200 OK", (("To", invite["From"]), *routes))
        return Dialog(mine, answer, 1, uri_of(invite["Contact"]))

    def request_to_caller(self, invite: Message, method: str, cseq: int = 1) -> Message:
        """Make a request in a call that this phone has accepted."""
        return request(
            method,
            uri_of(invite["Contact"]),
            self.at.address,
            from_uri=uri_of(invite["To"]),
            to_uri=uri_of(invite["From"]),
            from_tag=self.tag,
            to_tag=tag_of(invite["From"]),
            call_id=invite.call_id,
            cseq=cseq,
            contact=self.contact if method in ("INVITE", "UPDATE") else None,
            headers=[("Route", value) for value in invite.all("Record-Route")],
        )

    def receive(self, method: str) -> Message:
        """Return the next request of this method."""
        return self.at.expect(lambda m: m.method == method and not m.is_reply, what=method)

    def answer(self, arrived: Message, status: int = 200) -> None:
        """Answer a request that arrived, as a phone that shows its name and place."""
        contact = [("Contact", self.contact)] if arrived.method in ("INVITE", "UPDATE") else []
        headers = [*contact, ("Server", f"phone of {self.user}")]
        self.at.send(reply(arrived, status, headers=headers, to_tag=None), self.edge)

    def check(self, sent: Message, answer: Message) -> None:
        """Note an answer whose headers are not those of the request."""
        for name in ("From", "CSeq", "Call-ID"):
            if answer[name] != sent[name]:
                self.faults.append(f"{sent.method}: {name} {answer[name]}, sent {sent[name]}")
        if [branch_of(sent["Via"])] != [branch_of(via) for via in answer.all("Via")]:
            self.faults.append(f"{sent.method}: Via {answer.all('Via')}, sent {sent['Via']}")
        to = answer["To"] if ";tag=" in sent["To"] else answer["To"].partition(";tag=")[0]
        if to != sent["To"]:
            self.faults.append(f"{sent.method}: To {answer['To']}, sent {sent['To']}")
        if answer.get("Proxy-Authenticate") and "edge.example" not in answer["Proxy-Authenticate"]:
            self.faults.append("the phone got the challenge of a trunk")

    @staticmethod
    def _answers(sent: Message, wanted: Callable[[int], bool]) -> Callable[[Message], bool]:
        def is_it(message: Message) -> bool:
            return (
                message.is_reply
                and message.call_id == sent.call_id
                and message["CSeq"] == sent["CSeq"]
                and wanted(message.status)
            )

        return is_it


def uri_of(value: str) -> str:
    found = re.search(r"<([^>]*)>", value)
    return found[1] if found else value


def tag_of(value: str) -> str:
    return value.rpartition(";tag=")[2].partition(";")[0]


def branch_of(via: str) -> str:
    return via.rpartition("branch=")[2].partition(";")[0]
