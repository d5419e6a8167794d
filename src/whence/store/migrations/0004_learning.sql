-- An address gets a ground, and ignored replies are stored.
--
-- Version 3 learned from each address that answered. If the next hop that granted has the ip of an
-- address, its ground is `asked`. Otherwise it is `any`, and the file must permit the address. For
-- a drop-in no next hop is known, and its addresses stay until they expire.
ALTER TABLE address ADD COLUMN ground TEXT NOT NULL DEFAULT '';
UPDATE address SET ground = ifnull((
    SELECT CASE WHEN instr(r.home, ':' || address.ip || ':') OR instr(r.home, '[' || address.ip || ']')
    THEN 'asked' ELSE 'any' END
    FROM registration r WHERE r.trunk_id = address.trunk_id AND r.home IS NOT NULL
), '') WHERE origin = 'learned';
ALTER TABLE former_address ADD COLUMN ground TEXT NOT NULL DEFAULT '';

CREATE TABLE ignored_reply (
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip       TEXT NOT NULL,
    asked    TEXT NOT NULL,
    at       REAL NOT NULL,
    PRIMARY KEY (trunk_id, ip)
) STRICT;
CREATE INDEX ignored_reply_from ON ignored_reply (ip, at);

ALTER TABLE registration ADD COLUMN learned_until REAL;
ALTER TABLE registration ADD COLUMN unexpected TEXT;
UPDATE registration SET learned_until = expires_at WHERE EXISTS (
    SELECT 1 FROM address a
    WHERE a.trunk_id = registration.trunk_id AND a.origin = 'learned' AND a.ground <> 'any'
);
