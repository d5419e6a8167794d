-- The trunks, users and routes of the API. Only the agent opens this file.
CREATE TABLE entry (
    kind TEXT NOT NULL,               -- trunk, user, route
    id TEXT NOT NULL,
    settings TEXT NOT NULL,           -- JSON: the keys of the settings file, without secrets
    secrets BLOB NOT NULL,            -- JSON of the secret keys, encrypted
    revision INTEGER NOT NULL,        -- grows with each change of any entry
    changed_at REAL NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE revision (last INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (0);
