"""The pytest fixture `rig`, and what a failing test tells of it. Imported by each conftest.py."""

from collections.abc import Generator, Iterator

import pytest

from tests.rig.rig import Rig

_failed = pytest.StashKey[bool]()


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Return a rig of its own for each test, ended when the test ends."""
    with Rig() as rig:
        request.node.stash[_failed] = False
        yield rig
        rig.keep = request.node.stash[_failed]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    rig = getattr(item, "funcargs", {}).get("rig")
    if report.failed and isinstance(rig, Rig) and report.when == "call":
        item.stash[_failed] = True
        report.sections.append(("rig", f"everything is kept in {rig.directory}"))
        report.sections.extend(rig.logs().items())
    return report
