-- A trunk gets headers and a number format, and table `number` also holds accounts.
-- `account_forms` is a Python function: it returns the forms of an account as a JSON list.
ALTER TABLE trunk ADD COLUMN number_headers TEXT NOT NULL DEFAULT 'p-called-party-id to';
ALTER TABLE trunk ADD COLUMN number_format TEXT NOT NULL DEFAULT '';
DROP INDEX IF EXISTS trunk_of_aor_user;

CREATE TEMP TABLE kept AS SELECT * FROM number;
DROP TABLE number;
CREATE TABLE number (
    spelling   TEXT NOT NULL,
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    of_account INTEGER NOT NULL DEFAULT 0,
    e164       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (spelling, trunk_id, of_account)
) STRICT, WITHOUT ROWID;
CREATE INDEX number_of_trunk ON number (trunk_id, of_account);
INSERT INTO number (spelling, trunk_id) SELECT spelling, trunk_id FROM temp.kept;
DROP TABLE temp.kept;
INSERT INTO number (spelling, trunk_id, of_account)
SELECT form.value, trunk.id, 1 FROM trunk, json_each(account_forms(trunk.aor_user)) form
WHERE trunk.aor_user <> '';

CREATE TRIGGER account_comes AFTER INSERT ON trunk WHEN NEW.aor_user <> '' BEGIN
    INSERT OR IGNORE INTO number (spelling, trunk_id, of_account)
    VALUES (NEW.aor_user, NEW.id, 1); END;
CREATE TRIGGER account_changes AFTER UPDATE OF aor_user ON trunk
    WHEN OLD.aor_user <> NEW.aor_user BEGIN
    DELETE FROM number WHERE trunk_id = NEW.id AND of_account; INSERT OR IGNORE INTO number
    (spelling, trunk_id, of_account) SELECT NEW.aor_user, NEW.id, 1 WHERE NEW.aor_user <> ''; END;
