"""Finds conflicts, trunks at one address that no rule can distinguish, before a call is refused.

A call can name a trunk by number, by account in the Request-URI, or by our Contact. Its source port
can distinguish trunks, too. It is unknown beforehand which of these a provider sends, but every
provider calls a number. So trunks with different numbers do not conflict. Trunks without numbers
do, unless one of them is a fallback.

Trunks that register at one server are expected to share its addresses. Trunks of different servers
are not. If such trunks meet at one address, calls that name no trunk are refused there. Before,
one trunk got them. That is a conflict, even with numbers, unless one trunk is a fallback.

The work is linear in the input: thousands of trunks at one address are one group, never pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network

from whence.core.sip.phone_number import PREFIX_END
from whence.core.sip.uri import host_text
from whence.core.text import summarize

Site = tuple[str, int | None]
"""(ip, or a network, or a registrar's host; port, None: any)."""


class ConflictKind(StrEnum):
    """The code of a conflict: what the trunks share."""

    NUMBER = "number"
    NUMBER_IS_ACCOUNT = "number_is_account"
    AOR_USER = "aor_user"
    NO_NUMBER = "no_number"
    FALLBACK = "fallback"
    OTHER_SERVER = "other_server"


@dataclass(frozen=True, slots=True)
class NamedTrunk:
    """What distinguishes a trunk, besides its numbers."""

    id: str
    aor_user: str
    has_numbers: bool
    fallback: bool
    server: str | None = ""
    """The host of the server at which it registers.

    Empty: unknown, so a server of its own. None: not known yet, so not compared.
    """
    accepts_unmatched: bool = True
    """Whether it gets calls that name no trunk, if it is alone at an address."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Trunks that no rule can distinguish, and what they share. All tuples are sorted."""

    kind: ConflictKind
    trunks: tuple[str, ...]
    addresses: tuple[str, ...]
    shared: tuple[str, ...] = ()
    """The numbers, or the AoR user, that they share."""

    @property
    def message(self) -> str:
        """Return what is wrong, in words."""
        shared = summarize(self.shared)
        kind = ConflictKind
        return {
            kind.NUMBER: f"the same number {shared}",
            kind.NUMBER_IS_ACCOUNT: f"{shared} is a number of one and the account of another",
            kind.AOR_USER: f"the same user {shared}, and no numbers",
            kind.NO_NUMBER: "no numbers, and others at their address",
            kind.FALLBACK: "more than one fallback: calls that name no trunk are refused",
            kind.OTHER_SERVER: "they register at different servers, and share an address: "
            "calls that name none of them are refused",
        }[self.kind]

    @property
    def remedy(self) -> str:
        """Return what the operator can do, in words."""
        kind = ConflictKind
        return {
            kind.NUMBER: "write it for one of them only, or write fallback = true for the one that "
            "is to get its calls",
            kind.NUMBER_IS_ACCOUNT: "write the number down for the trunk whose account it is, "
            "and for no other; else calls to it are refused",
            kind.AOR_USER: "write the numbers of each; else only calls to the very contact "
            "that we registered are identified",
            kind.NO_NUMBER: "write the numbers of each, or fallback = true for one of them; "
            "else only calls to their contact, or their user, are identified",
            kind.FALLBACK: "write fallback = true for one of them only",
            kind.OTHER_SERVER: "see whence addresses for why each is there: networks or "
            "learn_from may permit too much; else write fallback = true for the one that is to "
            "get such calls",
        }[self.kind]

    def __str__(self) -> str:
        trunks = f"trunk{'s' if len(self.trunks) > 1 else ''} {summarize(self.trunks)}"
        return f"{trunks} at {summarize(self.addresses)}: {self.message}; {self.remedy}"


def find(
    trunks: Iterable[NamedTrunk],
    numbers: Iterable[tuple[str, str]],
    sites: Iterable[tuple[str, Site]],
    admitted: Iterable[tuple[str, Site]] = (),
    accounts: Iterable[tuple[str, str, str]] = (),
) -> list[Conflict]:
    """Return all conflicts among enabled trunks, sorted.

    - `numbers`: (spelling, trunk id). The longest prefix wins, so only equal ones conflict. Numbers
      of one trunk alone may be omitted.
    - `sites`: (trunk id, site from which its calls may come).
    - `admitted`: the same, with port None unless only that port is admitted.
    - `accounts`: (form of an account as a number, its trunk id, another trunk id). The other trunk
      would get a call to that number.
    """
    named = {trunk.id: trunk for trunk in trunks}
    places = _Places((id_, site) for id_, site in sites if id_ in named)
    addresses: dict[tuple[ConflictKind, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(
        list
    )

    for owners, spellings in _owners(numbers).items():
        for address, ids in places.shared_by(owners):
            if sum(named[id_].fallback for id_ in ids) != 1:
                addresses[ConflictKind.NUMBER, ids, _shown(spellings)].append(address)

    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for form, account, other in accounts:
        if account in named and other in named:
            pairs[account, other].append(form)
    for pair, forms in pairs.items():
        for address, ids in places.shared_by(pair):
            addresses[ConflictKind.NUMBER_IS_ACCOUNT, ids, _shown(forms)].append(address)

    for address, ids in places.shared_by(places.ids):
        fallbacks = tuple(id_ for id_ in ids if named[id_].fallback)
        nameless = tuple(id_ for id_ in ids if not named[id_].has_numbers)
        if len(fallbacks) > 1:
            addresses[ConflictKind.FALLBACK, fallbacks, ()].append(address)
        if fallbacks or not nameless:
            continue
        same_user = _by_user(nameless, named)
        for user, sharing in same_user.items():
            addresses[ConflictKind.AOR_USER, sharing, (user,)].append(address)
        if nameless not in same_user.values():
            addresses[ConflictKind.NO_NUMBER, nameless, ()].append(address)

    found = {ids for kind, ids, _ in addresses if kind is not ConflictKind.NUMBER}
    at = _Places((id_, site) for id_, site in admitted if id_ in named)
    for address, ids in at.shared_by(at.ids):
        if ids not in found and _was_given_before(tuple(named[id_] for id_ in ids)):
            addresses[ConflictKind.OTHER_SERVER, ids, ()].append(address)

    return sorted(
        (
            Conflict(kind, ids, tuple(sorted(places)), shared)
            for (kind, ids, shared), places in addresses.items()
        ),
        key=lambda conflict: (
            list(ConflictKind).index(conflict.kind),
            conflict.trunks,
            conflict.shared,
        ),
    )


def _was_given_before(there: Sequence[NamedTrunk]) -> bool:
    """Return whether trunks of different servers meet, so that calls become ambiguous.

    Such a call names no trunk, or an account that several trunks have.
    """
    servers = {trunk.server or trunk.id for trunk in there if trunk.server is not None}
    if len(servers) < 2 or sum(trunk.fallback for trunk in there) == 1:
        return False
    users = {trunk.aor_user for trunk in there}
    return any(trunk.accepts_unmatched for trunk in there) or len(users) < len(there)


def _owners(numbers: Iterable[tuple[str, str]]) -> dict[tuple[str, ...], list[str]]:
    """Return group of trunks → the spellings that exactly these share."""
    owners: dict[str, list[str]] = defaultdict(list)
    for spelling, id_ in numbers:
        owners[spelling].append(id_)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for spelling, ids in owners.items():
        if len(ids) > 1:
            shared[tuple(sorted(ids))].append(spelling)
    return shared


def accounts_of_others(
    accounts: Iterable[tuple[str, str]], numbers: Iterable[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """Return the accounts that are numbers of other trunks, for `find`.

    `accounts`: (form of the account as a number, trunk id). `numbers`: (spelling, trunk id).
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for spelling, id_ in numbers:
        owners[spelling].add(id_)
    lengths = sorted({len(s) - 1 for s in owners if s.endswith(PREFIX_END)}, reverse=True)
    found = []
    for form, id_ in accounts:
        for spelling in (form, *(form[:n] + PREFIX_END for n in lengths if n <= len(form))):
            owning = owners.get(spelling, set())
            found += [(form, id_, other) for other in sorted(owning - {id_})]
            if id_ in owning:
                break  # its own number wins over shorter prefixes of others
    return found


class _Places:
    """The sites from which each trunk's calls may come."""

    def __init__(self, sites: Iterable[tuple[str, Site]]) -> None:
        self._of: dict[str, set[Site]] = defaultdict(set)
        for id_, site in sites:
            self._of[id_].add(site)
        networks = {ip for sites in self._of.values() for ip, _ in sites if "/" in ip}
        lengths = sorted({int(network.partition("/")[2]) for network in networks})
        self._around: dict[str, set[Site]] = {
            id_: {
                (network, port)
                for ip, port in sites
                for network in _around(ip, lengths)
                if network in networks
            }
            for id_, sites in (self._of.items() if networks else ())
        }
        """Trunk → the networks of other trunks that hold its own addresses."""

    @property
    def ids(self) -> Iterable[str]:
        """Return the trunks that have a site."""
        return self._of.keys()

    def shared_by(self, ids: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Return (address, trunks there) for each address that several of the trunks share.

        The port distinguishes trunks, unless one of them may call from any port.
        """
        ids = [id_ for id_ in ids if id_ in self._of]
        present = {ip for id_ in ids for ip, _ in self._of[id_]}
        sites_of = {
            id_: self._of[id_] | {site for site in self._around.get(id_, ()) if site[0] in present}
            for id_ in ids
        }
        any_port = {ip for sites in sites_of.values() for ip, port in sites if port is None}
        there: dict[str, set[str]] = defaultdict(set)
        for id_, sites in sites_of.items():
            for ip, port in sites:
                there[ip if ip in any_port else f"{host_text(ip)}:{port}"].add(id_)
        return [(address, tuple(sorted(them))) for address, them in there.items() if len(them) > 1]


def _around(ip: str, lengths: Iterable[int]) -> Iterator[str]:
    """Yield the networks of these lengths that hold an ip or a network; nothing for a name."""
    try:
        network = ip_network(ip)
    except ValueError:
        return
    for length in lengths:
        if length < network.prefixlen:
            yield str(network.supernet(new_prefix=length))


def _by_user(ids: Iterable[str], named: Mapping[str, NamedTrunk]) -> dict[str, tuple[str, ...]]:
    """Return AoR user → its trunks, for each that several trunks have."""
    users: dict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        users[named[id_].aor_user].append(id_)
    return {user: tuple(them) for user, them in users.items() if len(them) > 1}


def _shown(spellings: Collection[str]) -> tuple[str, ...]:
    """Return one spelling of each shared number, with + if there is one."""
    with_plus = sorted((s for s in spellings if s.startswith("+")), key=lambda s: (len(s), s))
    ends = {s[4:] for s in with_plus}
    whole = [s for s in with_plus if not any(s[cut:] in ends for cut in (5, 6))]  # no +44(0)20
    return tuple(whole or sorted(spellings))
