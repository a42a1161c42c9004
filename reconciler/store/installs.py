"""Installations of machines, and what they were installed with. Functions on a connection; the caller owns the transaction.

An installation is written by few: the driver arms and ends it, the boot server notes who claimed it and what its installer says. Each change gives it the
next `seq`, by which serving processes learn what has changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.store.engine import Connection, insert, upsert
from reconciler.types.installation import Installation, Installed, Power, Stage, State, said

COLUMNS = tuple(Installation.__dataclass_fields__)
INSTALLED = tuple(Installed.__dataclass_fields__)
SEEN = ("tenant", "host", "at", "address", "firmware", "decision", "why")
NEXT = "(SELECT COALESCE(max(seq), 0) + 1 FROM installation)"
SELECT = f"SELECT {', '.join(f'installation.{name}' for name in COLUMNS)} FROM installation"  # noqa: S608 - names from above
LOG_MOST = 16_384


def _installation(row: tuple[Any, ...]) -> Installation:
    fields = dict(zip(COLUMNS, row, strict=True))
    return Installation(**fields | {"state": State(fields["state"]), "power": Power(fields["power"])})


def open_installation_of(connection: Connection, tenant: str, host: str, *, lock: bool = False) -> Installation | None:
    """The one that goes on."""
    query = f"{SELECT} WHERE tenant = ? AND host = ? AND ended_at IS NULL{' FOR UPDATE' if lock else ''}"
    found = connection.row(query, (tenant, host))
    return _installation(found) if found else None


def going_on(connection: Connection, hosts: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Installation]:
    """Those of these hosts (tenant, name) that go on."""
    query = SELECT.replace(
        " FROM installation", " FROM (...) AS these JOIN installation ON installation.tenant = column1 AND installation.host = column2"
    )
    found = (_installation(row) for row in connection.rows_in(f"{query} WHERE ended_at IS NULL", sorted(hosts)))
    return {(item.tenant, item.host): item for item in found}


def by_operation(connection: Connection, operation: str) -> list[Installation]:
    """Those that a step has armed, the newest attempt of each host last."""
    return [_installation(row) for row in connection.rows(f"{SELECT} WHERE operation = ? ORDER BY armed_at, id", (operation,))]


def by_token(connection: Connection, token: str, *, lock: bool = False) -> Installation | None:
    """The one whose token has this digest, whatever became of it."""
    found = connection.row(f"{SELECT} WHERE token = ?{' FOR UPDATE' if lock else ''}", (token,))
    return _installation(found) if found else None


def installations_of(connection: Connection, tenant: str, host: str, most: int = 20) -> list[Installation]:
    """The newest first."""
    query = f"{SELECT} WHERE tenant = ? AND host = ? ORDER BY armed_at DESC, id LIMIT ?"
    return [_installation(row) for row in connection.rows(query, (tenant, host, most))]


def open_installations(connection: Connection, source: str | None = None) -> list[Installation]:
    """All that go on, the oldest first."""
    of, params = ("", ()) if source is None else (" AND source = ?", (source,))
    return [_installation(row) for row in connection.rows(f"{SELECT} WHERE ended_at IS NULL{of} ORDER BY armed_at, id", params)]


def changed_since(connection: Connection, seq: int) -> tuple[int, list[Installation]]:
    """What has changed after that number, and the newest number. All that go on after 0, or where the newest is lower, as rows were let go of."""
    newest = int(connection.scalar("SELECT COALESCE(max(seq), 0) FROM installation"))
    if not 0 < seq <= newest:
        return newest, open_installations(connection)
    rows = [_installation(row) for row in connection.rows(f"{SELECT} WHERE seq > ? ORDER BY seq", (seq,))]
    return newest, rows


def arm(connection: Connection, made: Installation) -> None:
    """Begin one; another one of the host that goes on is cancelled."""
    query = f"UPDATE installation SET state = 'cancelled', ended_at = ?, seq = {NEXT} WHERE tenant = ? AND host = ? AND ended_at IS NULL"  # noqa: S608 - a constant
    connection.run(query, (made.armed_at, made.tenant, made.host))
    latest = connection.scalar("SELECT COALESCE(max(seq), 0) + 1 FROM installation")
    row = replace(made, seq=latest)
    connection.run(insert("installation", COLUMNS), tuple(_plain(getattr(row, name)) for name in COLUMNS))


def _plain(value: object) -> object:
    return value.value if isinstance(value, State | Power) else value


def claim(connection: Connection, of: str, address: str, now: float) -> bool:
    """Note the address that was given its script; it may be another one as long as no answer file was handed out. False: it is somebody else's."""
    query = (
        f"UPDATE installation SET claimed_by = ?, claimed_at = COALESCE(claimed_at, ?), seq = {NEXT} "  # noqa: S608 - a constant
        "WHERE id = ? AND ended_at IS NULL AND (claimed_by = ? OR released_at IS NULL)"
    )
    return connection.changed(query, (address, now, of, address)) > 0


