"""What closes the gates of steps: windows in force, pauses and overrides. Functions on a connection; the caller owns the transaction."""

import secrets as random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from reconciler.gate.closing import Gates, Pause
from reconciler.gate.windows import Window, window_of
from reconciler.store.engine import Connection, insert
from reconciler.store.plans import load_changes
from reconciler.store.records import WINDOW, WINDOWS, all_in_force, in_force, labels_of, load_specs, stored
from reconciler.store.versions import Lock, touch, version
from reconciler.types.canonical import NOTHING, pack, unpack
from reconciler.types.change import Change

PAUSE = ("id", "source", "scope", "identity", "at", "until", "reason")
OVERRIDE = ("id", "source", "window", "identity", "at", "until", "reason")
BACK_S = 30 * 86_400.0
"""How far a clock may step back: what has run out counts again then, so that it stays known for so long."""
_STANDING = "WHERE ended_at IS NULL AND until > ?"


class KnownGates:
    """The gates as they were loaded last, with their version. Safe for threads: the two are put there as one."""

    def __init__(self) -> None:
        self._known = "", Gates(windows={})

    def now(self, connection: Connection, lock: Lock = "") -> Gates:
        """As they stand in this transaction; with a lock, until it ends."""
        found, known = version(connection, lock), self._known
        if found != known[0]:
            self._known = known = found, replace(load_gates(connection), version=found)
        return known[1]


def load_gates(connection: Connection) -> Gates:
    """All that is in force, and what has run out and would be again by a clock that steps back."""
    since = connection.now() - BACK_S
    rows = connection.rows(f"SELECT {_names(PAUSE)} FROM pause {_STANDING} ORDER BY at", (since,))  # noqa: S608 - names from here
    pauses = [Pause(**dict(zip(PAUSE, row, strict=True))) for row in rows]
    overrides = connection.rows(f'SELECT source, "window", until FROM override {_STANDING} ORDER BY until', (since,))  # noqa: S608 - from above
    overridden = {(source, window): until for source, window, until in overrides}
    windows = {
        source: [window_of(where, spec) for where, spec in specs.items()] for source, specs in all_in_force(connection, WINDOW).items()
    }
    return Gates(windows=windows, pauses=pauses, overridden=overridden, kept=_kept(connection))


def _kept(connection: Connection) -> Mapping[str, list[Window]]:
    found: dict[str, list[Window]] = {}
    for run, address, body in connection.rows("SELECT run, address, body FROM kept_window ORDER BY run, address"):
        found.setdefault(run, []).append(window_of(address, unpack(body)))
    return found


def keep_windows(connection: Connection, run: str, source: str, changes: Iterable[Change]) -> None:
    """Have a run that changes windows go by all that are in force, until it has ended: one more may open what another one keeps closed."""
    if not any(change.address.startswith(WINDOWS) for change in changes):
        return
    rows = [(run, a, source, pack(spec)) for a, spec in in_force(connection, source, WINDOW).items()]
    connection.run_many(insert("kept_window", ("run", "address", "source", "body")), rows)
    if rows:
        touch(connection)


def labels_in_run(connection: Connection, source: str, run: str, groups: Collection[str]) -> dict[str, list[Mapping[str, str]]]:
    """The labels of hosts by group: those on record, and those that were when the run began if it changes them, as one commit must not take a host out of a
    window and use that."""
    found = {group: [labels] for group, labels in labels_of(connection, source, groups).items()}
    where = sorted(f"fleet/{group}" for group in groups if group.startswith("host/"))
    numbers = [number for (number,) in connection.rows_in("SELECT change FROM item WHERE run = ? AND address IN (...)", where, (run,))]
    if not numbers:
        return found
    changes = load_changes(connection, connection.scalar("SELECT plan FROM run WHERE id = ?", (run,)), numbers)
    specs = load_specs(connection, (change.before_digest for change in changes.values()))
    for change in changes.values():
        if change.before_digest != NOTHING:
            found.setdefault(change.group, []).append(stored(specs, change.address, change.before_digest).get("labels", {}))
    return found


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(columns)


def save_pause(connection: Connection, pause: Pause) -> None:
    """Nothing begins in its scope from now on."""
    connection.run(insert("pause", PAUSE), tuple(getattr(pause, name) for name in PAUSE))
    touch(connection)


def end_pauses(connection: Connection, which: str, source: str | None = None) -> list[Pause]:
    """End those with this id or scope, of one source or of all; gives those that had not run out."""
    now = connection.now()
    ended = [pause for pause in load_gates(connection).pauses if which in (pause.id, pause.scope) and source in (None, pause.source)]
    connection.run_in("UPDATE pause SET ended_at = ? WHERE id IN (...)", [pause.id for pause in ended], (now,))
    if ended:
        touch(connection)
    return [pause for pause in ended if now < pause.until]


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
    """A name for a person's word that people can type."""
    return random.token_hex(4)
