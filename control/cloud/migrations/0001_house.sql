-- Everything the cloud knows. Times are microseconds since 1970 UTC; ids of people and boxes are UUIDs as text,
-- of jobs and attempts integers inside, because every record and finding carries one.

CREATE TABLE users (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,               -- argon2id, PHC string
    scope    TEXT NOT NULL,
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id      TEXT PRIMARY KEY,
    user    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    digest  BLOB NOT NULL UNIQUE,         -- SHA-256 of the token: the token itself is shown once and kept nowhere
    scope   TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_of_user ON tokens (user);

CREATE TABLE code_failures (
    user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at   INTEGER NOT NULL
) STRICT;
CREATE INDEX code_failures_of_user ON code_failures (user, at);

CREATE TABLE enrolments (
    public_key BLOB PRIMARY KEY,
    code       TEXT NOT NULL UNIQUE,
    serial     TEXT NOT NULL,
    mac        TEXT NOT NULL,
    software   TEXT NOT NULL,
    pinned     INTEGER NOT NULL,          -- the box trusts our certificate by fingerprint
    source     TEXT NOT NULL,
    expires    INTEGER NOT NULL,
    used       INTEGER                    -- when a manager typed the code
) STRICT;
CREATE INDEX enrolments_by_source ON enrolments (source);

CREATE TABLE appliances (
    id             TEXT PRIMARY KEY,
    public_key     BLOB NOT NULL UNIQUE,
    name           TEXT NOT NULL UNIQUE,
    serial         TEXT NOT NULL,
    mac            TEXT NOT NULL,
    software       TEXT NOT NULL,
    source         TEXT NOT NULL,
    disabled       INTEGER NOT NULL DEFAULT 0,
    activated      INTEGER NOT NULL,
    activated_by   TEXT NOT NULL,         -- name of the user
    last_poll      INTEGER,
    last_results   INTEGER,
    box_generation INTEGER NOT NULL DEFAULT 0,
    generation     INTEGER NOT NULL DEFAULT 1,
    trunk          TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE jobs (
    key             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    appliance       TEXT NOT NULL REFERENCES appliances (id),
    name            TEXT NOT NULL,
    created         INTEGER NOT NULL,
    created_by      TEXT NOT NULL,
    request         TEXT NOT NULL,
    on_lost_contact TEXT NOT NULL,
    state           TEXT NOT NULL,
    fraction        REAL NOT NULL DEFAULT 0,
    attempt         INTEGER NOT NULL DEFAULT 0,   -- the current one; 0: none yet
    queued          INTEGER NOT NULL,             -- since when it waits for a box, while it does
    cancel          INTEGER NOT NULL DEFAULT 0,   -- a person asked to stop it
    started         INTEGER,
    ended           INTEGER,
    error           TEXT,
    hosts_up        INTEGER,                      -- once ended, what the findings come to;
    open_ports      INTEGER                       -- until then they are counted when asked for
) STRICT;
CREATE INDEX jobs_open ON jobs (appliance) WHERE ended IS NULL;

CREATE TABLE attempts (
    key         INTEGER PRIMARY KEY,
    job         INTEGER NOT NULL REFERENCES jobs (key),
    attempt     INTEGER NOT NULL,
    lease       TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    state       TEXT NOT NULL,
    next        INTEGER NOT NULL DEFAULT 0,       -- sequence number of the next record
    digest      BLOB NOT NULL,                    -- state of the SHA-256 over the records so far
    refusals    INTEGER NOT NULL DEFAULT 0,       -- commits refused because records were missing or differed
    committed   TEXT,                             -- digest in hex, once committed
    UNIQUE (job, attempt)
) STRICT;

-- Every record as it came, in order; (attempt, seq) once.
CREATE TABLE records (
    attempt INTEGER NOT NULL REFERENCES attempts (key),
    seq     INTEGER NOT NULL,
    line    TEXT NOT NULL,
    PRIMARY KEY (attempt, seq)
) STRICT, WITHOUT ROWID;

-- What the records of all attempts of a job come to. vlan 0 is the untagged LAN; ip is a family byte (4 or 6)
-- and the address, so that byte order is the order people expect.
CREATE TABLE hosts (
    job       INTEGER NOT NULL REFERENCES jobs (key),
    vlan      INTEGER NOT NULL,
    ip        BLOB NOT NULL,
    reason    TEXT NOT NULL,
    mac       TEXT,
    vendor    TEXT,
    rtt_us    INTEGER,
    ttl       INTEGER,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    sightings INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (job, vlan, ip)
) STRICT, WITHOUT ROWID;

CREATE TABLE ports (
    job       INTEGER NOT NULL REFERENCES jobs (key),
    vlan      INTEGER NOT NULL,
    ip        BLOB NOT NULL,
    proto     TEXT NOT NULL,
    port      INTEGER NOT NULL,
    state     TEXT NOT NULL,
    reason    TEXT NOT NULL,
    rtt_us    INTEGER,
    ttl       INTEGER,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    sightings INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (job, vlan, ip, proto, port)
) STRICT, WITHOUT ROWID;

CREATE TABLE leaks (
    job       INTEGER NOT NULL REFERENCES jobs (key),
    vlan      INTEGER NOT NULL,
    seen_vlan INTEGER NOT NULL,
    ip        BLOB NOT NULL,
    mac       TEXT NOT NULL,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    sightings INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (job, vlan, seen_vlan, ip, mac)
) STRICT, WITHOUT ROWID;
