"""Every test here may ask for a rig, of its own or shared with the other tests of its file."""

from testkit.fixture import pytest_runtest_makereport, rig, shared_rig

__all__ = ["pytest_runtest_makereport", "rig", "shared_rig"]
