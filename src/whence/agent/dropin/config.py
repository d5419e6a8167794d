"""The file `drop-in.toml`: settings of the drop-in that Kamailio does not have. It is optional.

kamailio/drop-in.toml shows every key with its meaning; its values are the defaults.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from whence.agent.config import phone_numbers as spellings
from whence.agent.config.models import MonitoringConfig
from whence.agent.config.sip_headers import ALL_HEADERS_LIMIT, NumberHeaders
from whence.agent.config.toml import Table, checked, toml
from whence.agent.config.trunk import PinnedNetwork, as_pin
from whence.agent.config.validators import CountryCode, Number
from whence.errors import ConfigError
from whence.store.uac import Permits
from whence.trust.settings import NamedFile

FILE = "drop-in.toml"

KNOWN_SHOWN = 5

_UUID = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,?/-]{1,64}")


def is_l_uuid(text: str) -> bool:
    """Return whether a text can be the user of a SIP URI, as `uac` writes it."""
    return _UUID.fullmatch(text) is not None


def _uuid(text: str) -> str:
    if not is_l_uuid(text):
        raise ValueError(
            "is no l_uuid: up to 64 characters that the user of a SIP URI may have; write "
            "it as in uac's table"
        )
    return text


def _once(numbers: list[str]) -> list[str]:
    for number, times in Counter(numbers).items():
        if times > 1:
            raise ValueError(f'"{number}" occurs {times} times; write it once')
    return numbers


def _listed(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f'is not a list; write ["{value}"]')  # noqa: TRY004 - pydantic's
    return value


def _pinned_once(networks: list[PinnedNetwork]) -> list[PinnedNetwork]:
    for place, times in Counter(pin.place for pin in networks).items():
        if times > 1:
            raise ValueError(f'"{place[0]}" occurs {times} times; write it once')
    return networks


def _learn_from(value: object) -> object:
    """Read "asked" or "any", or a table of l_uuid = "any". The key "" is for all accounts."""
    table = value if isinstance(value, dict) else {"": value}
    for l_uuid, permitted in table.items():
        if permitted not in ("asked", "any"):
            raise ValueError(f'"{permitted}" is not known; write "asked" or "any"')
        if l_uuid:
            _uuid(l_uuid)
    return {"": "asked", **table}


Uuid = Annotated[str, AfterValidator(_uuid)]
Numbers = Annotated[list[Number], BeforeValidator(_listed), AfterValidator(_once)]


Networks = Annotated[
    list[Annotated[PinnedNetwork, BeforeValidator(as_pin)]],
    BeforeValidator(_listed),
    AfterValidator(_pinned_once),
]
LearnFrom = Annotated[dict[str, str], BeforeValidator(_learn_from)]


class DropInConfig(Table):
    """The content of drop-in.toml."""

    country: CountryCode = ""
    """Calling code of the country in which your providers write numbers nationally. Empty: numbers
    are found only with their country code.
    """
    learn_from: LearnFrom = Field(default={"": "asked"}, examples=[{"bell": "any"}])
    """Which answers to a REGISTER teach their source address: `asked`, those of the server that
    `uac` sent it to, and of `networks`; `any`, all. A table sets it for single uac accounts.
    """
    numbers: dict[Uuid, Numbers] = Field(
        default={}, examples=[{"acme": ["+44 20 7123 4567", "+4420712345*"]}]
    )
    """Telephone numbers of each uac account, for accounts at one address. A star at the end makes a
    prefix.
    """
    number_headers: dict[Uuid, NumberHeaders] = Field(
        default={}, examples=[{"acme": ["Diversion", "To"]}]
    )
    """Headers in which the number or account is looked for after the Request-URI, in this order.
    Without an entry: `["P-Called-Party-ID", "To"]`.
    """
    networks: dict[Uuid, Networks] = Field(default={}, examples=[{"acme": ["198.51.100.0/24"]}])
    """Addresses that admit calls of an account whether it is registered or not, and that may answer
    its REGISTERs: texts, or tables with the keys of a [networks entry](#networks).
    """
    agent: MonitoringConfig = MonitoringConfig()
    """What the optional agent (`whence agent --track-only`) keeps and serves."""

    def named_files(self, file: Path) -> Iterator[NamedFile]:
        """Yield `file`, which has these settings, and the files that it names."""
        yield NamedFile("", file, secret=bool(self.agent.webhook))
        yield from self.agent.named_files()

    @field_validator("number_headers")
    @classmethod
    def _few(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if len({header for headers in given.values() for header in headers}) > ALL_HEADERS_LIMIT:
            raise ValueError(f"name too many different headers; write {ALL_HEADERS_LIMIT} at most")
        return given

    def spellings(self) -> dict[str, frozenset[str]]:
        """Return, for each l_uuid, all forms in which its provider may write its numbers."""
        return {
            l_uuid: frozenset().union(*(spellings.spellings(n, self.country) for n in numbers))
            for l_uuid, numbers in self.numbers.items()
        }

    def permits(self, now: float) -> Permits:
        """Return from where answers may teach addresses, besides the servers that were asked."""
        return Permits(
            {
                l_uuid: tuple(pin.address(now) for pin in pins if pin.lasts(now))
                for l_uuid, pins in self.networks.items()
            },
            self.learn_from,
        )

    def doubts(self, known: Collection[str]) -> Iterator[str]:
        """Name settings that are valid but probably a mistake.

        `known`: the l_uuids that have registered.
        """
        named = {**self.numbers, **self.networks, **self.learn_from}
        for l_uuid in filter(None, named):
            place = "numbers" if l_uuid in self.numbers else "networks"
            if l_uuid not in self.networks and l_uuid not in self.numbers:
                place = "learn_from"
            if known and l_uuid not in known:
                few = ", ".join(sorted(known)[:KNOWN_SHOWN])
                yield (
                    f"{FILE}: {place}: {l_uuid}: no account of this l_uuid has registered yet; "
                    f"those that have are {few}{', …' if len(known) > KNOWN_SHOWN else ''}"
                )
        owners: dict[str, list[str]] = {}
        for l_uuid, forms in self.spellings().items():
            for form in forms:
                owners.setdefault(form, []).append(l_uuid)
        shared: dict[tuple[str, ...], str] = {}
        for form in sorted(owners, key=lambda one: (not one.startswith("+"), len(one), one)):
            if len(owners[form]) > 1:
                shared.setdefault(tuple(owners[form]), form)
        for them, form in shared.items():
            yield (
                f"{FILE}: numbers: {', '.join(them)}: the same number {form}, so its calls are "
                "refused; write it for one of them only"
            )


def load(path: Path) -> DropInConfig:
    """Read and check a file.

    Raises: ConfigError: it names all faults of the file.
    """
    settings, faults = checked(DropInConfig, toml(path), path)
    if settings is None:
        raise ConfigError(faults)
    return settings
