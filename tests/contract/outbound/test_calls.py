"""Users' calls to numbers: the phone, the trunk, and the requests of both."""

from tests.contract.outbound.scene import NUMBER, OutScene


def test_call_passes_from_invite_to_bye(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    invite, ack = trunk.server.expect("INVITE"), trunk.server.expect("ACK")
    assert invite.request_uri == f"sip:{NUMBER}@{trunk.server.address[0]}"
    assert invite["From"].startswith(f"<sip:acct1@{trunk.server.address[0]}>;tag=")
    assert ack["CSeq"].split()[0] == invite["CSeq"].split()[0]
    assert phone.ask(call, "BYE").status == 200
    assert trunk.server.expect("BYE")["From"] == invite["From"]


def test_bye_of_trunk_reaches_phone(scene: OutScene) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk])
    call = phone.call(NUMBER)
    trunk.server.expect("ACK")
    dialog = trunk.server.dialog()
    bye = trunk.server.send_in(dialog, "BYE")
    arrived = phone.receive("BYE")
    assert arrived["To"].partition(";tag=")[0] == f"<{phone.aor}>"
    assert arrived["From"].startswith(f"<{phone.uri(NUMBER)}>")
    assert arrived.request_uri == phone.contact.strip("<>")
    phone.answer(arrived)
    assert trunk.server.final(bye).status == 200
    assert call.answer.status == 200
