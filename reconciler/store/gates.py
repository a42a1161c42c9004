"""What closes the gates of steps: windows in force, pauses and overrides. Functions on a connection; the caller owns the transaction.

Whoever changes any of it calls `touch`, and whoever begins steps reads `version`: both lock one row, so that one comes before the other, and what was
loaded for a version holds as long as the version stands.
"""

import secrets as random
from collections.abc import Mapping

from reconciler.gate.closing import Gates, Pause
from reconciler.gate.windows import Window, window_of
from reconciler.store.engine import Connection, insert
from reconciler.store.records import load_specs

PAUSE = ("id", "source", "scope", "identity", "at", "until", "reason")
OVERRIDE = ("id", "source", "window", "identity", "at", "until", "reason")


def version(connection: Connection) -> str:
    """Which state of the gates this transaction goes by; it stays until the transaction ends."""
    return str(connection.scalar("SELECT value FROM about WHERE key = 'gates' FOR SHARE") or "")


def touch(connection: Connection) -> None:
    """The gates change: steps that wait for one are looked at again, and nobody goes by what he has loaded before."""
    connection.run(
        "INSERT INTO about (key, value) VALUES ('gates', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(about.value AS INTEGER) + 1 AS VARCHAR)"
    )
    connection.run("UPDATE step SET due_at = 0 WHERE owner = '' AND state = 'ready' AND attempts = 0 AND due_at > ?", (connection.now(),))


def load_gates(connection: Connection) -> Gates:
    """All that is in force now."""
    now = connection.now()
    rows = connection.rows(f"SELECT {_names(PAUSE)} FROM pause {_STANDING}", (now,))  # noqa: S608 - names from here
    pauses = [Pause(**dict(zip(PAUSE, row, strict=True))) for row in rows]
    overrides = connection.rows(f'SELECT source, "window", until FROM override {_STANDING}', (now,))  # noqa: S608 - from below
    return Gates(windows=_windows(connection), pauses=pauses, overridden={(source, window): until for source, window, until in overrides})


_STANDING = "WHERE ended_at IS NULL AND until > ? ORDER BY at"


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(columns)


def _windows(connection: Connection) -> Mapping[str, list[Window]]:
    """By source, as they were last applied."""
    begin, end = "fleet/maintenancewindow/", "fleet/maintenancewindow0"
    query = "SELECT record.source, record.address, record.digest FROM record WHERE record.address >= ? AND record.address < ? ORDER BY record.address"
    rows = list(connection.rows(query, (begin, end)))
    specs = load_specs(connection, (digest for *_, digest in rows))
    found: dict[str, list[Window]] = {}
    for source, address, digest in rows:
        found.setdefault(source, []).append(window_of(address, specs[digest]))
    return found


def save_pause(connection: Connection, pause: Pause) -> None:
    """Nothing begins in its scope from now on."""
    connection.run(insert("pause", PAUSE), tuple(getattr(pause, name) for name in PAUSE))
    touch(connection)


def end_pauses(connection: Connection, which: str) -> list[Pause]:
    """End those with this id or scope; gives them."""
    now = connection.now()
    ended = [pause for pause in load_gates(connection).pauses if which in (pause.id, pause.scope)]
    connection.run_in("UPDATE pause SET ended_at = ? WHERE id IN (...)", [pause.id for pause in ended], (now,))
    if ended:
        touch(connection)
    return ended


def save_override(connection: Connection, source: str, window: str, identity: str, until: float, reason: str) -> None:
    """A window does not count until then."""
    connection.run(insert("override", OVERRIDE), (new_id(), source, window, identity, connection.now(), until, reason))
    touch(connection)


def end_overrides(connection: Connection, source: str, window: str) -> int:
    """The window counts again; how many overrides that ends."""
    query = 'UPDATE override SET ended_at = ? WHERE source = ? AND "window" = ? AND ended_at IS NULL'
    number = connection.changed(query, (connection.now(), source, window))
    if number:
        touch(connection)
    return number


def new_id() -> str:
    """A name for a pause or an override that people can type."""
    return random.token_hex(4)
