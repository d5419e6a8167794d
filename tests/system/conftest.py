"""Provide the fixtures `rig` (one for each test) and `shared_rig` (one for each file)."""

from testkit.fixture import pytest_runtest_makereport, rig, shared_rig

__all__ = ["pytest_runtest_makereport", "rig", "shared_rig"]
