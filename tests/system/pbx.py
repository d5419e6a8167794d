"""A PBX that is the target of trunks, and tells to which trunk a call was given."""

from testkit.rig import Rig
from testkit.sip import Address, Endpoint, Message, place, reply, request
from testkit.stream import StreamEndpoint

NUMBER = "+442071234567"


class Pbx:
    """It is busy: it answers each call that reaches it with a 486."""

    def __init__(self, rig: Rig) -> None:
        self._endpoint = rig.endpoint("pbx")
        self.uri = f"sip:pbx@{place(self._endpoint.address)}"

    def called_by(self, caller: Endpoint, edge: Address) -> Message:
        """Call the edge, which lets the call in; return the INVITE as it came here."""
        call = invite(caller, edge)
        caller.send(call, edge)
        came = self.receive()
        assert came.call_id == call.call_id
        busy = caller.expect(lambda m: m.status == 486 and m.call_id == call.call_id, what="486")
        assert not busy.all("X-Whence-Trunk")
        return came

    def receive(self) -> Message:
        """Return the call that comes next, as it came here."""
        came = self._endpoint.expect(lambda m: m.method == "INVITE", what="the call")
        assert came.source
        self._endpoint.send(reply(came, 486), came.source)
        return came


def refused(caller: Endpoint, edge: Address) -> int:
    """Call the edge, which does not let the call in; return its status."""
    return caller.ask(invite(caller, edge), edge).status


def invite(caller: Endpoint, edge: Address) -> Message:
    """Make a call to a number at the edge."""
    uri = f"sip:{NUMBER}@{place(edge)}"
    if isinstance(caller, StreamEndpoint):
        return caller.request("INVITE", uri)
    return request("INVITE", uri, caller.address)
