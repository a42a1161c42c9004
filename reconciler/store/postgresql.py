"""A store in PostgreSQL, through psycopg. Imported only when `database_url` names PostgreSQL.

Settings of a transaction are given when it begins and end with it (`SET LOCAL`), so that a pooler between may share connections.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumper

from reconciler.errors import OctofleetError, causes
from reconciler.store import connection as common
from reconciler.store.connection import Access, Connection, Database, Unavailable
from reconciler.store.sql import keys

SCHEMES = ("postgresql://", "postgres://")
FORM = "postgresql://USER:PASSWORD@HOST/DATABASE"
DEFAULTS = {
    "application_name": "octofleet",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
    "tcp_user_timeout": "30000",
}
"""What libpq does unless the URL says otherwise: find the server that takes writes, and notice within a minute when it is gone."""
SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key")
ALONE = int.from_bytes(b"octoflt", "big")
"""The advisory lock of whoever writes alone, migrations included."""
MOST_ROWS, MOST_CHARACTERS = 500, 10_000_000
"""How many rows are sent at once, and how much of JSON they are at most: PostgreSQL takes 256 MB."""
ROWS = "FROM jsonb_array_elements(?::jsonb) AS item"
SQL_TYPES = {float: "float8", int: "int8", bool: "boolean"}
NO_CHARACTER = "\ufffd"
"""PostgreSQL's text holds every character but one, which what engines print may have: this one stands for it."""
CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
IDLE_MS = {"write": 5_000, "alone": 60_000}
"""How long a writer may do nothing before the server ends it: it may be frozen, or cut off, while others wait for what it has locked."""
MIGRATION_WAIT_MS = 600_000
"""How long a starting process waits for another one to migrate."""

TRANSIENT = {"40001", "40P01", "55P03", "25006", "25P03", "53200", "53300", "57P01", "57P02", "57P03", "57P05"}
ADVICE = {
    "25006": "that server takes no writes now: name the primary, or all hosts, in database_url",
    "3D000": "create that database, or name another one in database_url",
    "42501": "let the user of database_url own the database, so that it may make tables",
    "53100": "free space on the disk of the database server, then run the same command again: nothing was half-written",
    "53300": "the server takes no more connections: raise its max_connections, or run fewer processes",
    "55P03": "another octofleet process is writing; run the same command again",
    "40": "another octofleet process changed the same; run the same command again",
    "57P": "the database server stops or restarts; run the same command again",
    "28": "correct the user or the password of database_url",
}
"""The next step by SQLSTATE, or what it begins with."""


