"""What happens to steps, written many at a time. In: entries, each under the lease of its writer. Out: the journal, records and observations, all in
the caller's transaction.

This is the one place where a step changes its state:

    ready --Begun--> started --Waits--> waiting --Ended--> ended
      |                 |  ^               |
      +---- Ended ------+  +---- Begun ----+        `Freed` gives the lease back and leaves the state as it is

Every entry can be written again, as nobody knows whether a transaction whose connection broke was committed.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from reconciler.gate.closing import Gates
from reconciler.gate.windows import Subject
from reconciler.store.audit import run_ended
from reconciler.store.backoff import back_off
from reconciler.store.engine import Connection
from reconciler.store.gates import KnownGates, labels_in_run
from reconciler.store.hosts import mark_converged
from reconciler.store.observations import drop_observations, save_observations, unsettle
from reconciler.store.phases import BAD, advance
from reconciler.store.plans import plan_head
from reconciler.store.records import drop_records, records_of_group, save_records, save_source, save_specs
from reconciler.store.runs import end_run, write_log
from reconciler.store.tasks import save_tasks
from reconciler.store.versions import version
from reconciler.types.observation import Observation
from reconciler.types.outcome import Status
from reconciler.types.resource import Recorded, is_operation
from reconciler.types.task import PlayTold
from reconciler.types.values import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Leave to work on a step, until somebody takes it away."""

    run: str
    step: int
    fence: int

    @property
    def key(self) -> tuple[str, int]:
        """Run and number of the step."""
        return self.run, self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """From here on the step's effects may have reached the world. `source` and `subjects`: what gates are asked about, of a step that had not begun."""

    lease: Lease
    source: str = ""
    subjects: Sequence[Subject] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """Some changes of a step that has not begun wait for a gate: they become a step of their own, which nobody takes for `after_s` seconds. `judged` as in
    `Freed`."""

    lease: Lease
    addresses: Sequence[str]
    after_s: float
    note: str
    judged: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """These operations go on in the world."""

    lease: Lease
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A line of the log."""

    lease: Lease
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """The lease is given back: `waiting` for the world, `retry` after what may work later, or `handed-over` by a worker that stops. Nobody takes the
    step for `after_s` seconds; `note` says why. `judged`: by which version of the gates it has to wait, None for what waits for none: where another one holds
    by now, it is looked at again at once."""

    lease: Lease
    result: str
    after_s: float
    note: str = ""
    error: str = ""
    judged: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Some changes of the step have ended: how, and what that makes of records (`gone` addresses, new ones, specifications that they name), of what
    was seen (whether it is as recorded), and of `groups` that have to be looked at again. `lines` are for the log."""

    lease: Lease
    statuses: Mapping[str, tuple[Status, str]]
    gone: Sequence[str] = ()
    records: Sequence[Recorded] = ()
    specs: Sequence[Spec] = ()
    seen: Mapping[str, Observation] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """What a playbook run of the step did."""

    lease: Lease
    play: PlayTold


Entry: TypeAlias = Begun | Parted | Waits | Said | Did | Freed | Ended


def write(connection: Connection, entries: Sequence[Entry], known: KnownGates | None = None) -> list[str]:
    """Write entries, at most one of each lease besides what it `Said` and `Did`. Gives for each why it was not written: `lost` if its lease is taken away or
    the step has ended; if a step was to begin, `paused` or `cancelling` if its run is, `stopped` if its rollout is, `gated` if a gate of it is closed; empty
    for the others. `known`: remembers the gates from one call to the next."""
    gates = _gates(connection, entries, known or KnownGates())
    entries = _woken(connection, entries)
    now = connection.now()
    standing = _standing(connection, entries)
    closed = _closed(connection, [entry for entry in entries if isinstance(entry, Begun)], gates, now) if gates else set[Lease]()
    verdicts = [_verdict(entry, standing.get(entry.lease.key), closed) for entry in entries]
    good = [entry for entry, verdict in zip(entries, verdicts, strict=True) if not verdict]
    _begin(connection, [entry for entry in good if isinstance(entry, Begun)], now)
    _wait(connection, [entry for entry in good if isinstance(entry, Waits)])
    ended = _open(connection, [entry for entry in good if isinstance(entry, Ended)])
    _end(connection, ended, now)
    _part(connection, [entry for entry in good if isinstance(entry, Parted)], now)
    _free(connection, [entry for entry in good if isinstance(entry, Freed) and standing[entry.lease.key].owner], now)
    save_tasks(connection, [(*entry.lease.key, entry.lease.fence, entry.play) for entry in good if isinstance(entry, Did)])
    new = set(map(id, ended))
    _log(connection, [entry for entry in good if not isinstance(entry, Ended) or id(entry) in new], now)
    return verdicts


