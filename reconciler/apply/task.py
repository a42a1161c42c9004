"""What a step needs to be done: its changes, what they lead to, what is recorded, and how far that goes which they need. Read from the store for
many steps at once, so that a worker never holds a whole plan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from reconciler.drivers.driver import Target, Work
from reconciler.errors import Permanent
from reconciler.gate.closing import Gates, is_gated, subjects_of
from reconciler.gate.windows import Subject
from reconciler.plan.fields import patched
from reconciler.store.engine import Connection
from reconciler.store.gates import labels_in_run
from reconciler.store.journal import Lease
from reconciler.store.observations import load_observations
from reconciler.store.phases import ASIDE, in_track
from reconciler.store.plans import PlanHead, load_changes
from reconciler.store.records import load_records, load_specs
from reconciler.store.runs import Item, JournalStep
from reconciler.types.canonical import NOTHING, digest
from reconciler.types.change import Action, Change
from reconciler.types.observation import Observation
from reconciler.types.outcome import Status
from reconciler.types.resource import Recorded, Resource
from reconciler.types.values import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A step under lease. By address: `items` that are open, their `changes`, and `work` for the driver; `needs`: how what they depend on ended, None
    if it has not; `seen`: for changes of the record alone, what was last seen; `recorded`: what there is a record of. `specs`: specifications that
    the store has not yet, by digest. `begun_s`: how long ago the step began, and `quiet_s`: since when no call of it that was cut short is going on,
    both in seconds by the database's clock, as clocks differ; None for a step that has not begun. `closed`: of a step that has not begun, the changes behind
    a closed gate, with why, and the seconds after which to ask again, by the version of the gates that is `judged`; `labels` that hosts have or had, by
    group, where gates go by them; `in_rollout`: what waits does so in its place, and all that comes after it waits too; `aside`: addresses of what it needs
    that wait for a gate beside the others."""

    lease: Lease
    plan: PlanHead
    step: JournalStep
    items: Mapping[str, Item]
    changes: Mapping[str, Change]
    work: Mapping[str, Work]
    needs: "Mapping[Need, Status | None]"
    seen: Mapping[str, Observation]
    recorded: Mapping[str, Recorded]
    specs: Mapping[str, Spec]
    begun_s: float | None = None
    quiet_s: float | None = None
    closed: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    judged: str = ""
    labels: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    in_rollout: bool = False
    aside: frozenset[str] = frozenset()

    def subjects(self) -> list[tuple[str, Subject]]:
        """What gates are asked about, with the address of the change that each is."""
        gated = ((a, change) for a, change in self.changes.items() if self.is_gated(a))
        return [(a, subject) for a, change in gated for subject in subjects_of(change, self.labels.get(change.group, ()))]

    def is_gated(self, address: str) -> bool:
        """Whether gates have a say in a change."""
        return self.step.state == "ready" and self.items[address].action is not Action.CHECK and is_gated(self.changes[address])

    def unmet(self, address: str) -> tuple[str, Status | None] | None:
        """The first that this change needs and that is not done, and how it ended."""
        found = ((need[0], self.needs[need]) for need in _needed(self.items[address], self.changes[address]))
        return next(((where, status) for where, status in found if status is not Status.DONE), None)


GATE = "gate: "
"""Begins the note of a step that waits for a gate."""
Need: TypeAlias = tuple[str, Action | None]
"""An address that must be done first; only one action on it, if that is named."""


def _needed(item: Item, change: Change) -> list[Need]:
    if item.action is Action.CHECK:
        return [(item.address, None)]
    deleted: list[Need] = [(item.address, Action.DELETE)] if item.action is Action.CREATE and change.action is Action.REPLACE else []
    return [*((address, None) for address in change.depends_on), *deleted]


def load_tasks(
    connection: Connection, run: str, plan: tuple[int, PlanHead], steps: Sequence[JournalStep], gates: Gates | None = None
) -> list[Task]:
    """The tasks of some steps of a run. Raises `OctofleetError` if what is stored of the plan is damaged or incomplete."""
    row, head = plan
    numbers = load_changes(connection, row, [item.change for step in steps for item in step.open])
    ended = _ended(connection, run, {n for step in steps for item in step.open for n in _needed(item, numbers[item.change])})
    world = [step for step in steps if step.driver]
    olds = {moved for item in numbers.values() if (moved := item.moved_from)}
    recorded = load_records(connection, sorted(olds.union(item.address for step in steps for item in step.open)))
    wanted = {numbers[item.change].desired_digest for step in world for item in step.open}
    specs = load_specs(connection, (wanted | {record.digest for record in recorded.values()}) - {NOTHING})
    seen = load_observations(connection, sorted({item.address for step in steps if not step.driver for item in step.open}))
    now, cut = connection.now(), _cut_short(connection, run, steps)
    made = [_task(run, head, step, numbers, ended, recorded, specs, seen) for step in steps]
    if gates is not None and not gates.empty:
        made = _gated(connection, run, made, gates, now)
    made = [_beside(connection, run, task) if any(status is None for status in task.needs.values()) else task for task in made]
    return [
        task if (at := task.step.started_at) is None else replace(task, begun_s=now - at, quiet_s=now - max(at, cut.get(task.step.seq, at)))
        for task in made
    ]


