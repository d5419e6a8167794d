"""The SQL statements that write and list the directory. `lookup.py` has those of identification."""

from __future__ import annotations

USER_HA1 = "SELECT md5 FROM user WHERE name = ? AND domain = ?"
USER_SHA256 = "SELECT sha256 FROM user WHERE name = ? AND domain = ? AND sha256 != ''"
USER_WITHOUT_SHA256 = "SELECT 1 FROM user WHERE sha256 = '' LIMIT 1"


_COLUMNS = (
    "ip, port, transport, origin, socket, learned_at, expires_at, exact, note, managed_by, ground"
)


ADDRESSES = f"SELECT trunk_id, {_COLUMNS} FROM address ORDER BY trunk_id, ip, port"


FORMER_ADDRESSES = f"SELECT {_COLUMNS}, ended_at FROM former_address WHERE trunk_id = ? LIMIT 100"


ADDRESSES_OF_TRUNK = f"SELECT {_COLUMNS} FROM address WHERE trunk_id = ? LIMIT 100"


END_ADDRESSES = f"""
INSERT OR REPLACE INTO former_address (trunk_id, {_COLUMNS}, ended_at)
SELECT trunk_id, {_COLUMNS}, min(ifnull(expires_at, :now), :now) FROM address WHERE {{which}}
"""
"""Copy ending addresses to `former_address`. `which`: a condition on rows of `address`."""


NEAR = """
SELECT trunk_id FROM (SELECT trunk_id FROM address WHERE ip = :ip LIMIT 100)
UNION SELECT trunk_id FROM (
    SELECT a.trunk_id FROM prefix p CROSS JOIN network n
    ON p.version = :version AND n.bits = substr(:bits, 1, p.length)
    CROSS JOIN address a ON a.ip = n.ip LIMIT 100
)
UNION SELECT trunk_id FROM (
    SELECT trunk_id FROM former_address WHERE ip = :ip ORDER BY ended_at DESC LIMIT 100
)
UNION SELECT trunk_id FROM (
    SELECT trunk_id FROM former_address WHERE origin = 'pinned' ORDER BY ended_at DESC LIMIT 100
)
UNION SELECT trunk_id FROM (
    SELECT trunk_id FROM ignored_reply WHERE ip = :ip ORDER BY at DESC LIMIT 100
)
"""
"""Trunks near an ip, some of each kind: they have or had an address or network there, or a reply
to their REGISTER came from there."""


IGNORED_REPLIES = "SELECT ip, asked, at FROM ignored_reply WHERE trunk_id = ? LIMIT 100"


IGNORED_LIMIT = 16
"""How many ignored replies of one trunk are kept; one for each ip."""


PUT_IGNORED = "INSERT OR REPLACE INTO ignored_reply SELECT ?, ?, ?, ? FROM trunk WHERE id = ?1"
"""Write an ignored reply: trunk id, ip, next hop of the REGISTER, instant."""


TRIM_IGNORED = f"""
DELETE FROM ignored_reply WHERE trunk_id = ? AND rowid NOT IN (
    SELECT rowid FROM ignored_reply WHERE trunk_id = ?1 ORDER BY at DESC LIMIT {IGNORED_LIMIT}
)
"""


DROP_IGNORED = "DELETE FROM ignored_reply WHERE trunk_id = ? AND ip = ?"
"""Remove the ignored reply of an ip that is learned now."""


_KEYS = (
    "id, token, aor_user, target, unmatched, fallback, enabled, credentials_fingerprint, gone_at"
)


PUT_TRUNK = f"""
INSERT INTO trunk ({_KEYS}, number_headers, number_format)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)
ON CONFLICT (id) DO UPDATE SET aor_user = excluded.aor_user, target = excluded.target,
unmatched = excluded.unmatched, fallback = excluded.fallback, enabled = excluded.enabled,
credentials_fingerprint = excluded.credentials_fingerprint,
number_headers = excluded.number_headers,
number_format = excluded.number_format
"""
"""Write a trunk of the file. A trunk that is already stored keeps its token."""


