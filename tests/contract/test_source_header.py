"""X-Whence headers come from Whence only."""

import pytest

from tests.contract.call import connect
from tests.contract.forged_headers import HIDDEN, NAMES, SPELLINGS, forged
from tests.contract.scene import Scene
from tests.contract.world import whence_headers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forged_header_is_removed_before_the_target(scene: Scene, name: str, spelling: str) -> None:
    trunk, phone = scene.line()
    ip, port = trunk.at.address
    trunk.at.send(forged(scene.invite(trunk.at), name, spelling), scene.edge)
    for arrived in scene.came(phone):
        assert whence_headers(arrived) == [
            ("X-Whence-Trunk", trunk.id),
            ("X-Whence-Source", f"udp:{ip}:{port}"),
        ]
        assert "forged" not in str(arrived)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_forged_header_in_an_ambiguous_line_is_refused(scene: Scene, hidden: str) -> None:
    """Kamailio ends a line at LF only. Some PBXs also end it at a lone CR."""
    trunk, phone = scene.line()
    head, rest = bytes(scene.invite(trunk.at)).split(b"\r\n", 1)
    trunk.at.send(head + b"\r\n" + HIDDEN[hidden] + b"\r\n" + rest, scene.edge)
    for arrived in scene.came(phone):
        assert "forged" not in str(arrived)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forged_header_is_removed_in_a_dialog(scene: Scene, name: str, spelling: str) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for method in ("INFO", "ACK"):
        trunk.at.send(forged(call.from_caller(method), name, spelling), scene.edge)
        phone.send(forged(call.from_phone(method), name, spelling), scene.edge)
    for end in (phone, trunk.at):
        for arrived in scene.came(end):
            assert whence_headers(arrived) == []
            assert "forged" not in str(arrived)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_ambiguous_line_in_a_dialog_is_refused(scene: Scene, hidden: str) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for method in ("INFO", "ACK"):
        head, rest = bytes(call.from_caller(method)).split(b"\r\n", 1)
        trunk.at.send(head + b"\r\n" + HIDDEN[hidden] + b"\r\n" + rest, scene.edge)
    for arrived in scene.came(phone):
        assert "forged" not in str(arrived)
    assert [answer.status for answer in scene.came(trunk.at)] in ([], [400]), "one answer at most"
