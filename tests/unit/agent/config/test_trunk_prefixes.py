"""The list of trunk prefixes in the core, compared with `phonenumbers`."""

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from whence.agent.config.phone_numbers import country
from whence.core.outbound.trunk_prefixes import TRUNK_PREFIXES


def test_trunk_prefixes_are_those_of_phonenumbers() -> None:
    known = (country(str(code)) for code in COUNTRY_CODE_TO_REGION_CODE)
    assert {
        one.code: one.trunk_prefix for one in known if one and one.trunk_prefix.startswith("0")
    } == TRUNK_PREFIXES
