"""Provide the fixture `rig`."""

from testkit.fixture import pytest_runtest_makereport, rig

__all__ = ["pytest_runtest_makereport", "rig"]
