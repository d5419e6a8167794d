"""Settings of all tests: profiles of hypothesis, the timeout of slow tests, and the umask."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from testkit.process import AS_OURSELVES

# No deadline for an example: its duration depends on the machine. `fast` is for `make test-fast`.
settings.register_profile("whence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("whence"), max_examples=10)
settings.load_profile("whence")

SLOW_TIMEOUT_S = 1800

os.environ.update({**AS_OURSELVES, **os.environ})

# A shell starts a program in the background with SIGINT ignored. Then Ctrl-C would end no program
# that a test starts, because it inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests a longer timeout. A timeout only ends hangs, on any machine."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


UMASK = 0o022


def pytest_runtest_setup() -> None:
    """Undo what a start of the agent in this process left: it sets the umask."""
    os.umask(UMASK)
