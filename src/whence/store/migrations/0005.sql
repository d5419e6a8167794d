-- Registrations and events get codes beside their messages. An account is an AoR and a server.
--
-- `account` was "AoR at server"; for a drop-in it was the AoR alone. No server contains a blank, so
-- the last blank ends " at ". The codes are derived from the messages of that version. An unknown
-- message gets no code. Events get no codes, because their codes only inform.
CREATE TEMP TABLE kept AS
SELECT *, rtrim(account, replace(account, ' ', '')) AS before_server FROM registration;
DROP TABLE registration;
CREATE TABLE registration (
    trunk_id    TEXT PRIMARY KEY,
    aor         TEXT NOT NULL,
    server      TEXT NOT NULL,
    call_id     TEXT NOT NULL,
    cseq        INTEGER NOT NULL,
    state       TEXT NOT NULL,
    since       REAL NOT NULL,
    granted_s   INTEGER,
    expires_at  REAL,
    registered_at REAL,
    next_at     REAL,
    registrar   TEXT,
    home        TEXT,
    held        INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    failure     TEXT,
    last_status INTEGER,
    last_phrase TEXT NOT NULL,
    reason      TEXT,
    message     TEXT NOT NULL,
    learned_until REAL,
    unexpected  TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO registration
SELECT
    trunk_id,
    CASE WHEN before_server LIKE '% at ' THEN substr(before_server, 1, length(before_server) - 4)
    ELSE account END,
    CASE WHEN before_server LIKE '% at ' THEN substr(account, length(before_server) + 1)
    ELSE '' END,
    call_id, cseq, state, since, granted_s, expires_at, registered_at, next_at, registrar, home,
    held, failures, replace(failure, ' ', '_'), last_status, last_phrase,
    CASE
    WHEN reason LIKE 'granted % was asked: no address is learned'
    THEN 'granted_by_unexpected_address'
    WHEN reason GLOB 'granted [0-9]* s' THEN 'granted'
    WHEN reason = 'taken back' THEN 'taken_back'
    WHEN reason LIKE 'taken back; %' THEN 'taken_back_unconfirmed'
    WHEN reason = 'parked by the operator' THEN 'parked_by_operator'
    WHEN reason = 'wrong credentials' THEN 'wrong_credentials'
    WHEN reason LIKE 'no challenge that can be answered%' THEN 'no_usable_challenge'
    WHEN reason = 'challenged again and again' THEN 'challenged_too_often'
    WHEN reason = 'redirected to a name that has no address' THEN 'redirect_without_address'
    WHEN reason LIKE '% which was not asked: it is not followed'
    THEN 'redirect_by_unexpected_address'
    WHEN reason LIKE '423 with Min-Expires %' THEN 'interval_too_brief'
    WHEN reason = 'the registrar lists other contacts, and not ours' THEN 'contact_not_listed'
    WHEN reason = 'the registrar granted no time' THEN 'no_time_granted'
    WHEN reason = 'no answer' THEN 'no_answer'
    WHEN reason = 'no address of the registrar is known' THEN 'no_address'
    WHEN reason = 'refused' THEN 'rejected'
    WHEN reason <> trim(last_status || ' ' || last_phrase) THEN NULL
    WHEN last_status BETWEEN 300 AND 399 THEN 'redirect_refused'
    WHEN last_status IN (408, 430) OR last_status >= 500 THEN 'server_failed'
    WHEN last_status BETWEEN 400 AND 499 THEN 'rejected'
    END,
    reason, learned_until, unexpected
FROM temp.kept;
DROP TABLE temp.kept;

CREATE TEMP TABLE kept AS SELECT * FROM event;
DROP TABLE event;
CREATE TABLE event (
    id       INTEGER PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    at       REAL NOT NULL,
    what     TEXT NOT NULL,
    status   INTEGER,
    reason   TEXT,
    message  TEXT NOT NULL
) STRICT;
CREATE INDEX event_of_trunk ON event (trunk_id, id);
INSERT INTO event SELECT id, trunk_id, at, what, status, NULL, reason FROM temp.kept;
DROP TABLE temp.kept;