class _Text(StrDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", NO_CHARACTER))


class PostgresqlConnection(Connection):
    """On psycopg. The server's clock is everybody's: read when the transaction begins (`now`), and counted on from there.

    With `later`, statements that give no rows wait, and go with the next that does, or with the commit: one message, which the server takes whole or not
    at all. So a writer that is frozen or cut off has nothing half sent, and holds what it has locked no longer than it needs.
    """

    __slots__ = ("_began", "_later", "_now")

    kind = "postgresql"

    def __init__(self, raw: psycopg.Connection[Any], now: float, *, later: bool = False) -> None:
        super().__init__(raw)
        self._now, self._began = now, time.monotonic()
        self._later: list[str] | None = [] if later else None

    def now(self) -> float:
        """The server's clock."""
        return self._now + time.monotonic() - self._began

    def _execute(self, sql: str, params: Sequence[object]) -> Any:
        if not self._later:
            return self._raw.execute(_placed(sql), params, binary=True)
        statements, self._later = [*self._later, self._literal(sql, params)], []
        return _last(self._raw.execute("; ".join(statements).encode(self._raw.info.encoding), prepare=False))

    def run(self, sql: str, params: Sequence[object] = ()) -> None:
        """Perhaps later; errors show then."""
        if self._later is None:
            self._execute(sql, params)
        else:
            self._later.append(self._literal(sql, params))

    def commit(self) -> None:
        """Not of a transaction in which a statement failed: the server undoes it and calls that no error."""
        if self._execute("COMMIT", ()).statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("a statement failed, and the transaction went on")

    def grown(self, *tables: str) -> None:
        """The server would do that by itself within minutes, and read whole tables until then."""
        self.run(f"ANALYZE (SKIP_LOCKED) {', '.join(tables)}")

    def _literal(self, sql: str, params: Sequence[object]) -> str:
        return psycopg.ClientCursor(self._raw).mogrify(_placed(sql), params)

    def _spread(self, sql: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        if not isinstance(values[0], tuple):
            text, data = _table([(value,) for value in values])
            return sql.replace("IN (...)", f"= ANY (ARRAY(SELECT {text[0]} {ROWS}))"), [data]
        text, data = _table(values)
        columns = ", ".join(f"{part} AS column{number}" for number, part in enumerate(text, 1))
        return sql.replace("(...)", f"(SELECT {columns} {ROWS})"), [data]

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Sent in one go, without waiting for each. Rows to insert go into one statement, many at a time: of several with one key, the last."""
        left = iter(rows)
        while part := list(islice(left, MOST_ROWS)):
            if not sql.startswith("INSERT"):
                self._run_each(sql, part)
                continue
            if number := keys(sql):
                part = list({tuple(row[:number]): row for row in part}.values())
            self._insert(sql, part)

    def _run_each(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if self._later is None:
            with self._raw.cursor() as cursor:
                cursor.executemany(_placed(sql), rows)
        else:
            self._later += [self._literal(sql, row) for row in rows]

    def _insert(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if len(rows) == 1:
            self.run(sql, rows[0])
            return
        columns, data = _table(rows)
        if len(data) <= MOST_CHARACTERS:
            self.run(_selected(sql, columns), (data,))
            return
        half = len(rows) // 2
        self._insert(sql, rows[:half])
        self._insert(sql, rows[half:])


def _last(cursor: psycopg.Cursor[Any]) -> psycopg.Cursor[Any]:
    """After the last of several statements."""
    while cursor.nextset():
        pass
    return cursor


def _table(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, ...], str]:
    """Rows as one parameter, which costs a twentieth of one for each value: SQL for each column, and the JSON that it reads."""
    kinds = [{*map(type, column)} - {type(None)} for column in zip(*rows, strict=True)]
    if any(bytes in kind for kind in kinds):
        rows = [[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows]
    data = msgspec.json.encode(rows).decode()
    if "\\u0000" in data:
        data = msgspec.json.encode([[_text(value) for value in row] for row in rows]).decode()
    return tuple(_column(number, kind) for number, kind in enumerate(kinds)), data


def _text(value: Any) -> Any:
    return value.replace("\0", NO_CHARACTER) if isinstance(value, str) else value


def _column(number: int, kinds: set[type]) -> str:
    if not kinds:
        return "NULL"
    if bytes in kinds:
        return f"decode(item->>{number}, 'hex')"
    sql = next((sql for kind, sql in SQL_TYPES.items() if kind in kinds), "text")
    return f"(item->>{number})::{sql}"


@lru_cache(maxsize=1024)
def _selected(sql: str, columns: tuple[str, ...]) -> str:
    """An `insert` or `upsert` of rows that stand in one parameter."""
    head, _, rest = sql.partition(" VALUES (")
    places, _, tail = rest.partition(")")
    for column in columns:
        places = places.replace("?", column, 1)
    return f"{head} SELECT {places} {ROWS} WHERE true{tail}"


@lru_cache(maxsize=1024)
def _placed(sql: str) -> str:
    return sql.replace("?", "%s")


class Postgresql(Database):
    """The database at a URL, as libpq reads it."""

    another = "another database"
    engine = "postgresql+psycopg://"
    errors = psycopg.Error

    def __init__(self, url: str) -> None:
        self._settings = settings_of(url)
        self._secrets = [self._settings[name] for name in SECRETS if self._settings.get(name)]
        self.name = _shown(self._settings)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """To the first host that takes writes."""
        raw = psycopg.connect(autocommit=True, **self._settings)  # type: ignore[arg-type]
        raw.adapters.register_dumper(str, _Text)
        encoding = raw.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raw.close()
            hint = "create one with ENCODING 'UTF8'"
            raise OctofleetError(f"the database {self.name} has the encoding {encoding}", hint=hint, code="store")
        return raw

    def begin(self, raw: psycopg.Connection[Any], access: Access) -> Connection:
        """One message to the server; whoever wants to be alone waits here."""
        (now,) = _last(raw.execute(f"{_begin(access)}; {CLOCK}".encode(), prepare=False)).fetchone() or (0.0,)
        return PostgresqlConnection(raw, now, later=access == "write")

    def undo(self, raw: psycopg.Connection[Any]) -> bool:
        """The connection is used again if the server says that it did."""
        with suppress(psycopg.Error):
            raw.rollback()
        return raw.info.transaction_status == TransactionStatus.IDLE

    def close(self, raw: psycopg.Connection[Any]) -> None:
        """Whatever state it is in."""
        with suppress(psycopg.Error):
            raw.close()

    def lost(self, raw: psycopg.Connection[Any]) -> bool:
        """As far as libpq has noticed."""
        return bool(raw.closed)

    def version(self, raw: psycopg.Connection[Any]) -> tuple[str | None, str | None]:
        """Outside a transaction or inside one."""
        there = raw.execute("SELECT to_regclass('alembic_version') IS NOT NULL, to_regclass('about') IS NOT NULL").fetchone()
        has_version, has_about = there or (False, False)
        found = raw.execute("SELECT version_num FROM alembic_version").fetchone() if has_version else None
        readable = raw.execute("SELECT value FROM about WHERE key = 'readable_from'").fetchone() if has_about else None
        return found[0] if found else None, readable[0] if readable else None

    def said(self, error: Exception, *, committing: bool = False) -> OctofleetError:
        """By SQLSTATE; without one the connection was not made, or was lost."""
        state, what = (error.sqlstate, error.diag.message_primary) if isinstance(error, psycopg.Error) else (None, None)
        message = f"cannot use the database {self.name}: {' '.join(self._without_secrets(what or str(error)).split())}"
        self._clean(error)
        gone = isinstance(error, psycopg.OperationalError) and state is None
        if not (gone or state in TRANSIENT or (state or "").startswith("08")):
            return OctofleetError(message, hint=_advice(state or ""), code="store")
        in_doubt = committing and (gone or (state or "").startswith(("08", "57")))
        hint = "look whether it was done before doing it again: the connection was lost at the end" if in_doubt else _advice(state or "08")
        return Unavailable(message, hint=hint, in_doubt=in_doubt)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text

    def _clean(self, error: BaseException | None) -> None:
        """Also what a traceback shows of it."""
        for one in causes(error):
            one.args = tuple(self._without_secrets(part) if isinstance(part, str) else part for part in one.args)


def _begin(access: Access) -> str:
    if access == "read":
        return f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL lock_timeout = {common.WAIT_MS}"
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    waits = f"SET LOCAL lock_timeout = {common.WAIT_MS}"
    idle = f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS.get(access, 0)}"
    lock = f"SELECT pg_advisory_xact_lock({ALONE})"
    match access:
        case "write":
            return "; ".join((begin, waits, idle))
        case "alone":
            return "; ".join((begin, waits, idle, lock))
        case "migration":
            return "; ".join((begin, f"SET LOCAL lock_timeout = {MIGRATION_WAIT_MS}", lock, waits))


def settings_of(url: str) -> dict[str, str]:
    """How to connect, by libpq's names: what the URL says, and where it says nothing, `DEFAULTS`. Raises `OctofleetError`."""
    return DEFAULTS | _parsed(url)


def _parsed(url: str) -> dict[str, str]:
    """What the URL says, by libpq's names. Raises `OctofleetError`, which shows nothing of it: a part that is misread may be the password."""
    rest = next((url.removeprefix(scheme) for scheme in SCHEMES if url.startswith(scheme)), None)
    authority, _, behind = (rest or "").partition("/")
    found: dict[str, Any] | None = None
    if rest is not None and authority.count("@") <= 1 and "@" not in behind:  # libpq would take the rest of a password for a host
        with suppress(psycopg.Error):
            found = conninfo_to_dict(url)
    if found is None:
        hint = f"write it as {FORM}, with %40 for @, %2F for / and %25 for % in the password"
        raise OctofleetError("the setting database_url cannot be used: it cannot be read", hint=hint, code="settings")
    return {name: str(value) for name, value in found.items()}


def _shown(settings: dict[str, str]) -> str:
    """User, hosts and database, and nothing else that the URL may hold."""
    hosts = settings.get("host", settings.get("hostaddr", "")).split(",")
    ports = settings.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = (quote(host, safe=":[]") + (f":{port}" if port else "") for host, port in zip(hosts, ports, strict=False))
    user = f"{quote(settings['user'], safe='')}@" if "user" in settings else ""
    return f"postgresql://{user}{','.join(places)}/{quote(settings.get('dbname', ''), safe='')}"


def _advice(state: str) -> str:
    for begins, advice in ADVICE.items():
        if state.startswith(begins):
            return advice
    if state.startswith("08"):
        return "check that the database server runs, and the host, user, password and name in database_url; octofleet doctor checks the database"
    return "octofleet doctor checks the database"
