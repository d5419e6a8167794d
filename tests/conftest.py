"""What holds for every test here."""

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, and no rule of the product.
settings.register_profile("whence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whence")

SLOW_TIMEOUT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests longer: the timeout is a net against hangs, and no measure of the machine."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
