"""Models of the keys for users' calls: `[outbound]`, `[[route]]`, and tables of trunk and user."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from whence.agent.config.toml import SECONDS, Table
from whence.agent.config.validators import Name
from whence.core.outbound.model import TRY_S
from whence.core.sip.phone_number import LONGEST, bare

PATTERN_LIMIT = 200
"""The longest regular expression of a route."""

_EMERGENCY = re.compile(r"[0-9]{2,8}", re.ASCII)
_GROUP = re.compile(r"\[\^?\]?[^\]]*\]|\\.|[^\\\[()]")
_QUANTIFIER = re.compile(r"[*+]|\{[0-9]*,[0-9]*\}")


def check_once(names: list[str]) -> list[str]:
    """Check that no text of a list occurs twice. Raises ValueError."""
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f'"{name}" occurs {times} times; write it once')
    return names


def check_prefix(text: str) -> str:
    """Return how canonical numbers begin, without separators. Raises ValueError."""
    number = "+" if text == "+" else bare(text)
    if number is None or len(number) > LONGEST:
        raise ValueError(f'"{text}" is not the begin of a number; write "+44"')
    if number.startswith(("+0", "00")):
        right = "+" + number.removeprefix("+").lstrip("0")
        raise ValueError(
            f'"{text}" begins no number: numbers with a country code are compared with +; write '
            f'"{right if right != "+" else "+44"}"'
        )
    return number


def check_optional_prefix(text: str) -> str:
    """Check a prefix, or an empty text. Raises ValueError."""
    return check_prefix(text) if text else text


def check_emergency(text: str) -> str:
    """Check an emergency number. Raises ValueError."""
    if not _EMERGENCY.fullmatch(text):
        raise ValueError(f'"{text}" is not an emergency number; write its digits, "112"')
    return text


def check_pattern(text: str) -> str:
    """Check a regular expression. Raises ValueError.

    A repeated group with a repetition in it could keep a worker busy for each call.
    """
    if len(text) > PATTERN_LIMIT:
        raise ValueError(f"is too long; write {PATTERN_LIMIT} characters at most")
    try:
        re.compile(text, re.ASCII)
    except re.error as error:
        raise ValueError(f'"{text}" is not a regular expression: {error.msg}') from None
    if _repeats_repetition(text):
        raise ValueError(
            f'"{text}" repeats a group that has a repetition in it, which can take very long; '
            r'write "\\+49(30|40)\\d+"'
        )
    return text


def _repeats_repetition(pattern: str) -> bool:
    """Return whether a quantifier follows a group that contains a quantifier."""
    groups = [False]  # of each open group: whether it has a quantifier
    closed, at = False, 0
    while at < len(pattern):
        quantifier = _QUANTIFIER.match(pattern, at)
        if quantifier is not None:
            if closed:
                return True
            groups[-1], at = True, quantifier.end()
            continue
        if pattern[at] == "(":
            groups.append(False)
        closed = False
        if pattern[at] == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1] |= closed
        item = _GROUP.match(pattern, at)
        at = item.end() if item is not None else at + 1
    return False


Prefix = Annotated[str, AfterValidator(check_prefix)]
Names = Annotated[list[Name], AfterValidator(check_once)]


class LimitsConfig(Table):
    """Limits of a user or a trunk. Emergency calls have none."""

    concurrent_calls: int = Field(default=0, ge=0, le=100_000)
    """Calls at once. 0: no limit."""
    calls_per_minute: int = Field(default=0, ge=0, le=100_000)
    """Calls that begin within a minute. 0: no limit."""
    prefixes: list[Prefix] = Field(default=[], examples=[["+44", "+49"]])
    """How numbers begin that may be called, with country code. A number without known country is
    compared as it was dialled. Empty: all numbers.
    """


class TrunkOutboundConfig(Table):
    """What the provider of a trunk gets of users' calls."""

    from_user: Literal["account", "number"] = "account"
    """User in From: that of the account, or the caller's number."""
    number_header: Literal[
        "none", "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"
    ] = "none"
    """Header with the caller's number, besides From."""
    number_format: Literal["e164", "international", "national", "plain"] = "e164"
    """How numbers are written: `e164` +442071234567; `international` 00442071234567; `national`
    02071234567 of the trunk's `country`; `plain` 442071234567.
    """
    diversion: bool = False
    """`true`: a call that a user forwards has the header Diversion."""
    contact: Literal["registered", "own"] = "registered"
    """Contact of a call: `registered`, that of the registration, which hides the phone's address;
    `own`, that of the phone.
    """
    limits: LimitsConfig = LimitsConfig()
    """Limits of the trunk. A call above them gets the next trunk."""


class RouteConfig(Table):
    """`[[route]]`: which trunks get calls to some numbers. The first one that holds decides."""

    prefix: Annotated[str, AfterValidator(check_optional_prefix)] = Field(
        default="", examples=["+49"]
    )
    """How the number begins, with country code. Empty: any number."""
    regex: Annotated[str, AfterValidator(check_pattern)] = Field(
        default="", examples=[r"\+49[34]0\d+"]
    )
    """Regular expression of Python that matches the whole number, instead of `prefix`."""
    trunks: Names = Field(examples=[["bolt"]])
    """Trunks for these numbers, in this order. A user gets only those of its own `trunks`; a route
    without any of them does not hold for it. Empty: these numbers may not be called.
    """
    users: Names = Field(default=[], examples=[["alice"]])
    """Users for whom it holds. Empty: all."""
    try_s: Annotated[float, SECONDS] = Field(default=TRY_S, ge=0.5, le=60)
    """Time for which a trunk may send no answer before the edge tries the next one."""

    @model_validator(mode="after")
    def _one_rule(self) -> RouteConfig:
        if self.prefix and self.regex:
            raise ValueError("has prefix and regex; write one of the two")
        return self


class OutboundConfig(Table):
    """`[outbound]`: users' calls to numbers."""

    enabled: bool = False
    """`true`: Kamailio is ready for calls to numbers, though no user has `trunks` yet. The first
    one then needs no restart. Without it, `trunks` of a user or `emergency_numbers` enable them.
    """
    emergency_numbers: Annotated[
        list[Annotated[str, AfterValidator(check_emergency)]], AfterValidator(check_once)
    ] = Field(default=[], examples=[["112", "999"]])
    """Emergency numbers, as they are dialled. Every user may call them, past all limits."""
    emergency_trunks: Names = Field(default=[], examples=[["acme"]])
    """Trunks for emergency calls, in the order in which the edge tries them."""

    @model_validator(mode="after")
    def _both_or_none(self) -> OutboundConfig:
        if bool(self.emergency_numbers) != bool(self.emergency_trunks):
            raise ValueError(
                "emergency_numbers and emergency_trunks are needed together; write both"
            )
        return self