def _gates(connection: Connection, entries: Sequence[Entry], known: KnownGates) -> Gates | None:
    """The gates, where something is to begin; nobody changes them meanwhile. Where something has failed, nobody else begins anything either: it may stop a
    rollout."""
    failed = any(status.value in BAD for entry in entries if isinstance(entry, Ended) for status, _ in entry.statuses.values())
    begins = any(isinstance(entry, Begun) for entry in entries)
    return known.now(connection, " FOR UPDATE" if failed else " FOR SHARE") if begins or failed else None


def _woken(connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
    """The same. What was to wait for gates that have changed meanwhile does not: whoever changed them has woken what waited then, and this did not yet."""
    if not any(isinstance(entry, Parted | Freed) and entry.judged is not None for entry in entries):
        return list(entries)
    newest = version(connection, " FOR SHARE")
    return [
        replace(entry, after_s=0.0) if isinstance(entry, Parted | Freed) and entry.judged not in (None, newest) else entry
        for entry in entries
    ]


def _log(connection: Connection, entries: Sequence[Entry], now: float) -> None:
    lines: dict[str, list[tuple[int, float, str]]] = {}
    for entry in entries:
        texts = [entry.text] if isinstance(entry, Said) else entry.lines if isinstance(entry, Ended) else ()
        lines.setdefault(entry.lease.run, []).extend((entry.lease.step, now, text) for text in texts)
    for run, found in lines.items():
        write_log(connection, run, found)


@dataclass(frozen=True, slots=True)
class _Standing:
    fence: int
    state: str
    owner: str
    run_state: str
    stopped: bool


def _standing(connection: Connection, entries: Sequence[Entry]) -> dict[tuple[str, int], _Standing]:
    """How each step stands, which nobody else may change now."""
    steps: dict[str, set[int]] = {}
    for entry in entries:
        steps.setdefault(entry.lease.run, set()).add(entry.lease.step)
    query = (
        "SELECT seq, fence, step.state, owner, run.state, EXISTS (SELECT 1 FROM phase WHERE phase.run = step.run AND phase.tenant = step.tenant "
        "AND phase.state = 'stopped' AND step.wave BETWEEN first_wave AND last_wave) "
        "FROM step JOIN run ON run.id = step.run WHERE step.run = ? AND seq IN (...) FOR UPDATE OF step"
    )
    return {
        (run, seq): _Standing(*standing)
        for run, seqs in sorted(steps.items())
        for seq, *standing in connection.rows_in(query, sorted(seqs), (run,))
    }


def _verdict(entry: Entry, found: _Standing | None, closed: Collection[Lease]) -> str:
    if found is None or found.fence != entry.lease.fence:
        return "lost"
    if found.state == "ended" and isinstance(entry, Begun | Waits | Parted):
        return "lost"
    if not isinstance(entry, Begun) or found.state != "ready":
        return ""
    if found.run_state != "running":
        return found.run_state
    if found.stopped:
        return "stopped"
    return "gated" if entry.lease in closed else ""


def _closed(connection: Connection, entries: Sequence[Begun], gates: Gates, now: float) -> set[Lease]:
    """Those of which a gate is closed; labels are looked at anew, as a window that goes by them may have come since the step was taken. They are read once for
    all that begin of a run."""
    hosts: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        if gates.by_labels(entry.source, entry.lease.run):
            hosts.setdefault((entry.source, entry.lease.run), set()).update(subject.host for subject in entry.subjects)
    labels = {of: labels_in_run(connection, *of, found) for of, found in hosts.items()}

    def is_closed(entry: Begun) -> bool:
        source, run, subjects = entry.source, entry.lease.run, entry.subjects
        if (known := labels.get((source, run))) is not None:
            subjects = [replace(subject, labels=found) for subject in subjects for found in known.get(subject.host, ({},))]
        return any(gates.closed(source, subject, now, run) for subject in subjects)

    return {entry.lease for entry in entries if is_closed(entry)}


def _open(connection: Connection, entries: Sequence[Ended]) -> list[Ended]:
    """Those that were not written before: nobody else ends changes of a step under lease, and all of an entry end at once."""
    steps: dict[str, list[int]] = {}
    for entry in entries:
        steps.setdefault(entry.lease.run, []).append(entry.lease.step)
    query = "SELECT step, address FROM item WHERE run = ? AND status = '' AND step IN (...)"
    left = {(run, *item) for run, seqs in sorted(steps.items()) for item in connection.rows_in(query, sorted(seqs), (run,))}
    return [entry for entry in entries if any((*entry.lease.key, address) in left for address in entry.statuses)]


def _begin(connection: Connection, entries: Sequence[Begun], now: float) -> None:
    query = (
        "UPDATE step SET state = 'started', started_at = coalesce(started_at, ?), note = '' "
        "FROM (...) AS these WHERE run = column1 AND seq = column2"
    )
    connection.run_in(query, [entry.lease.key for entry in entries], (now,))


def _wait(connection: Connection, entries: Sequence[Waits]) -> None:
    query = "UPDATE step SET state = 'waiting', operation = ? WHERE run = ? AND seq = ?"
    connection.run_many(query, [(json.dumps(entry.operations), *entry.lease.key) for entry in entries])


def _part(connection: Connection, entries: Sequence[Parted], now: float) -> None:
    for entry in entries:
        run, seq = entry.lease.key
        connection.row("SELECT id FROM run WHERE id = ? FOR UPDATE", (run,))  # nobody else gives out its numbers
        new = connection.scalar("SELECT max(seq) + 1 FROM step WHERE run = ?", (run,))
        query = "UPDATE item SET step = ? WHERE run = ? AND step = ? AND status = '' AND address IN (...)"
        if not sum(connection.changed_in(query, sorted(entry.addresses), (new, run, seq))):
            continue  # it was written before
        connection.run(
            f"INSERT INTO step (run, seq, wave, driver, tenant, state, attempts, operation, due_at, note) "  # noqa: S608 - from above
            f"SELECT run, ?, {_ASIDE}, driver, tenant, state, 0, '', ?, ? FROM step WHERE run = ? AND seq = ?",
            (new, now + entry.after_s, entry.note, run, seq),
        )
        connection.run(
            "INSERT INTO lane (run, wave, driver, tenant, open) SELECT run, wave, driver, tenant, 1 FROM step WHERE run = ? AND seq = ? "
            "ON CONFLICT (run, wave, driver, tenant) DO UPDATE SET open = lane.open + 1",
            (run, new),
        )
        end_steps(connection, [entry.lease], now)  # if nothing is left of it


_ASIDE = """CASE WHEN EXISTS (SELECT 1 FROM phase WHERE phase.run = step.run AND phase.tenant = step.tenant AND phase.track <> ''
    AND step.wave BETWEEN first_wave AND last_wave) THEN wave ELSE -1 END"""
"""The wave of what waits for a gate: its own if that is of a rollout, whose next part then waits with it; else one that nothing waits for but what needs it."""


def _free(connection: Connection, entries: Sequence[Freed], now: float) -> None:
    connection.run_many(
        "UPDATE step SET owner = '', due_at = ?, note = ?, attempts = CASE WHEN ? THEN attempts + 1 ELSE 0 END WHERE run = ? AND seq = ?",
        [(now + entry.after_s, entry.note, entry.result == "retry", *entry.lease.key) for entry in entries],
    )
    _close_attempts(connection, [(entry.lease, entry.result, entry.error) for entry in entries], now)


def _close_attempts(connection: Connection, ended: Iterable[tuple[Lease, str, str]], now: float) -> None:
    same: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for lease, result, error in ended:
        same.setdefault((result, error), []).append((lease.run, lease.step, lease.fence))
    for (result, error), leases in same.items():
        query = (
            "UPDATE attempt SET ended_at = ?, result = ?, error = ? "
            "FROM (...) AS these WHERE run = column1 AND step = column2 AND fence = column3"
        )
        connection.run_in(query, leases, (now, result, error))


def _end(connection: Connection, entries: Sequence[Ended], now: float) -> None:
    """How changes ended, the new records and what was seen; with its last change a step ends, and with its last step a run."""
    if not entries:
        return
    same: dict[tuple[Status, str], list[tuple[str, int, str]]] = {}
    for entry in entries:
        for address, ended in entry.statuses.items():
            same.setdefault(ended, []).append((*entry.lease.key, address))
    for (status, error), items in same.items():
        query = (
            "UPDATE item SET status = ?, error = ?, ended_at = ? "
            "FROM (...) AS these WHERE status = '' AND run = column1 AND step = column2 AND address = column3"
        )
        connection.run_in(query, items, (status.value, error, now))
    gone = [address for entry in entries for address in entry.gone]
    drop_records(connection, gone)
    drop_observations(connection, gone)
    save_specs(connection, [spec for entry in entries for spec in entry.specs])
    save_records(connection, [record for entry in entries for record in entry.records])
    statuses = {address: ended for entry in entries for address, ended in entry.statuses.items()}
    seen = {address: found for entry in entries for address, found in entry.seen.items()}
    save_observations(connection, seen, {address: statuses[address][0] is Status.DONE for address in seen})
    for source, done in _done(entries):
        mark_converged(connection, source, done)
    for group in sorted({group for entry in entries for group in entry.groups}):
        unsettle(connection, records_of_group(connection, group))
    back_off(connection, {address: ended for address, ended in statuses.items() if not is_operation(address)}, now)
    for run in sorted({entry.lease.run for entry in entries if any(status.value in BAD for status, _ in entry.statuses.values())}):
        connection.row("SELECT id FROM run WHERE id = ? FOR UPDATE", (run,))
        advance(connection, run, now)
    end_steps(connection, [entry.lease for entry in entries], now)


def _done(entries: Sequence[Ended]) -> Iterator[tuple[str, list[str]]]:
    """By source, what is on record anew and was done."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        for record in entry.records:
            if record.address in entry.seen and entry.statuses[record.address][0] is Status.DONE:
                found.setdefault(record.source, []).append(record.address)
    return iter(sorted(found.items()))


def end_steps(connection: Connection, leases: Sequence[Lease], now: float) -> None:
    """End those of the steps that have no open change; then the runs that have no open step. Nobody else ends any in these runs meanwhile."""
    steps: dict[str, list[int]] = {}
    for lease in leases:
        steps.setdefault(lease.run, []).append(lease.step)
    for run, seqs in sorted(steps.items()):
        query = (
            "SELECT seq, EXISTS (SELECT 1 FROM phase WHERE phase.run = step.run), wave, driver, tenant FROM step JOIN run ON run.id = step.run "
            "WHERE step.run = ? AND step.state <> 'ended' AND seq IN (...) "
            "AND NOT EXISTS (SELECT 1 FROM item WHERE item.run = step.run AND item.step = seq AND status = '') FOR UPDATE OF run"
        )
        rows = list(connection.rows_in(query, sorted(seqs), (run,)))
        over = {seq: lane for seq, _, *lane in rows}
        if not over:
            continue
        connection.run_in("UPDATE step SET state = 'ended', owner = '', note = '' WHERE run = ? AND seq IN (...)", sorted(over), (run,))
        lanes = Counter(map(tuple, over.values()))
        query = (
            "UPDATE lane SET open = open - column5 FROM (...) AS these "
            "WHERE run = column1 AND wave = column2 AND driver = column3 AND tenant = column4"
        )
        connection.run_in(query, [(run, *lane, number) for lane, number in sorted(lanes.items())])
        _close_attempts(connection, [(lease, "ended", "") for lease in leases if lease.run == run and lease.step in over], now)
        if any(phased for _, phased, *_ in rows):
            advance(connection, run, now)
        close_if_over(connection, run, now)


def close_if_over(connection: Connection, run: str, now: float) -> None:
    """End a run, which nobody else may change now, if it has no open step; and note that its source has applied the commit."""
    if connection.row("SELECT run FROM lane WHERE run = ? AND open > 0 LIMIT 1", (run,)) is not None:
        return
    found = connection.row("SELECT state, plan, source, started_at FROM run WHERE id = ? AND ended_at IS NULL", (run,))
    if found is None:
        return
    state, plan, source, started_at = found
    counts = dict(connection.rows("SELECT status, count(*) FROM item WHERE run = ? GROUP BY status", (run,)))
    done = counts.pop(Status.DONE.value, 0)
    end_run(connection, run, "cancelled" if state == "cancelling" else "failed" if counts else "done", now)
    head = plan_head(connection, plan)
    if not head.scope and done and not _overtaken(connection, source, started_at):
        save_source(connection, head.source, head.location, head.commit, now)
    run_ended(connection, run)


def _overtaken(connection: Connection, source: str, started_at: float) -> bool:
    """Whether a run of this source that began later has ended and noted its commit."""
    query = (
        "SELECT plan FROM run WHERE source = ? AND started_at > ? AND ended_at IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM item WHERE item.run = run.id AND item.status = 'done')"
    )
    return any(not plan_head(connection, plan).scope for (plan,) in list(connection.rows(query, (source, started_at))))
