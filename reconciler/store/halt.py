"""Stopping runs by a person's word, because nobody says one in time, or because a newer commit wants something else. Functions on a connection; the caller
owns the transaction."""

from collections.abc import Callable, Sequence

from reconciler.events import happened
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.installs import cancel
from reconciler.store.journal import Lease, close_if_over, end_steps
from reconciler.store.leases import free
from reconciler.store.phases import left_waiting
from reconciler.store.plans import load_changes
from reconciler.store.rollbacks import drop
from reconciler.store.runs import Item, JournalStep, load_steps, write_log
from reconciler.store.versions import touch
from reconciler.types.audit import WORKER, Entry
from reconciler.types.change import Change
from reconciler.types.outcome import Status

UNPROMOTED = "nobody promoted "
"""How the error begins of what has waited too long for a person."""


def pause_run(connection: Connection, run: str, reason: str) -> None:
    """Nothing more of the run begins until it is resumed; one that is paused has a new reason. One that is being cancelled stays so: resumed, it would
    go on."""
    touch(connection)
    if connection.changed("UPDATE run SET state = 'paused' WHERE id = ? AND state IN ('running', 'paused')", (run,)):
        write_log(connection, run, [(0, connection.now(), f"paused: {reason}")])


def resume_run(connection: Connection, run: str) -> bool:
    """A paused run goes on; whether it was paused."""
    paused = connection.changed("UPDATE run SET state = 'running' WHERE id = ? AND state = 'paused'", (run,)) > 0
    if paused:
        write_log(connection, run, [(0, connection.now(), "resumed")])
    return paused


def cancel_run(connection: Connection, run: str, reason: str, *, stop: bool = False, give_up: bool) -> None:
    """Cancel what has not begun. With `stop` whoever works on what has begun is to stop it, where its driver can. With `give_up` that is cancelled too, though
    how it ends is not known: whoever works on it cannot write it any more."""
    touch(connection)
    connection.run("UPDATE run SET state = 'cancelling' WHERE id = ? AND ended_at IS NULL", (run,))
    now = connection.now()
    write_log(connection, run, [(0, now, f"cancelled{', and to be stopped' if stop else ''}: {reason}")])
    if stop:
        connection.run("UPDATE run SET stop = ? WHERE id = ?", (True, run))
        connection.run("UPDATE step SET due_at = 0 WHERE run = ? AND state <> 'ended' AND owner = ''", (run,))
    drop(connection, run, "a person cancelled it")
    cancel(connection, run, now, begun=give_up)
    if give_up:
        leases = connection.rows("SELECT run, seq, fence FROM step WHERE run = ? AND owner <> '' ORDER BY seq", (run,))
        free(connection, [(of, seq, fence) for of, seq, fence in leases], "lost", now)
    begun = "state <> 'ended'" if give_up else "state = 'ready' AND owner = ''"
    seqs = [seq for (seq,) in connection.rows(f"SELECT seq FROM step WHERE run = ? AND {begun} ORDER BY seq", (run,))]  # noqa: S608 - see above
    error = "the run was cancelled"
    query = "UPDATE item SET status = 'cancelled', error = ?, ended_at = ? WHERE run = ? AND status = '' AND step IN (...)"
    connection.run_in(query, seqs, (error, now, run))
    end_steps(connection, [Lease(run=run, step=seq, fence=0) for seq in seqs], now)
    close_if_over(connection, run, now)


def to_stop(connection: Connection) -> frozenset[str]:
    """The open runs that a person wants to be stopped."""
    return frozenset(run for (run,) in connection.rows("SELECT id FROM run WHERE ended_at IS NULL AND stop = ?", (True,)))


def supersede(connection: Connection, run: str, kept: Callable[[Change], bool], why: str) -> int:
    """End what has not begun of a run and is not `kept`, as a newer commit wants something else. Gives how many changes that were."""
    plan = connection.scalar("SELECT plan FROM run WHERE id = ?", (run,))
    changes = load_changes(connection, plan, [item.change for step in _not_begun(connection, run) for item in step.open])
    unwanted = {number for number, change in changes.items() if not kept(change)}
    if connection.row("SELECT id FROM run WHERE id = ? AND ended_at IS NULL FOR UPDATE", (run,)) is None:
        return 0
    steps = _not_begun(connection, run)  # nobody takes any of them from here on
    dropped = [(step, [item for item in step.open if item.change in unwanted]) for step in steps]
    return _drop(connection, run, dropped, Status.SUPERSEDED, why)


def expire_waits(connection: Connection, run: str) -> int:
    """End what is left of the rollouts of a run that have waited too long for a person, and record that. Gives how many changes that were."""
    row = connection.row("SELECT state, source FROM run WHERE id = ? AND ended_at IS NULL FOR UPDATE", (run,))
    late = left_waiting(connection, run, connection.now()) if row is not None and row[0] == "running" else []
    steps = _not_begun(connection, run) if late else []
    number = 0
    for left in late:
        why = f"{UNPROMOTED}the rollout {left[0].track} of {left[0].tenant}, which waited for a person from {left[0].title} on"
        tenant, first, last = left[0].tenant, left[0].first_wave, left[-1].last_wave
        mine = [(step, step.open) for step in steps if step.tenant == tenant and first <= step.wave <= last]
        number += _drop(connection, run, mine, Status.EXPIRED, why)
    if row is not None and number:
        entry = Entry(
            identity=WORKER,
            action="expire",
            subjects=tuple(f"{left[0].track}: {left[0].title}" for left in late),
            tenants=tuple(sorted({left[0].tenant for left in late})),
            source=row[1],
            run=run,
            reason="nobody promoted it in time",
            details={"changes": number, "deadlines": [left[0].deadline_at for left in late]},
        )
        record(connection, entry)
        happened("wait-expired", run=run, changes=number)
    return number


def unpromoted(connection: Connection, location: str, commit: str) -> str:
    """The newest run of a commit, if a rollout of it has waited too long for a person; else empty."""
    query = 'SELECT run.id FROM run JOIN plan ON plan."row" = run.plan WHERE plan.location = ? AND plan."commit" = ? ORDER BY run.started_at DESC LIMIT 1'
    run = str(connection.scalar(query, (location, commit)) or "")
    late = f"SELECT 1 FROM item WHERE run = ? AND status = 'expired' AND substr(error, 1, {len(UNPROMOTED)}) = ? LIMIT 1"  # noqa: S608 - a number
    return run if run and connection.row(late, (run, UNPROMOTED)) is not None else ""


def _not_begun(connection: Connection, run: str) -> list[JournalStep]:
    return [step for step in load_steps(connection, run) if step.state == "ready" and not step.owner]


def _drop(connection: Connection, run: str, dropped: Sequence[tuple[JournalStep, Sequence[Item]]], status: Status, why: str) -> int:
    """End these changes of steps that have not begun; gives how many that were."""
    now, touched = connection.now(), [step.seq for step, items in dropped if items]
    for step, items in dropped:
        _end_items(connection, run, step.seq, items, status, why, now)
    end_steps(connection, [Lease(run=run, step=seq, fence=0) for seq in touched], now)
    return sum(len(items) for _, items in dropped)


def _end_items(connection: Connection, run: str, seq: int, items: Sequence[Item], status: Status, why: str, now: float) -> None:
    query = "UPDATE item SET status = ?, error = ?, ended_at = ? WHERE run = ? AND step = ? AND address = ?"
    connection.run_many(query, [(status.value, why, now, run, seq, item.address) for item in items])
    write_log(connection, run, [(seq, now, f"{item.action} {item.address}: {status}: {why}") for item in items])
