"""The tables of the index file. Whoever changes them raises `FORMAT`: a file of another format is emptied.

`parsed`: files as they were read and checked, by blob id (20 bytes) and digest of the schemas.
The others describe one tree, `about.tree`:
`manifest`: every manifest and every host that a HostSet stands for: where it stands (document `number` in its file, `member` in its set or -1, `line`), the set
of inputs that a host was resolved from, what identifies it in its networks, whether its resources may differ from the record (`open`), why it is
unknown (`problem`, null: it is not), where it moved from.
`used`: which sets hold an input; `inputs`: the sets. `identity`: who has an address, a MAC, or what else a machine is known by. `bad`: files with problems.
`project`: directories of Ansible projects and the Roles that name them. `finding`: problems that only show when everything is known.
`orphan`: groups with a record and no manifest. `secret`: tokens of the secrets in use.
"""

FORMAT = 3

TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE parsed (blob BLOB, schemas INTEGER, body BLOB NOT NULL, PRIMARY KEY (blob, schemas)) WITHOUT ROWID",
    """CREATE TABLE manifest (
        ref TEXT NOT NULL, path TEXT NOT NULL, number INTEGER NOT NULL, member INTEGER NOT NULL, blob BLOB NOT NULL, line INTEGER NOT NULL, inputs INTEGER,
        identity TEXT NOT NULL, open INTEGER NOT NULL, problem TEXT, moved TEXT, PRIMARY KEY (ref, path, number, member)
    ) WITHOUT ROWID""",
    "CREATE INDEX manifest_by_inputs ON manifest (inputs) WHERE inputs IS NOT NULL",
    "CREATE INDEX manifest_open ON manifest (ref) WHERE open = 1",
    "CREATE INDEX manifest_problem ON manifest (ref) WHERE problem IS NOT NULL",
    "CREATE INDEX manifest_moved ON manifest (moved) WHERE moved IS NOT NULL",
    "CREATE TABLE inputs (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE)",
    "CREATE TABLE used (input TEXT, inputs INTEGER, PRIMARY KEY (input, inputs)) WITHOUT ROWID",
    "CREATE TABLE identity (value TEXT, ref TEXT, PRIMARY KEY (value, ref)) WITHOUT ROWID",
    "CREATE TABLE bad (path TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE project (directory TEXT, path TEXT, number INTEGER, line INTEGER, ref TEXT, PRIMARY KEY (directory, path, number)) WITHOUT ROWID",
    "CREATE TABLE finding (owner TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX finding_by_owner ON finding (owner)",
    "CREATE TABLE orphan (ref TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE secret (name TEXT PRIMARY KEY, token TEXT NOT NULL) WITHOUT ROWID",
)

OF_A_TREE = ("manifest", "inputs", "used", "identity", "bad", "project", "finding", "orphan", "secret")
"""What is emptied before another tree is compiled from nothing."""
