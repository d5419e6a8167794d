"""The uac accounts that the drop-in tests use, and a wait for their registrations."""

from __future__ import annotations

from testkit.drop_in import DropIn, Record
from testkit.provider import Provider
from testkit.wait import eventually

USERS = {"alice": "alice's secret", "bob": "bob's secret"}
ACCOUNTS = {"acct1": "secret of acct1", "acct2": "secret of acct2"}


def alices(at: Provider, expires_s: int = 3600) -> Record:
    return Record("trunk-of-alice", "alice", "acct1", at, expires_s)


def bobs(at: Provider, expires_s: int = 3600) -> Record:
    return Record("trunk-of-bob", "bob", "acct2", at, expires_s)


def registered(native: DropIn, *l_uuids: str) -> None:
    """Wait until the directory has all of these uac accounts as registered."""

    def all_are() -> bool:
        states = native.states()
        return all(states.get(l_uuid) == "registered" for l_uuid in l_uuids)

    eventually(all_are, what="registrations in the directory")
