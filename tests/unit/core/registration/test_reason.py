"""Test the codes: stable words for programs."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from whence.core.registration.backoff import Failure
from whence.core.registration.history import EventKind
from whence.core.registration.model import State
from whence.core.registration.reason import RegistrationReason

OBSERVE = Path(__file__).parents[4] / "docs" / "observe.md"


@pytest.mark.parametrize("codes", [EventKind, Failure, RegistrationReason, State])
def test_codes_are_snake_case(codes: type[StrEnum]) -> None:
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_reasons_are_all_in_the_operators_document() -> None:
    text = OBSERVE.read_text()
    assert [reason for reason in RegistrationReason if f"`{reason}`" not in text] == []


@pytest.mark.parametrize("state", [s for s in State if not s.under_way and s is not State.NEW])
def test_state_that_lasts_is_an_event_kind(state: State) -> None:
    assert EventKind(state).value == state.value
