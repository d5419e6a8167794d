"""Only Whence says what X-Whence-… says."""

import pytest

from tests.contract.call import connect
from tests.contract.scene import Scene
from tests.contract.world import stamps
from tests.rig.sip import Message

SPELLINGS = {
    "as we do": "{name}: forged",
    "lower case": "{lower}: forged",
    "upper case": "{upper}: forged",
    "no space after the colon": "{name}:forged",
    "a space before the colon": "{name} : forged",
    "spaces before the colon": "{name}   : forged",
    "a tab before the colon": "{name}\t: forged",
    "folded": "{name}:\r\n forged",
    "folded before the colon": "{name}\r\n : forged",
    "folded with a tab, twice": "{name}:\r\n\t\r\n\tforged",
    "empty": "{name}:",
    "twice": "{name}: forged\r\n{name}: forged again",
    "thrice in three ways": "{lower}: forged\r\n{name} : forged\r\n{upper}\t:\r\n forged",
    "after another, folded one": "Subject: a\r\n b\r\n{name}: forged",
}
NAMES = (
    "X-Whence-Trunk",
    "X-Whence-Source",
    "X-Whence-Key",
    "X-Whence-Next-Hop",
    "X-Whence-Socket",
)


def forged(message: Message, name: str, spelling: str) -> bytes:
    """Put the header in as the first one of the message, and again as the last."""
    line = SPELLINGS[spelling].format(name=name, lower=name.lower(), upper=name.upper())
    head, rest = str(message).split("\r\n", 1)
    fields, body = rest.split("\r\n\r\n", 1)
    return f"{head}\r\n{line}\r\n{fields}\r\n{line}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_forged_stamp_never_reaches_the_target(scene: Scene, name: str, spelling: str) -> None:
    trunk, phone = scene.line()
    ip, port = trunk.at.address
    trunk.at.send(forged(scene.invite(trunk.at), name, spelling), scene.edge)
    for arrived in scene.came(phone):
        assert stamps(arrived) == [
            ("X-Whence-Trunk", trunk.id),
            ("X-Whence-Source", f"udp:{ip}:{port}"),
        ]
        assert "forged" not in str(arrived)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_forged_stamp_never_travels_inside_a_dialog(
    scene: Scene, name: str, spelling: str
) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for method in ("INFO", "ACK"):
        trunk.at.send(forged(call.from_caller(method), name, spelling), scene.edge)
        phone.send(forged(call.from_phone(method), name, spelling), scene.edge)
    for end in (phone, trunk.at):
        for arrived in scene.came(end):
            assert stamps(arrived) == []
            assert "forged" not in str(arrived)
