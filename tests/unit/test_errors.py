"""All exceptions of Whence derive from one class, and their names are unique."""

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


def test_modules_include_all_packages() -> None:
    names = {module.__name__.split(".")[1] for module in MODULES}
    assert {"agent", "cli", "core", "edge", "errors"} <= names


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_derives_from_whence_error(kind: type[BaseException]) -> None:
    assert issubclass(kind, WhenceError)


def test_exception_names_are_unique() -> None:
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
def test_exception_escapes_untrusted_names(error: WhenceError) -> None:
    assert r"a\nb\x1b[31m" in str(error)
    assert str(error).isprintable()


def test_unknown_trunk_error_names_the_remedy() -> None:
    error = UnknownTrunkError("acme")
    assert error.trunk_id == "acme"
    assert str(error) == "no trunk acme is configured; list the trunks: whence trunks"
