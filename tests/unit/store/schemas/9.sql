CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE trunk (
    id        TEXT PRIMARY KEY,
    token     TEXT NOT NULL UNIQUE,
    aor_user  TEXT NOT NULL,
    target    TEXT NOT NULL,
    unmatched TEXT NOT NULL,        -- accept, refuse
    fallback  INTEGER NOT NULL,
    enabled   INTEGER NOT NULL,
    credentials_fingerprint TEXT NOT NULL,  -- 16 bits of a hash: only notices a change
    gone_at   REAL,                 -- null: in the file; else only its token is kept
    number_headers TEXT NOT NULL DEFAULT 'p-called-party-id to',    -- lower case, with blanks between
    number_format  TEXT NOT NULL DEFAULT ''             -- Style; empty: as sent
) STRICT, WITHOUT ROWID;

CREATE TABLE address (
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,       -- an ip or a network, as canonical text
    port       INTEGER,             -- null: any
    transport  TEXT NOT NULL,       -- udp, tcp, tls
    strength   INTEGER NOT NULL,    -- of the transport; a weaker one is not admitted
    origin     TEXT NOT NULL,       -- learned, resolved, pinned
    socket     TEXT NOT NULL,       -- our socket on which it was learned
    learned_at REAL NOT NULL,
    expires_at REAL,                -- null: valid until it is removed
    exact      INTEGER NOT NULL,    -- 1: no other port is admitted
    note       TEXT NOT NULL,       -- the operator's reason
    managed_by TEXT NOT NULL,       -- if pinned: file or allow; else empty
    ground     TEXT NOT NULL,       -- if learned: asked, dns, networks, rspauth, any
    CHECK (NOT exact OR port IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX address_of_trunk
    ON address (trunk_id, ip, ifnull(port, 0), transport, origin, managed_by);
CREATE INDEX address_at ON address (ip, exact, strength);
CREATE INDEX address_at_port ON address (ip, port, strength);

CREATE TABLE former_address (       -- ended within the last day: admits nothing, but explains
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

CREATE TABLE ignored_reply (        -- a reply to a REGISTER, within the last day, from another server
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip       TEXT NOT NULL,
    asked    TEXT NOT NULL,         -- the next hop of that REGISTER
    at       REAL NOT NULL,
    PRIMARY KEY (trunk_id, ip)
) STRICT;
CREATE INDEX ignored_reply_from ON ignored_reply (ip, at);

CREATE TABLE network (              -- all networks in address, found by their first bits
    bits TEXT PRIMARY KEY,
    ip   TEXT NOT NULL              -- as in address
) STRICT, WITHOUT ROWID;

CREATE TABLE prefix (               -- the lengths of all networks: few
    version INTEGER NOT NULL,       -- 4 or 6
    length  INTEGER NOT NULL,       -- of network.bits
    PRIMARY KEY (version, length)
) STRICT, WITHOUT ROWID;

CREATE TABLE fallback (             -- the addresses of trunks that are a fallback
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

CREATE TABLE number (               -- the numbers and the account that name a trunk
    spelling   TEXT NOT NULL,       -- a bare number, or a prefix that ends in *
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    of_account INTEGER NOT NULL DEFAULT 0,  -- 1: its account, or the account as a number
    e164       TEXT NOT NULL DEFAULT '',    -- with + and country code, no *; empty: unknown
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

CREATE TABLE number_prefix (        -- the lengths of all prefixes in number.spelling: few
    length INTEGER PRIMARY KEY      -- without the *
) STRICT;

CREATE TABLE user (
    name   TEXT NOT NULL,
    domain TEXT NOT NULL,
    md5    TEXT NOT NULL,           -- HA1: MD5(name:domain:password)
    PRIMARY KEY (name, domain)
) STRICT, WITHOUT ROWID;

CREATE TABLE registration (
    trunk_id    TEXT PRIMARY KEY,   -- no reference: the agent unregisters a removed trunk itself
    aor         TEXT NOT NULL,      -- aor and server are the account key: another key is another
    server      TEXT NOT NULL,      -- registration; the server of a drop-in is empty
    call_id     TEXT NOT NULL,
    cseq        INTEGER NOT NULL,
    state       TEXT NOT NULL,
    since       REAL NOT NULL,
    granted_s   INTEGER,
    expires_at  REAL,
    registered_at REAL,             -- since when it is registered without a gap
    next_at     REAL,
    registrar   TEXT,               -- the address that granted last
    home        TEXT,               -- the next hop of that REGISTER
    suspended   INTEGER NOT NULL,   -- 1: the operator unregistered or paused it
    failures    INTEGER NOT NULL,
    failure     TEXT,               -- their kind, so that a restart continues the backoff
    last_status INTEGER,
    last_phrase TEXT NOT NULL,
    reason      TEXT,               -- core/registration/reason.py; null: no attempt has ended yet
    message     TEXT NOT NULL,      -- the reason for people
    learned_until REAL,             -- the end of the last grant that taught an address
    unexpected  TEXT,               -- the address that granted last, if it taught none
    nonces      TEXT NOT NULL DEFAULT '',   -- the counts of the last nonces
    auth_rejections TEXT NOT NULL DEFAULT ''    -- when credentials were rejected recently
) STRICT, WITHOUT ROWID;

CREATE TABLE event (                -- the last events of each trunk: core/registration/history.py
    id       INTEGER PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    at       REAL NOT NULL,
    what     TEXT NOT NULL,         -- core/registration/history.py EventKind
    status   INTEGER,               -- of the answer that caused it
    reason   TEXT,                  -- core/registration/reason.py; null: not about a state
    message  TEXT NOT NULL          -- the event for people
) STRICT;
CREATE INDEX event_of_trunk ON event (trunk_id, id);

CREATE TABLE alarm (                -- that is open: core/monitoring/alarms.py
    kind      TEXT NOT NULL,
    trunk     TEXT NOT NULL,        -- empty: it concerns no single trunk
    id        INTEGER NOT NULL,
    raised_at REAL NOT NULL,
    message   TEXT NOT NULL,
    published INTEGER NOT NULL,     -- whether the log and the webhook have it
    PRIMARY KEY (kind, trunk)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_post (         -- that waits for the webhook
    id   INTEGER PRIMARY KEY,       -- of the alarm
    body TEXT NOT NULL              -- JSON
) STRICT;
