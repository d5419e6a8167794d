"""The number of hypothesis examples of a test, which depends on the profile."""

from hypothesis import settings


def examples(count: int) -> int:
    """Return how many of *count* examples the current profile runs.

    `whence` runs all of them, and `fast`, the profile of `make test-fast`, a part.
    """
    return max(1, count * settings().max_examples // 100)