PUT_GONE = f"INSERT INTO trunk ({_KEYS}) VALUES (?, ?, '', '', 'refuse', 0, 0, '', ?)"
"""Keep the token of a removed trunk: id, token, instant of the removal."""


PUT_NAMED = f"""
INSERT INTO trunk ({_KEYS}) VALUES (?, ?, '', '', 'accept', 0, 1, '', NULL)
ON CONFLICT (id) DO NOTHING
"""
"""Write a trunk of which only id and token are known yet."""


PUT_UAC_ACCOUNT = f"""
INSERT INTO trunk ({_KEYS}) VALUES (?, ?, ?, ?, 'accept', 0, 1, '', NULL)
ON CONFLICT (id) DO UPDATE SET aor_user = excluded.aor_user, target = excluded.target, enabled = 1
"""
"""Write a trunk that `uac` registers: id, token, user, target."""


PUT_NUMBER = "INSERT OR REPLACE INTO number VALUES (?, ?, ?, ?)"
"""Write a spelling: spelling, trunk id, whether it is of the account, the number in E.164."""


DROP_NUMBERS = "DELETE FROM number WHERE NOT of_account"


PUT_ACCOUNT = "INSERT OR IGNORE INTO number (spelling, trunk_id, of_account) VALUES (?, ?, 1)"
"""Write one form of a trunk's account. A trigger writes the account itself."""


PUT_NUMBER_PREFIXES = """
INSERT INTO number_prefix SELECT DISTINCT length(spelling) - 1 FROM number
WHERE spelling LIKE '%*' AND NOT of_account
"""
"""Fill the empty table `number_prefix` with the lengths of the prefixes in `number`."""


PUT_ADDRESS = f"""
INSERT INTO address (trunk_id, {_COLUMNS}, strength) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trunk_id, ip, ifnull(port, 0), transport, origin, managed_by) DO UPDATE SET
expires_at = excluded.expires_at, socket = excluded.socket, exact = excluded.exact,
note = excluded.note, ground = excluded.ground
"""
"""Write an address. One that is already stored keeps its `learned_at`."""


IN_FILE = f"SELECT {_COLUMNS} FROM address WHERE trunk_id = ? AND managed_by = 'file' LIMIT 1000"
"""The addresses that the file pins for a trunk."""


LEARNED_UNTIL = """SELECT expires_at, exact FROM address
    WHERE trunk_id = ? AND ip = ? AND +port = ? AND transport = ? AND origin = 'learned'"""
"""The expiry of an address that a trunk already learned. The unary + keeps SQLite from the index by
ip and port: thousands of trunks may be at that address."""


_REGISTRATION = (
    "trunk_id, aor, server, call_id, cseq, state, since, granted_s, expires_at, registered_at,"
    " next_at, registrar, home, suspended, failures, failure, last_status, last_phrase, reason,"
    " message, learned_until, unexpected, nonces, auth_rejections"
)


REGISTRATIONS = f"SELECT {_REGISTRATION} FROM registration"


REGISTRATION = f"{REGISTRATIONS} WHERE trunk_id = ?"


PUT_REGISTRATION = f"INSERT OR REPLACE INTO registration VALUES ({', '.join('?' * 24)})"
"""Write a registration; `registration_row` makes the parameters."""


_EVENT = "what, message, status, reason"


PUT_EVENT = f"INSERT INTO event (trunk_id, at, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?)"
"""Write an event; `event_row` makes the parameters."""


EVENTS_OF_TRUNK = f"SELECT at, {_EVENT} FROM event WHERE trunk_id = ? ORDER BY id"


EVENTS_AFTER = f"SELECT id, trunk_id, {_EVENT} FROM event WHERE id > ? ORDER BY id"


TRIM_EVENTS = """
DELETE FROM event WHERE trunk_id = :id AND id <= (
    SELECT id FROM event WHERE trunk_id = :id ORDER BY id DESC LIMIT 1 OFFSET :limit
)
"""
"""Keep the last `limit` events of a trunk."""