def note_power(connection: Connection, of: str, power: Power) -> None:
    """Note whether its machine was told to boot."""
    connection.run(f"UPDATE installation SET power = ?, seq = {NEXT} WHERE id = ?", (power.value, of))  # noqa: S608 - a constant


RELEASED = (
    "UPDATE installation SET released_to = CASE WHEN released_at IS NULL THEN ? ELSE released_to END, "  # noqa: S608 - a constant
    "released_at = COALESCE(released_at, ?), "
    f"seq = {NEXT} WHERE id = ? AND ended_at IS NULL AND (released_at IS NULL OR ? IN (released_to, claimed_by))"
)


def released(connection: Connection, of: str, address: str, now: float) -> bool:
    """Note who is handed the first answer file; an installer often has another address than the loader that started it. False: somebody else was."""
    return connection.changed(RELEASED, (address, now, of, address)) > 0


def complete(connection: Connection, found: Installation, facts: bytes, keys: str) -> None:
    """What the new system tells of itself, after its installer had said that it is installed: facts, and keys where none are known."""
    if facts:
        connection.run(f"UPDATE installation SET facts = ?, seq = {NEXT} WHERE id = ?", (facts, found.id))  # noqa: S608 - a constant
    known = ledger(connection, [(found.tenant, found.host)]).get((found.tenant, found.host))
    if keys and known is not None and not known.keys and known.generation == found.generation:
        note_installed(connection, replace(known, keys=keys))


def report(
    connection: Connection, found: Installation, stage: Stage, now: float, *, log: str = "", facts: bytes = b"", keys: str = ""
) -> State | None:
    """Write what an installer says; the state it came to, or None if that changed nothing. Who is installed is in the ledger from then on. Of one that
    failed the stage stays that it had reached."""
    to = said(found.state, stage)
    if to is None or (stage.value == found.stage and log in ("", found.log) and facts in (b"", found.facts)):
        return None
    query = (
        f"UPDATE installation SET state = ?, stage = ?, stage_at = ?, ended_at = ?, log = CASE WHEN ? = '' THEN log ELSE ? END, "  # noqa: S608 - a constant
        f"facts = CASE WHEN length(?) = 0 THEN facts ELSE ? END, seq = {NEXT} WHERE id = ? AND ended_at IS NULL"
    )
    ended_at = now if to in (State.INSTALLED, State.FAILED) else None
    tail = log[-LOG_MOST:]
    reached, at = (found.stage, found.stage_at) if to is State.FAILED else (stage.value, now)
    if not connection.changed(query, (to.value, reached, at, ended_at, tail, tail, facts, facts, found.id)):
        return None
    if to is State.INSTALLED:
        note_installed(
            connection,
            Installed(tenant=found.tenant, host=found.host, generation=found.generation, at=now, keys=keys, why=f"installation {found.id}"),
        )
    if ended_at is not None:
        _wake(connection, found, to)
    return to


def _wake(connection: Connection, found: Installation, to: State) -> None:
    """Its step is asked after at once where that may go on: when one has failed, or the last one has ended."""
    others = "SELECT 1 FROM installation WHERE operation = ? AND ended_at IS NULL LIMIT 1"
    if to is State.FAILED or connection.scalar(others, (found.operation,)) is None:
        query = "UPDATE step SET due_at = 0 WHERE run = ? AND seq = ? AND owner = '' AND state = 'waiting'"
        connection.run(query, (found.run, int(found.operation.rpartition(".")[2])))


def end(connection: Connection, of: str, state: State, now: float) -> bool:
    """End one that goes on."""
    query = f"UPDATE installation SET state = ?, ended_at = ?, seq = {NEXT} WHERE id = ? AND ended_at IS NULL"  # noqa: S608 - a constant
    return connection.changed(query, (state.value, now, of)) > 0


