-- Users may call out through trunks.
ALTER TABLE user ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
CREATE TABLE caller (
    name           TEXT NOT NULL,
    domain         TEXT NOT NULL,
    trunks         TEXT NOT NULL,
    caller_number  TEXT NOT NULL,
    caller_numbers TEXT NOT NULL,
    anonymous      INTEGER NOT NULL,
    limits         TEXT NOT NULL,
    PRIMARY KEY (name, domain)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbound_trunk (
    trunk_id      TEXT PRIMARY KEY REFERENCES trunk (id) ON DELETE CASCADE,
    account       TEXT NOT NULL,
    domain        TEXT NOT NULL,
    port          INTEGER,
    numbers       TEXT NOT NULL,
    plan          TEXT NOT NULL,
    number_format TEXT NOT NULL,
    from_user     TEXT NOT NULL,
    number_header TEXT NOT NULL,
    diversion     INTEGER NOT NULL,
    contact       TEXT NOT NULL,
    limits        TEXT NOT NULL,
    tls_name      TEXT NOT NULL,
    credentials   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE home (
    trunk_id TEXT PRIMARY KEY REFERENCES trunk (id) ON DELETE CASCADE,
    server   TEXT NOT NULL,
    socket   TEXT NOT NULL,
    contact  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE route (
    position INTEGER PRIMARY KEY,
    prefix   TEXT NOT NULL,
    pattern  TEXT NOT NULL,
    trunks   TEXT NOT NULL,
    users    TEXT NOT NULL,
    try_s    REAL NOT NULL
) STRICT;
