"""The pytest fixtures of the rig, and its logs in the report of a failed test.

Each conftest.py that needs them imports them from here.
"""

from collections.abc import Generator, Iterator

import pytest

from testkit.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Return a new rig for each test; it ends with the test."""
    with Rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def shared_rig() -> Iterator[Rig]:
    """Return one rig for all tests of a file, which must not disturb each other.

    `make test` gives each file to one worker as a whole.
    """
    with Rig() as rig:
        yield rig


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    used = getattr(item, "funcargs", {})
    rig = used.get("rig") or used.get("shared_rig")
    if report.failed and isinstance(rig, Rig) and report.when in ("setup", "call"):
        rig.keep = True
        report.sections.append(("rig", f"its files are kept in {rig.directory}"))
        report.sections.extend(rig.logs().items())
    return report
