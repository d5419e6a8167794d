"""No name or address of a phone reaches a trunk: a look at every byte."""

from testkit.calling_phone import SDP, Phone
from testkit.digest import Realm
from tests.contract.outbound.scene import NUMBER, OutScene, OutTrunk

SECRET = "private-thing"
HEADERS = [
    ("User-Agent", f"{SECRET} 1.0"),
    ("P-Preferred-Identity", f"<sip:{SECRET}@edge.example>"),
    ("P-Asserted-Identity", f"<sip:{SECRET}@edge.example>"),
    ("Remote-Party-ID", f"<sip:{SECRET}@edge.example>"),
    ("Diversion", f"<sip:{SECRET}@edge.example>"),
    ("History-Info", f"<sip:{SECRET}@edge.example>;index=1"),
    ("b", f"<sip:{SECRET}@edge.example>"),
    ("Reply-To", f"<sip:{SECRET}@edge.example>"),
    ("Organization", SECRET),
    ("Call-Info", f"<http://{SECRET}.example>"),
    ("X-Serial-Number", SECRET),
    ("P-Access-Network-Info", SECRET),
    ("Geolocation", f"<sip:{SECRET}@edge.example>"),
    ("Warning", f'399 {SECRET} "odd"'),
]


def leaks(trunk: OutTrunk, phone: Phone) -> list[str]:
    """Return the lines at a trunk that show a name or address of the phone."""
    private = [SECRET, phone.user, "Our Private Name", phone.at.address[0]]
    lines = [
        line
        for datagram in trunk.server.datagrams
        for line in datagram.decode().partition("\r\n\r\n")[0].split("\r\n")
    ]
    return [line for line in lines if any(one in line for one in private)]


def test_trunk_gets_no_byte_of_phone(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm(methods=("INVITE", "BYE", "INFO"))])
    phone = scene.caller([trunk])
    invite = phone.invite(phone.uri(NUMBER), headers=HEADERS)
    call = phone.call(NUMBER, invite=invite)
    trunk.server.expect("ACK", 2)
    for method in ("INVITE", "INFO", "UPDATE"):
        assert phone.ask(call, method, HEADERS, body=SDP).status == 200
        sent = trunk.server.send_in(trunk.server.dialog(), method, body=SDP)
        phone.answer(phone.receive(method))
        assert trunk.server.final(sent).status == 200
    trunk.server.acknowledge()
    assert phone.ask(call, "BYE", HEADERS).status == 200
    assert leaks(trunk, phone) == []


def test_answer_with_vias_in_one_header_reaches_phone(scene: OutScene) -> None:
    trunk = scene.out_trunk([Realm()])
    trunk.server.joins_vias = True
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    assert phone.ask(call, "INFO").status == 200
    assert phone.ask(call, "BYE").status == 200