def _gated(connection: Connection, run: str, tasks: Sequence[Task], gates: Gates, now: float) -> list[Task]:
    """The tasks, with what gates keep of them, and the labels by which the windows of a fleet choose."""
    source = tasks[0].plan.source
    labels: Mapping[str, Sequence[Mapping[str, str]]] = {}
    if gates.by_labels(source, run):
        labels = labels_in_run(connection, source, run, {change.group for task in tasks for change in task.changes.values()})
    found = []
    for task in (replace(task, labels=labels) for task in tasks):
        closed = {a: why for a, subject in task.subjects() if (why := gates.closed(source, subject, now, run)) is not None}
        waits = {a: (f"{GATE}{why.reason}; {why.next}", max(why.until - now, 0.0)) for a, why in closed.items()}
        found.append(
            replace(
                task,
                closed=waits,
                judged=gates.version,
                in_rollout=bool(waits) and in_track(connection, run, task.step.tenant, task.step.wave),
            )
        )
    return found


def _beside(connection: Connection, run: str, task: Task) -> Task:
    """The task, with which of its needs wait for a gate."""
    query = (
        "SELECT address FROM item JOIN step ON step.run = item.run AND step.seq = item.step WHERE item.run = ? AND step.wave = ? AND item.status = '' "
        "AND address IN (...)"
    )
    wanted = sorted({where for where, _ in task.needs})
    aside = frozenset(where for (where,) in connection.rows_in(query, wanted, (run, ASIDE)))
    return replace(
        task, aside=aside, in_rollout=(bool(aside) and in_track(connection, run, task.step.tenant, task.step.wave)) or task.in_rollout
    )


def _cut_short(connection: Connection, run: str, steps: Sequence[JournalStep]) -> dict[int, float]:
    """When the last lease of each step that has begun ended, of those whose call may not have returned. After one that ended as `waiting` it had."""
    query = "SELECT step, ended_at FROM attempt WHERE run = ? AND result NOT IN ('', 'waiting') AND step IN (...)"
    return dict(sorted(connection.rows_in(query, [step.seq for step in steps if step.started_at is not None], (run,))))


def _task(
    run: str,
    head: PlanHead,
    step: JournalStep,
    numbers: Mapping[int, Change],
    ended: Mapping[Need, Status | None],
    recorded: Mapping[str, Recorded],
    specs: Mapping[str, Spec],
    seen: Mapping[str, Observation],
) -> Task:
    items = {item.address: item for item in step.open}
    changes = {address: numbers[item.change] for address, item in items.items()}
    work = {a: _work(item, changes[a], recorded, specs) for a, item in items.items()} if step.driver else {}
    desired = {w.target.desired.digest: w.target.desired.spec for w in work.values() if w.target.desired is not None}
    return Task(
        lease=Lease(run=run, step=step.seq, fence=step.fence),
        plan=head,
        step=step,
        items=items,
        changes=changes,
        work=work,
        needs={need: ended[need] for a, item in items.items() for need in _needed(item, changes[a])},
        seen={a: found for a in items if (found := seen.get(a)) is not None},
        recorded={a: record for a in items if (record := recorded.get(a)) is not None},
        specs={known: spec for known, spec in desired.items() if known not in specs},
    )


def _work(item: Item, change: Change, recorded: Mapping[str, Recorded], specs: Mapping[str, Spec]) -> Work:
    old = recorded.get(change.moved_from or item.address)
    old_spec = specs.get(old.digest) if old else None
    desired = None if item.action is Action.DELETE else _resource(change, specs, old_spec)
    if change.moved_from is None:
        return Work(action=item.action, target=Target(address=item.address, desired=desired, recorded=old, recorded_spec=old_spec))
    moved = Target(address=change.moved_from, desired=desired, recorded=old, recorded_spec=old_spec)
    return Work(action=item.action, target=Target(address=item.address, desired=desired), moved_from=moved)


def _ended(connection: Connection, run: str, needs: Collection[Need]) -> dict[Need, Status | None]:
    """How these ended. A replacement is two changes of one address: both have to be done."""
    found: dict[str, list[tuple[Action, str]]] = {}
    query = "SELECT address, action, status FROM item WHERE run = ? AND action <> 'check' AND address IN (...)"
    for address, action, status in connection.rows_in(query, sorted({address for address, _ in needs}), (run,)):
        found.setdefault(address, []).append((Action(action), status))
    return {need: _worst([status for action, status in found.get(need[0], ()) if need[1] in (None, action)]) for need in needs}


def _worst(statuses: Sequence[str]) -> Status | None:
    if "" in statuses:
        return None
    return next((Status(status) for status in statuses if status != Status.DONE), Status.DONE)


def _resource(change: Change, specs: Mapping[str, Spec], recorded: Spec | None) -> Resource:
    """What the change leads to: stored with the plan, or the record's specification with the change's fields, as its digest proves."""
    spec = specs.get(change.desired_digest)
    if spec is None and recorded is not None:
        made = patched(recorded, change.fields)
        spec = made if digest(made) == change.desired_digest else None
    if spec is None:
        raise Permanent(f"the specification of {change.address} is not in the store", hint="make a new plan")
    return Resource(address=change.address, spec=spec, rules=change.rules, group=change.group, origin=change.origin)
