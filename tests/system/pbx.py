"""A PBX that is the target of trunks. Its calls show which trunk the edge identified."""

from testkit.rig import Rig
from testkit.sip import Address, Endpoint, Message, place, reply, request
from testkit.stream import StreamEndpoint

NUMBER = "+442071234567"


class Pbx:
    """A PBX that answers each call with 486."""

    def __init__(self, rig: Rig) -> None:
        self._endpoint = rig.endpoint("pbx")
        self.uri = f"sip:pbx@{place(self._endpoint.address)}"

    def called_by(self, caller: Endpoint, edge: Address) -> Message:
        """Make a call that the edge admits; return the INVITE as the PBX received it."""
        call = invite(caller, edge)
        caller.send(call, edge)
        received = self.receive()
        assert received.call_id == call.call_id
        busy = caller.expect(lambda m: m.status == 486 and m.call_id == call.call_id, what="486")
        assert not busy.all("X-Whence-Trunk")
        return received

    def receive(self) -> Message:
        """Answer the next call with 486, and return its INVITE."""
        received = self._endpoint.expect(lambda m: m.method == "INVITE", what="the call")
        assert received.source
        self._endpoint.send(reply(received, 486), received.source)
        return received


def refused(caller: Endpoint, edge: Address) -> int:
    """Make a call that the edge refuses, and return its status."""
    return caller.ask(invite(caller, edge), edge).status


def invite(caller: Endpoint, edge: Address) -> Message:
    """Make an INVITE to `NUMBER` at the edge."""
    uri = f"sip:{NUMBER}@{place(edge)}"
    if isinstance(caller, StreamEndpoint):
        return caller.request("INVITE", uri)
    return request("INVITE", uri, caller.address)
