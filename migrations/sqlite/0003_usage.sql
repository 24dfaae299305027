-- One row for each finished request, until it expires. Texts that are not known are empty.
CREATE TABLE usage_events (
    id             TEXT    NOT NULL PRIMARY KEY, -- the decision, or node/start/port
    at_ms          INTEGER NOT NULL,
    key_id         TEXT    NOT NULL,
    key_name       TEXT    NOT NULL,
    org_code       TEXT    NOT NULL,
    user_id        TEXT    NOT NULL,
    route          TEXT    NOT NULL,
    method         TEXT    NOT NULL,
    path           TEXT    NOT NULL, -- without the query
    status         INTEGER NOT NULL,
    outcome        TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    flags          TEXT    NOT NULL, -- Envoy's, separated by commas
    details        TEXT    NOT NULL,
    guard          TEXT    NOT NULL,
    failed         INTEGER NOT NULL,
    input_bytes    INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    input_chars    INTEGER,
    response_chars INTEGER,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    total_tokens   INTEGER,
    duration_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_events_by_time ON usage_events (at_ms, id);
CREATE INDEX usage_events_by_key ON usage_events (key_id, at_ms, id);
CREATE INDEX usage_events_by_org ON usage_events (org_code, at_ms, id);

-- Sums by hour, kept up in the transaction that writes the events.
CREATE TABLE usage_rollups (
    id              INTEGER NOT NULL PRIMARY KEY,
    hour            INTEGER NOT NULL, -- since the Unix epoch
    key_id          TEXT    NOT NULL,
    org_code        TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    route           TEXT    NOT NULL,
    status          INTEGER NOT NULL,
    requests        INTEGER NOT NULL,
    errors          INTEGER NOT NULL,
    input_length    INTEGER NOT NULL,
    response_length INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    tokens          INTEGER NOT NULL,
    UNIQUE (hour, key_id, org_code, user_id, route, status)
) STRICT;

CREATE INDEX usage_rollups_by_key ON usage_rollups (key_id, hour);
CREATE INDEX usage_rollups_by_org ON usage_rollups (org_code, hour);
CREATE INDEX usage_rollups_by_user ON usage_rollups (user_id, hour);

-- How often each duration was met: buckets that grow by a tenth.
CREATE TABLE usage_durations (
    rollup_id INTEGER NOT NULL REFERENCES usage_rollups (id) ON DELETE CASCADE,
    bucket    INTEGER NOT NULL,
    requests  INTEGER NOT NULL,
    PRIMARY KEY (rollup_id, bucket)
) STRICT, WITHOUT ROWID;

-- When a key was last used, and how often.
CREATE TABLE usage_keys (
    key_id       TEXT    NOT NULL PRIMARY KEY,
    last_used_ms INTEGER NOT NULL,
    uses         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Decisions of a replica in a minute, and the events that came back for them.
CREATE TABLE usage_minutes (
    replica INTEGER NOT NULL,
    minute  INTEGER NOT NULL, -- since the Unix epoch
    made    INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    settled INTEGER NOT NULL, -- 1 once the difference was counted as missing
    PRIMARY KEY (replica, minute)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_minutes_open ON usage_minutes (minute) WHERE settled = 0;

-- Starts and stops of servers on this store: one that has not stopped, and is gone, stopped uncleanly.
CREATE TABLE usage_runs (
    replica    INTEGER NOT NULL PRIMARY KEY,
    process    TEXT    NOT NULL,
    started_ms INTEGER NOT NULL,
    alive_ms   INTEGER NOT NULL,
    stopped_ms INTEGER
) STRICT;