def cancel(connection: Connection, run: str, now: float, *, begun: bool) -> None:
    """End those of a run that no machine has come for, or all that go on."""
    query = f"UPDATE installation SET state = ?, ended_at = ?, seq = {NEXT} WHERE run = ? AND ended_at IS NULL"  # noqa: S608 - a constant
    connection.run(query if begun else f"{query} AND claimed_at IS NULL", (State.CANCELLED.value, now, run))
    connection.run("UPDATE step SET due_at = 0 WHERE run = ? AND owner = '' AND state = 'waiting'", (run,))


def ledger(connection: Connection, hosts: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Installed]:
    """What these hosts (tenant, name) were installed with."""
    names = ", ".join(f'installed."{name}"' for name in INSTALLED)
    query = f"SELECT {names} FROM (...) AS these JOIN installed ON installed.tenant = column1 AND installed.host = column2"  # noqa: S608 - names from above
    found = (_installed(row) for row in connection.rows_in(query, sorted(hosts)))
    return {(item.tenant, item.host): item for item in found}


def _installed(row: tuple[Any, ...]) -> Installed:
    fields = dict(zip(INSTALLED, row, strict=True))
    return Installed(**fields | {"sure": bool(fields["sure"])})


def note_installed(connection: Connection, made: Installed) -> None:
    """Note what a host was installed with. Keys that nobody told stay as they are known; a generation never goes back."""
    known = ledger(connection, [(made.tenant, made.host)]).get((made.tenant, made.host))
    if known is not None:
        made = replace(made, generation=max(made.generation, known.generation), keys=made.keys or known.keys)
    connection.run(upsert("installed", INSTALLED, key=2), tuple(getattr(made, name) for name in INSTALLED))


def be_sure(connection: Connection, tenant: str, host: str) -> bool:
    """What is on record of a host is all that it was installed with. False: nobody doubted it."""
    query = "UPDATE installed SET sure = ? WHERE tenant = ? AND host = ? AND sure = ?"
    return connection.changed(query, (True, tenant, host, False)) > 0


def move_installed(connection: Connection, old: tuple[str, str], new: tuple[str, str]) -> None:
    """A host has another name or tenant: what it was installed with goes with it."""
    known = ledger(connection, [old]).get(old)
    if known is not None:
        note_installed(connection, replace(known, tenant=new[0], host=new[1]))


def host_keys(connection: Connection, tenant: str, host: str) -> tuple[str, ...]:
    """The lines of a host's SSH keys that its installer told, without names."""
    found = ledger(connection, [(tenant, host)]).get((tenant, host))
    return tuple(found.keys.splitlines()) if found else ()


def save_seen(connection: Connection, seen: Iterable[tuple[str, str, float, str, str, str, str]]) -> None:
    """What machines were told to boot, as the columns; the latest stays."""
    connection.run_many(upsert("boot_seen", SEEN, key=2, newer="at"), sorted(seen))


def seen_of(connection: Connection, tenant: str, host: str) -> tuple[float, str, str, str, str] | None:
    """When, address, firmware, decision and why."""
    return connection.row("SELECT at, address, firmware, decision, why FROM boot_seen WHERE tenant = ? AND host = ?", (tenant, host))


def doubt(connection: Connection) -> None:
    """After a restore: nothing is sure of what was installed since the backup, and what was going on then has ended."""
    connection.run("UPDATE installed SET sure = ?", (False,))
    for item in open_installations(connection):
        end(connection, item.id, State.EXPIRED, connection.now())


def is_parked(connection: Connection, run: str) -> bool:
    """Whether a run waits for machines to be installed, and for nothing else but what comes after that: others need not wait for it."""
    query = (
        "SELECT step.tenant, step.wave, step.driver, step.state FROM step WHERE run = ? AND state <> 'ended' "
        "AND NOT EXISTS (SELECT 1 FROM step AS before WHERE before.run = step.run AND before.tenant = step.tenant "
        "AND before.state <> 'ended' AND before.wave < step.wave)"
    )
    first = list(connection.rows(query, (run,)))
    return bool(first) and all(driver == "netboot" and state == "waiting" for _, _, driver, state in first)
