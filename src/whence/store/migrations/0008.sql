-- Open alarms outlast the agent.
CREATE TABLE alarm (
    kind      TEXT NOT NULL,
    trunk     TEXT NOT NULL,
    id        INTEGER NOT NULL,
    raised_at REAL NOT NULL,
    message   TEXT NOT NULL,
    published INTEGER NOT NULL,
    PRIMARY KEY (kind, trunk)
) STRICT, WITHOUT ROWID;
CREATE TABLE webhook_post (
    id   INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
