-- A pinned address gets `managed_by`, and an address gets the strength of its transport.
-- States, reasons, kinds of events and columns get new names.
UPDATE meta SET key = 'agent_key' WHERE key = 'inside_key';
CREATE TEMP TABLE kept AS SELECT * FROM address;
DROP TABLE address;
CREATE TABLE address (
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,
    port       INTEGER,
    transport  TEXT NOT NULL,
    strength   INTEGER NOT NULL,
    origin     TEXT NOT NULL,
    socket     TEXT NOT NULL,
    learned_at REAL NOT NULL,
    expires_at REAL,
    exact      INTEGER NOT NULL,
    note       TEXT NOT NULL,
    managed_by TEXT NOT NULL,
    ground     TEXT NOT NULL,
    CHECK (NOT exact OR port IS NOT NULL)
) STRICT;
INSERT INTO address
SELECT
    trunk_id, ip, port, transport,
    CASE transport WHEN 'udp' THEN 0 WHEN 'tcp' THEN 1 WHEN 'tls' THEN 2 END,
    origin, socket, learned_at, expires_at, exact, note,
    CASE WHEN origin <> 'pinned' THEN '' WHEN in_file THEN 'file' ELSE 'allow' END,
    ground
FROM temp.kept;
DROP TABLE temp.kept;
CREATE UNIQUE INDEX address_of_trunk
    ON address (trunk_id, ip, ifnull(port, 0), transport, origin, managed_by);
CREATE INDEX address_at ON address (ip, exact, strength);
CREATE INDEX address_at_port ON address (ip, port, strength);
CREATE TRIGGER fallback_comes AFTER INSERT ON address
    WHEN (SELECT fallback FROM trunk WHERE id = NEW.trunk_id) BEGIN
    INSERT OR IGNORE INTO fallback VALUES (NEW.ip, NEW.trunk_id, ifnull(NEW.port, 0)); END;
CREATE TRIGGER fallback_goes AFTER DELETE ON address
    WHEN NOT EXISTS (SELECT 1 FROM address a WHERE a.trunk_id = OLD.trunk_id AND a.ip = OLD.ip
        AND ifnull(a.port, 0) = ifnull(OLD.port, 0)) BEGIN
    DELETE FROM fallback
    WHERE ip = OLD.ip AND trunk_id = OLD.trunk_id AND port = ifnull(OLD.port, 0); END;

CREATE TEMP TABLE kept AS SELECT * FROM former_address;
DROP TABLE former_address;
CREATE TABLE former_address (
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
INSERT INTO former_address
SELECT
    trunk_id, ip, port, transport, origin, socket, learned_at, expires_at, exact, note,
    CASE WHEN origin <> 'pinned' THEN '' WHEN in_file THEN 'file' ELSE 'allow' END,
    ground, ended_at
FROM temp.kept;
DROP TABLE temp.kept;
CREATE INDEX former_address_at ON former_address (ip, ended_at);
CREATE INDEX former_address_by_end ON former_address (ended_at);

ALTER TABLE trunk RENAME COLUMN mark TO credentials_fingerprint;
UPDATE meta SET key = 'fingerprint_key' WHERE key = 'mark_key';

CREATE TABLE number_prefix (
    length INTEGER PRIMARY KEY
) STRICT;
INSERT INTO number_prefix SELECT length FROM range;
DROP TABLE range;

ALTER TABLE registration RENAME COLUMN held TO suspended;
UPDATE registration SET state = 'paused'
WHERE state = 'parked' AND (suspended OR reason = 'parked_by_operator');
UPDATE registration SET state = 'auth_failed' WHERE state = 'parked';
UPDATE registration SET message = CASE reason
    WHEN 'parked_by_operator' THEN 'paused by the operator'
    ELSE replace(message, 'taken back', 'unregistered') END
WHERE reason IN ('parked_by_operator', 'taken_back', 'taken_back_unconfirmed');
UPDATE registration SET reason = CASE reason
    WHEN 'parked_by_operator' THEN 'paused_by_operator'
    WHEN 'taken_back' THEN 'unregistered'
    WHEN 'taken_back_unconfirmed' THEN 'unregistered_unconfirmed'
    WHEN 'lapsed' THEN 'expired' END
WHERE reason IN ('parked_by_operator', 'taken_back', 'taken_back_unconfirmed', 'lapsed');

UPDATE event SET what = CASE what
    WHEN 'parked' THEN CASE
        WHEN reason = 'parked_by_operator' OR message = 'parked by the operator' THEN 'paused'
        ELSE 'auth_failed' END
    WHEN 'wanted' THEN 'register_requested'
    WHEN 'held' THEN 'suspended'
    WHEN 'silent' THEN 'keepalive_failed'
    WHEN 'lapsed' THEN 'expired'
    WHEN 'moved' THEN 'registrar_changed'
    WHEN 'admitted' THEN 'allowed'
    WHEN 'expelled' THEN 'revoked'
    ELSE what END;
UPDATE event SET reason = CASE reason
    WHEN 'parked_by_operator' THEN 'paused_by_operator'
    WHEN 'taken_back' THEN 'unregistered'
    WHEN 'taken_back_unconfirmed' THEN 'unregistered_unconfirmed'
    WHEN 'lapsed' THEN 'expired' END
WHERE reason IN ('parked_by_operator', 'taken_back', 'taken_back_unconfirmed', 'lapsed');
