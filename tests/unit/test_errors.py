"""All exceptions of Whence have one root, and one class has one name."""

import importlib
import inspect
import pkgutil
from collections import Counter

import pytest

import whence
from whence.errors import ConfigError, UnknownTrunkError, UntrustedError, WhenceError

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(whence.__path__, "whence.")
    if found.name != "whence.__main__"  # it is the program
]

EXCEPTIONS = [
    kind
    for module in MODULES
    for kind in vars(module).values()
    if inspect.isclass(kind)
    and issubclass(kind, BaseException)
    and kind.__module__ == module.__name__
]


def test_all_packages_are_looked_at() -> None:
    names = {module.__name__.split(".")[1] for module in MODULES}
    assert {"agent", "cli", "core", "edge", "errors"} <= names


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_each_exception_derives_from_the_root(kind: type[BaseException]) -> None:
    assert issubclass(kind, WhenceError)


def test_no_two_exceptions_have_one_name() -> None:
    counted = Counter(kind.__name__ for kind in EXCEPTIONS)
    assert [name for name, times in counted.items() if times > 1] == []


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["a\nb\x1b[31m"]),
        UntrustedError("a\nb\x1b[31m", "is a link", "remove it"),
        UnknownTrunkError("a\nb\x1b[31m"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_name_that_others_choose_cannot_harm_a_terminal(error: WhenceError) -> None:
    assert r"a\nb\x1b[31m" in str(error)
    assert str(error).isprintable()


def test_an_unknown_trunk_is_named_with_what_to_do() -> None:
    error = UnknownTrunkError("acme")
    assert error.trunk_id == "acme"
    assert str(error) == "no trunk acme is configured; list the trunks: whence trunks"
