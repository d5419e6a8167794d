"""What is taken away is gone with the next call, and a look-out that fails admits nothing."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.process import alive
from testkit.sip import Endpoint
from testkit.wait import eventually
from tests.contract.known_calls import Reports, arrives, look_out_pid, uri
from tests.contract.scene import HOUR_S, Scene
from tests.contract.world import Caller, World
from whence.agent.kamailio import config as edge_config
from whence.agent.runtime.settling import settle
from whence.core.identification.address import Address, Origin
from whence.core.registration.events import ForgetAddresses
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import Transport, canonical_ip
from whence.errors import NotSettledError
from whence.store import look_out
from whence.store.directory import Directory


@pytest.fixture
def reports(scene: Scene) -> Iterator[Reports]:
    reports = Reports(scene)
    yield reports
    reports.close()


@pytest.fixture
def pbx(scene: Scene) -> Endpoint:
    return scene.endpoint("pbx")


def is_known(scene: Scene, reports: Reports, trunk: Caller, pbx: Endpoint) -> bool:
    """Make a call, and return whether Kamailio answered it itself."""
    invite = scene.invite(trunk.at)
    assert arrives(scene, trunk.at, pbx, invite)
    return reports.was_known(invite.call_id)


def become_known(scene: Scene, reports: Reports, trunk: Caller, pbx: Endpoint) -> None:
    """Make calls until Kamailio answers them itself, which the first one must not be."""
    assert not is_known(scene, reports, trunk, pbx)
    eventually(lambda: is_known(scene, reports, trunk, pbx), what="a call that is known")


def registered(scene: Scene, pbx: Endpoint) -> Caller:
    return scene.trunk(uri(pbx))


def allowed(scene: Scene, pbx: Endpoint) -> Caller:
    """Return a trunk that has not registered. The operator allows its address."""
    return _at(scene, pbx, lambda books, id_, address: books.pin(id_, address))


def resolved(scene: Scene, pbx: Endpoint) -> Caller:
    """Return a trunk that has not registered at this address. DNS names it."""
    return _at(scene, pbx, lambda books, id_, address: books.resolve([(id_, address)], time.time()))


def _at(scene: Scene, pbx: Endpoint, add: Callable[[Directory, str, Address], None]) -> Caller:
    elsewhere, caller = scene.trunk(uri(pbx), at="registrar"), scene.endpoint("provider")
    now = time.time()
    address = Address(
        canonical_ip(caller.address[0]),
        None,
        Transport.UDP,
        Origin.RESOLVED,
        "",
        learned_at=now,
        expires_at=now + HOUR_S,
    )
    add(scene.world.books.directory, elsewhere.id, address)
    scene.world.books.settle()
    return Caller(elsewhere.id, elsewhere.token, caller)


def remove(scene: Scene, trunk: Caller) -> None:
    scene.world.books.remove(trunk.id)


def disable(scene: Scene, trunk: Caller) -> None:
    scene.world.books.change(trunk.id, enabled=False)


def unregister(scene: Scene, trunk: Caller) -> None:
    books = scene.world.books
    registration = Registration(trunk.id, f"call-{trunk.id}")
    socket = books.settings.edge.listen[0]
    actions = [ForgetAddresses()]
    books.directory.save(AccountKey(trunk.id), registration, actions, socket, time.time())


def revoke(scene: Scene, trunk: Caller) -> None:
    ip = canonical_ip(trunk.at.address[0])
    assert scene.world.books.directory.unpin(trunk.id, ip, time.time())


def forget_siblings(scene: Scene, trunk: Caller) -> None:
    scene.world.books.directory.drop_resolved(trunk.id)


@pytest.mark.parametrize(
    ("make", "take_away"),
    [
        (registered, remove),
        (registered, disable),
        (registered, unregister),
        (allowed, revoke),
        (resolved, forget_siblings),
    ],
)
def test_trunk_that_is_taken_away_gets_no_known_call(
    scene: Scene,
    reports: Reports,
    pbx: Endpoint,
    make: Callable[[Scene, Endpoint], Caller],
    take_away: Callable[[Scene, Caller], None],
) -> None:
    for _ in range(5):
        trunk = make(scene, pbx)
        become_known(scene, reports, trunk, pbx)
        take_away(scene, trunk)
        asyncio.run(settle(scene.world.books.directory))
        assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 403


def test_changed_target_of_a_known_call_takes_effect(
    scene: Scene, reports: Reports, pbx: Endpoint
) -> None:
    trunk, books = scene.trunk(uri(pbx)), scene.world.books
    become_known(scene, reports, trunk, pbx)
    books.change(trunk.id, target=uri(pbx, "support"))
    asyncio.run(settle(books.directory))
    came = arrives(scene, trunk.at, pbx, scene.invite(trunk.at))
    assert came and came.request_uri == uri(pbx, "support")


# These stop or kill a process of Kamailio, so each has a world of its own.


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Scene]:
    with World(tmp_path, flood=0) as world, Scene(world) as scene:
        yield scene


def test_stalled_look_out_ends_all_known_answers(own: Scene) -> None:
    """An order does not return as if it were in effect meanwhile."""
    reports, pbx, books = Reports(own), own.endpoint("pbx"), own.world.books
    trunk = own.trunk(uri(pbx))
    become_known(own, reports, trunk, pbx)
    pid = look_out_pid(own.world)
    os.kill(pid, signal.SIGSTOP)
    try:
        books.remove(trunk.id)
        began = time.monotonic()
        with pytest.raises(NotSettledError):
            asyncio.run(settle(books.directory, 0.2))
        passed = 0.0
        while (now := time.monotonic()) < began + 2 * look_out.PUBLISHED_S:
            if arrives(own, trunk.at, pbx, own.invite(trunk.at)):
                passed = now - began
        assert 0 < passed <= look_out.PUBLISHED_S
    finally:
        os.kill(pid, signal.SIGCONT)
    asyncio.run(settle(books.directory))
    assert trunk.at.ask(own.invite(trunk.at), own.edge).status == 403
    reports.close()


def test_killed_look_out_ends_kamailio(own: Scene) -> None:
    pid = look_out_pid(own.world)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not own.world.process.running, what="the end of Kamailio")
    eventually(lambda: not alive(pid), what="the end of the look-out")
    asyncio.run(settle(own.world.books.directory))


def test_report_that_the_queue_has_no_room_for_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_config, "UNREPORTED_LIMIT", 2)
    with World(tmp_path) as world, Scene(world) as scene:
        reports, pbx = Reports(scene), scene.endpoint("pbx")
        trunk = scene.trunk(uri(pbx))
        become_known(scene, reports, trunk, pbx)
        pid = look_out_pid(world)
        os.kill(pid, signal.SIGSTOP)
        sent = 0
        try:
            stopped = time.monotonic()
            while time.monotonic() < stopped + 0.6 or sent < 6:
                assert arrives(scene, trunk.at, pbx, scene.invite(trunk.at))
                sent += 1
        finally:
            os.kill(pid, signal.SIGCONT)

        def are_accounted() -> bool:
            arrives(scene, trunk.at, pbx, scene.invite(trunk.at))
            reports.read()
            return reports.dropped > 0

        eventually(are_accounted, what="the count of the lost reports")
        reports.close()
