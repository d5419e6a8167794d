-- The directory's tables, of the version that schema.py names. SQL is the interface between the
-- agent, which writes them, and the edge, which reads them. A change needs a file in migrations.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE trunk (
    id        TEXT PRIMARY KEY,
    token     TEXT NOT NULL UNIQUE,
    aor_user  TEXT NOT NULL,
    target    TEXT NOT NULL,
    unmatched TEXT NOT NULL,        -- accept, refuse
    fallback  INTEGER NOT NULL,
    enabled   INTEGER NOT NULL,
    credentials_fingerprint TEXT NOT NULL,  -- tells other credentials from these, and hardly more
    gone_at   REAL,                 -- null: in the file; else only the token counts
    number_headers TEXT NOT NULL DEFAULT 'p-called-party-id to',    -- small letters, blanks between
    number_format  TEXT NOT NULL DEFAULT ''             -- Style; empty: as sent
) STRICT, WITHOUT ROWID;

CREATE TABLE address (
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,       -- canonical text of the value: an ip or a network
    port       INTEGER,             -- null: any
    transport  TEXT NOT NULL,       -- udp, tcp, tls
    strength   INTEGER NOT NULL,    -- of the transport: it admits no weaker one
    origin     TEXT NOT NULL,       -- learned, resolved, pinned
    socket     TEXT NOT NULL,       -- ours, on which it was learned
    learned_at REAL NOT NULL,
    expires_at REAL,                -- null: until removed
    exact      INTEGER NOT NULL,    -- whether no other port is admitted
    note       TEXT NOT NULL,       -- the operator's words
    managed_by TEXT NOT NULL,       -- of a pinned one: file, allow; empty of the others
    ground     TEXT NOT NULL,       -- of a learned one: asked, dns, networks, rspauth, any
    CHECK (NOT exact OR port IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX address_of_trunk
    ON address (trunk_id, ip, ifnull(port, 0), transport, origin, managed_by);
CREATE INDEX address_at ON address (ip, exact, strength);
CREATE INDEX address_at_port ON address (ip, port, strength);

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
    managed_by TEXT NOT NULL,
    ground     TEXT NOT NULL,
    ended_at   REAL NOT NULL,
    UNIQUE (trunk_id, ip, transport, origin)
) STRICT;
CREATE INDEX former_address_at ON former_address (ip, ended_at);
CREATE INDEX former_address_by_end ON former_address (ended_at);

CREATE TABLE ignored_reply (        -- to REGISTERs, of the last day, from whom was not asked
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip       TEXT NOT NULL,
    asked    TEXT NOT NULL,         -- the next hop of that REGISTER
    at       REAL NOT NULL,
    PRIMARY KEY (trunk_id, ip)
) STRICT;
CREATE INDEX ignored_reply_from ON ignored_reply (ip, at);

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
    spelling   TEXT NOT NULL,       -- of a number: bare; of a prefix, it ends in *
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    of_account INTEGER NOT NULL DEFAULT 0,  -- 1: its account, or a form of it as a number
    e164       TEXT NOT NULL DEFAULT '',    -- with + and country code, without *; empty: unknown
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

CREATE TABLE number_prefix (        -- of which lengths number.spelling has prefixes: few
    length INTEGER PRIMARY KEY      -- of what stands before the *
) STRICT;

CREATE TABLE user (
    name   TEXT NOT NULL,
    domain TEXT NOT NULL,
    md5    TEXT NOT NULL,           -- HA1: MD5(name:domain:password)
    PRIMARY KEY (name, domain)
) STRICT, WITHOUT ROWID;

CREATE TABLE registration (
    trunk_id    TEXT PRIMARY KEY,   -- goes with its trunk: to unregister is the agent's own
    aor         TEXT NOT NULL,      -- for whom, and at which server: with another aor or server
    server      TEXT NOT NULL,      -- it is another registration; empty of a drop-in's
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
    suspended   INTEGER NOT NULL,   -- whether the operator unregistered it or paused it
    failures    INTEGER NOT NULL,
    failure     TEXT,               -- of which kind they are: a restart must not begin anew
    last_status INTEGER,
    last_phrase TEXT NOT NULL,
    reason      TEXT,               -- core/registration/reason.py; null: nothing has come of it yet
    message     TEXT NOT NULL,      -- the same for people
    learned_until REAL,             -- when the last grant ends that taught an address
    unexpected  TEXT                -- who granted last, where nothing was learned from it
) STRICT, WITHOUT ROWID;

CREATE TABLE event (                -- the last of each trunk: core/registration/history.py
    id       INTEGER PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    at       REAL NOT NULL,
    what     TEXT NOT NULL,         -- core/registration/history.py EventKind
    status   INTEGER,               -- the answer that it came of
    reason   TEXT,                  -- core/registration/reason.py; null: it is not about a state
    message  TEXT NOT NULL          -- the same for people
) STRICT;
CREATE INDEX event_of_trunk ON event (trunk_id, id);
