"""Finds conflicts in the settings, before any trunk is registered."""

from __future__ import annotations

from collections.abc import Iterable

from whence.agent.provisioning.numbers import account_forms, number_forms
from whence.core.identification import conflicts
from whence.core.identification.conflicts import Conflict, NamedTrunk
from whence.core.settings import TrunkSettings


def among(trunks: Iterable[TrunkSettings]) -> list[Conflict]:
    """Return the conflicts among trunks. It assumes one address for all trunks of a registrar."""
    enabled = [trunk for trunk in trunks if trunk.enabled]
    numbers = [(spelling, t.id) for t in enabled for spelling in number_forms(t)]
    accounts = [(form, t.id) for t in enabled for form in account_forms(t)]
    return conflicts.find(
        [NamedTrunk(t.id, t.user, bool(t.numbers), t.fallback) for t in enabled],
        numbers,
        [(t.id, (t.server.host, t.server.port or 5060)) for t in enabled],
        accounts=conflicts.accounts_of_others(accounts, numbers),
    )
