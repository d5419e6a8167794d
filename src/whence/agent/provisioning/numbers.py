"""The forms in which a provider may write a trunk's numbers and account."""

from __future__ import annotations

from whence.agent.config import phone_numbers
from whence.core.settings import TrunkSettings
from whence.core.sip.phone_number import account_spellings


def number_forms(trunk: TrunkSettings) -> dict[str, str]:
    """Return each form of the trunk's numbers → the number in E.164. Empty: not known."""
    found: dict[str, str] = {}
    for number in trunk.numbers:
        forms = phone_numbers.spellings(number, trunk.country_code)
        found |= dict.fromkeys(forms, phone_numbers.e164(number, trunk.country_code))
    return found


def account_forms(trunk: TrunkSettings) -> dict[str, str]:
    """Return each form of the trunk's account → the account in E.164. Empty: not a number."""
    forms = dict.fromkeys(account_spellings(trunk.user), "")
    try:
        e164 = phone_numbers.e164(trunk.user, trunk.country_code)
        spellings = phone_numbers.spellings(trunk.user, trunk.country_code)
    except ValueError:  # not a number
        return forms
    return dict.fromkeys([*forms, *spellings], e164)


def number_style(trunk: TrunkSettings) -> str:
    """Return the directory's text for the format of `{number}` in the trunk's target."""
    if trunk.number_format == "as_sent":
        return ""
    return str(phone_numbers.style(trunk.number_format, trunk.country_code))
