"""Several workers write the location table at once, and no phone is refused."""

import time
from pathlib import Path

from testkit.wait import eventually
from tests.contract.phones import ask, credentials
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World
from whence.agent.config.trunk import UserConfig
from whence.agent.kamailio.start import LOCATION_FILE
from whence.store import location

PHONES = 100


def test_phones_that_register_at_once_are_all_stored(tmp_path: Path) -> None:
    with World(tmp_path, workers=4) as world, Scene(world) as scene:
        names = [scene.name("user") for _ in range(PHONES)]
        world.books.add(
            *(UserConfig.model_validate({"name": name, "password": PASSWORD}) for name in names)
        )
        phones = [(scene.endpoint("phones"), name) for name in names]
        for phone, name in phones:
            phone.send(ask(phone, name), world.edge)
        challenges = [phone.receive() for phone, _ in phones]
        for (phone, name), challenge in zip(phones, challenges, strict=True):
            phone.send(ask(phone, name, credentials(challenge, name)), world.edge)
        assert {phone.receive().status for phone, _ in phones} == {200}
        file = tmp_path / LOCATION_FILE
        eventually(lambda: set(names) <= location.contacts(file, time.time()).keys())
