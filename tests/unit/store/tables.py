"""Fills the tables of a directory with a generated world."""

from __future__ import annotations

import sqlite3
from functools import cache
from ipaddress import IPv4Network, IPv6Network

from tests.unit.core.identification.world import NOW, USUAL, World
from whence.agent.config.phone_numbers import spellings
from whence.core.sip.phone_number import account_spellings, bare
from whence.core.sip.transport_address import (
    Transport,
    bits_of,
    canonical_network,
)
from whence.store.statements import PUT_ACCOUNT, PUT_NUMBER

spelt = cache(spellings)


def fill(db: sqlite3.Connection, world: World) -> None:
    for table in ("address", "number", "number_prefix", "trunk", "network", "prefix"):
        db.execute(f"DELETE FROM {table}")
    for trunk in world:
        row = {"unmatched": "accept", "fallback": False, "target": "sip:a@b", **trunk}
        country = str(row.pop("country", ""))
        looked = " ".join(trunk.get("number_headers", USUAL[0]))
        db.execute(
            "INSERT INTO trunk VALUES (:id, :token, :aor_user, :target, :unmatched, :fallback,"
            f" :enabled, '', NULL, '{looked}', '')",
            {key: value for key, value in row.items() if not isinstance(value, list)},
        )
        account = trunk["aor_user"]
        found = account_spellings(account) | (spelt(account, country) if bare(account) else set())
        db.executemany(PUT_ACCOUNT, [(spelling, trunk["id"]) for spelling in found])
        for spelling in {s for n in trunk["numbers"] for s in spelt(n, country)}:
            db.execute(PUT_NUMBER, (spelling, trunk["id"], 0, ""))
            if spelling.endswith("*"):
                db.execute("INSERT OR IGNORE INTO number_prefix VALUES (?)", (len(spelling) - 1,))
        for one in trunk["addresses"]:
            place = canonical_network(one["ip"])
            db.execute(
                "INSERT INTO address"
                " VALUES (?, ?, ?, ?, ?, 'learned', 'udp:x', ?, ?, ?, '', '', '')",
                (
                    trunk["id"],
                    str(place),
                    one["port"],
                    one["transport"],
                    Transport(one["transport"]).strength,
                    NOW - 9,
                    one["expires_at"],
                    one["exact"],
                ),
            )
            if isinstance(place, IPv4Network | IPv6Network):
                bits = bits_of(place)
                db.execute("INSERT OR IGNORE INTO network VALUES (?, ?)", (bits, str(place)))
                db.execute("INSERT OR IGNORE INTO prefix VALUES (?, ?)", (place.version, len(bits)))
