CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE trunk (
    id        TEXT PRIMARY KEY,
    token     TEXT NOT NULL UNIQUE,
    aor_user  TEXT NOT NULL,
    target    TEXT NOT NULL,
    unmatched TEXT NOT NULL,        -- accept, refuse
    fallback  INTEGER NOT NULL,
    enabled   INTEGER NOT NULL,
    mark      TEXT NOT NULL,        -- tells other credentials from these, and hardly more
    gone_at   REAL,                 -- null: in the file; else only the token counts
    number_headers TEXT NOT NULL DEFAULT 'p-called-party-id to',    -- small letters, blanks between
    number_format  TEXT NOT NULL DEFAULT ''             -- core/number.py Style; empty: as sent
) STRICT, WITHOUT ROWID;

CREATE TABLE address (
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,       -- canonical text of the value: an ip or a network
    port       INTEGER,             -- null: any
    transport  TEXT NOT NULL,       -- udp, tcp, tls
    origin     TEXT NOT NULL,       -- learned, resolved, pinned
    socket     TEXT NOT NULL,       -- ours, on which it was learned
    learned_at REAL NOT NULL,
    expires_at REAL,                -- null: until removed
    exact      INTEGER NOT NULL,    -- whether no other port is admitted
    note       TEXT NOT NULL,       -- the operator's words
    in_file    INTEGER NOT NULL,    -- whether the file pins it: a new file takes it away
    CHECK (NOT exact OR port IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX address_of_trunk
    ON address (trunk_id, ip, ifnull(port, 0), transport, origin, in_file);
CREATE INDEX address_at ON address (ip, exact, instr('udp tcp tls', transport));
CREATE INDEX address_at_port ON address (ip, port, instr('udp tcp tls', transport));

CREATE TABLE former_address (       -- that ended in the last day: it admits nobody, but explains
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,
    port       INTEGER,
    transport  TEXT NOT NULL,
    origin     TEXT NOT NULL,
    socket     TEXT NOT NULL,
    learned_at REAL NOT NULL,
    expires_at REAL,
    exact      INTEGER NOT NULL,
    note       TEXT NOT NULL,
    in_file    INTEGER NOT NULL,
    ended_at   REAL NOT NULL,
    UNIQUE (trunk_id, ip, transport, origin)
) STRICT;
CREATE INDEX former_address_at ON former_address (ip, ended_at);
CREATE INDEX former_address_by_end ON former_address (ended_at);

CREATE TABLE network (              -- all that stand in address, found by how their bits begin
    bits TEXT PRIMARY KEY,
    ip   TEXT NOT NULL              -- as it stands in address
) STRICT, WITHOUT ROWID;

CREATE TABLE prefix (               -- of which lengths there are networks: few
    version INTEGER NOT NULL,       -- 4 or 6
    length  INTEGER NOT NULL,       -- of network.bits
    PRIMARY KEY (version, length)
) STRICT, WITHOUT ROWID;

CREATE TABLE fallback (             -- where trunks that are a fallback have addresses
    ip       TEXT NOT NULL,
    trunk_id TEXT NOT NULL,
    port     INTEGER NOT NULL,      -- 0: any
    PRIMARY KEY (ip, trunk_id, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX fallback_at_port ON fallback (ip, port, trunk_id);
CREATE INDEX fallback_of_trunk ON fallback (trunk_id);
CREATE TRIGGER fallback_comes AFTER INSERT ON address
    WHEN (SELECT fallback FROM trunk WHERE id = NEW.trunk_id) BEGIN
    INSERT OR IGNORE INTO fallback VALUES (NEW.ip, NEW.trunk_id, ifnull(NEW.port, 0)); END;
CREATE TRIGGER fallback_goes AFTER DELETE ON address
    WHEN NOT EXISTS (SELECT 1 FROM address a WHERE a.trunk_id = OLD.trunk_id AND a.ip = OLD.ip
        AND ifnull(a.port, 0) = ifnull(OLD.port, 0)) BEGIN
    DELETE FROM fallback
    WHERE ip = OLD.ip AND trunk_id = OLD.trunk_id AND port = ifnull(OLD.port, 0); END;
CREATE TRIGGER fallback_changes AFTER UPDATE OF fallback ON trunk
    WHEN OLD.fallback <> NEW.fallback BEGIN
    DELETE FROM fallback WHERE trunk_id = NEW.id; INSERT OR IGNORE INTO fallback
    SELECT ip, trunk_id, ifnull(port, 0) FROM address WHERE trunk_id = NEW.id AND NEW.fallback; END;

CREATE TABLE number (               -- what names a trunk in a request: its numbers, its account
    spelling   TEXT NOT NULL,       -- of a number: bare; of a range, it ends in *
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    of_account INTEGER NOT NULL DEFAULT 0,  -- 1: its account, or a form of it as a number
    e164       TEXT NOT NULL DEFAULT '',    -- with + and country, without *; empty: unknown
    PRIMARY KEY (spelling, trunk_id, of_account)
) STRICT, WITHOUT ROWID;
CREATE INDEX number_of_trunk ON number (trunk_id, of_account);
CREATE TRIGGER account_comes AFTER INSERT ON trunk WHEN NEW.aor_user <> '' BEGIN
    INSERT OR IGNORE INTO number (spelling, trunk_id, of_account)
    VALUES (NEW.aor_user, NEW.id, 1); END;
CREATE TRIGGER account_changes AFTER UPDATE OF aor_user ON trunk
    WHEN OLD.aor_user <> NEW.aor_user BEGIN
    DELETE FROM number WHERE trunk_id = NEW.id AND of_account; INSERT OR IGNORE INTO number
    (spelling, trunk_id, of_account) SELECT NEW.aor_user, NEW.id, 1 WHERE NEW.aor_user <> ''; END;

CREATE TABLE range (                -- of which lengths there are ranges: few
    length INTEGER PRIMARY KEY      -- of what stands before the *
) STRICT;

CREATE TABLE user (
    name   TEXT NOT NULL,
    domain TEXT NOT NULL,
    md5    TEXT NOT NULL,           -- HA1: MD5(name:domain:password)
    PRIMARY KEY (name, domain)
) STRICT, WITHOUT ROWID;

CREATE TABLE registration (
    trunk_id    TEXT PRIMARY KEY,   -- goes with its trunk: the taking back is the agent's own
    account     TEXT NOT NULL,      -- for whom and where; another account is another registration
    call_id     TEXT NOT NULL,
    cseq        INTEGER NOT NULL,
    state       TEXT NOT NULL,
    since       REAL NOT NULL,
    granted_s   INTEGER,
    expires_at  REAL,
    registered_at REAL,             -- since when something has been granted without a gap
    next_at     REAL,
    registrar   TEXT,               -- the address that granted last
    home        TEXT,               -- the next hop that it was reached by
    held        INTEGER NOT NULL,   -- whether the operator took it back or parked it
    failures    INTEGER NOT NULL,
    failure     TEXT,               -- of which kind they are: a restart must not begin anew
    last_status INTEGER,
    last_phrase TEXT NOT NULL,
    reason      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE event (                -- the last of each trunk: core/history.py
    id       INTEGER PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    at       REAL NOT NULL,
    what     TEXT NOT NULL,
    status   INTEGER,               -- the answer that it came of
    reason   TEXT NOT NULL
) STRICT;
CREATE INDEX event_of_trunk ON event (trunk_id, id);
