-- A pinned address says who manages it, and a transport has a strength as a number beside it.
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

UPDATE event SET what = CASE what WHEN 'admitted' THEN 'allowed' WHEN 'expelled' THEN 'revoked' END
    WHERE what IN ('admitted', 'expelled');
