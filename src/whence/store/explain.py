"""Reads what explains a decision: the evidence of a request, and the trunks near it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from whence.core.identification.explain import FormerAddress, IgnoredReply, NearbyTrunk
from whence.core.identification.request import Evidence, Request
from whence.core.outbound.model import Routing
from whence.core.sip.transport_address import bits_of, canonical_ip
from whence.store import lookup, outbound, statements, transactions
from whence.store.connection import DirectoryConnection
from whence.store.outbound import LocalUser, TrunkAccess
from whence.store.rows import address_of

EXPLAINED = 100
"""How many candidates an explanation lists at most, besides those that the request names."""


class Explanations(DirectoryConnection):
    """Reads the directory to explain decisions."""

    def evidence(self, request: Request, now: float) -> Evidence:
        """Return the evidence that the edge would have, with more candidates."""
        with self._one_state():
            return lookup.gather(request, now, self._fetch, EXPLAINED)

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """Read one state of the directory: a drop-in's workers may write meanwhile."""
        with self._reading():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                transactions.undo(self._db)

    # What a user's call would do. The credentials stay encrypted.

    def user(self, name: str, domain: str) -> LocalUser | None:
        """Return a local user with its settings as a caller; None if there is no such user."""
        return outbound.read_user(self._fetch, name, domain)

    def routing(self) -> Routing:
        """Return all rules for users' calls."""
        return outbound.read_routing(self._fetch)

    def trunk_access(self, ids: Sequence[str]) -> dict[str, TrunkAccess]:
        """Return id → trunk for users' calls, without credentials."""
        return {one.trunk.id: one for one in outbound.read_access(self._fetch, ids, "")}

    # What is near a request.

    def neighbours(self, request: Request, evidence: Evidence) -> list[NearbyTrunk]:
        """Return the trunks that a request names, or that have or had to do with its source.

        Each kind is bounded.
        """
        ip = request.source.ip
        named: dict[str, list[str]] = {}
        for token, trunk_id in evidence.token_owners.items():
            named.setdefault(trunk_id, []).append(f"token {token}")
        for number, trunk_id in sorted(evidence.number_owners):
            named.setdefault(trunk_id, []).append(f"number {number}")
        for account, trunk_ids in sorted(evidence.account_owners.items()):
            for trunk_id in sorted(trunk_ids)[:100]:
                named.setdefault(trunk_id, []).append(f"user {account}")
        parameters = {"ip": str(ip), "version": ip.version, "bits": bits_of(ip)}
        with self._one_state():
            near = [trunk_id for (trunk_id,) in self._fetch(statements.NEAR, parameters)]
            every = [
                one
                for trunk_id in dict.fromkeys([*named, *near])
                for one in self._neighbour(trunk_id, tuple(named.get(trunk_id, ())))
            ]
        return [one for one in every if one.has_to_do_with(ip)]

    def _neighbour(self, trunk_id: str, named: tuple[str, ...]) -> Iterator[NearbyTrunk]:
        """Yield the trunk as a neighbour; nothing if it was removed after the evidence was read."""
        row = (trunk_id,)
        query = "SELECT enabled, gone_at IS NOT NULL FROM trunk WHERE id = ?"
        for enabled, gone in self._fetch(query, row):
            addresses = self._fetch(statements.ADDRESSES_OF_TRUNK, row)
            former = self._fetch(statements.FORMER_ADDRESSES, row)
            ignored = self._fetch(statements.IGNORED_REPLIES, row)
            yield NearbyTrunk(
                trunk_id,
                bool(enabled),
                named,
                tuple(address_of(one) for one in addresses),
                tuple(FormerAddress(address_of(one), ended_at) for *one, ended_at in former),
                bool(gone),
                tuple(IgnoredReply(canonical_ip(ip), asked, at) for ip, asked, at in ignored),
            )
