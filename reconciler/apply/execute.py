"""The apply loop: takes a journaled run to its end, wave by wave, however often it was interrupted before.

A step that has not begun observes its targets first: at `before_digest` it begins, at `after_digest` it is done, elsewhere it is stale. A step that had
begun when the process died resumes: at `after_digest` it is done, otherwise it goes on towards it. Nothing here decides what should change;
that is the plan's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from threading import Semaphore

from reconciler.apply.step_run import StepRun, digest_of
from reconciler.drivers.driver import Context, Driver
from reconciler.errors import Permanent
from reconciler.plan.decide import voids
from reconciler.store.engine import Connection, Store
from reconciler.store.observations import drop_observations, load_observations, save_observations, unsettle
from reconciler.store.records import drop_records, load_records, records_of_group, save_records, save_source
from reconciler.store.runs import Item, JournalRun, JournalStep, end_items, end_run, load_steps, write_log
from reconciler.types.canonical import NOTHING
from reconciler.types.change import REMOVALS, Action, Change
from reconciler.types.observation import Absent, Observation, Present
from reconciler.types.outcome import Outcome, Status
from reconciler.types.plan import Plan
from reconciler.types.resource import Recorded, parts

MakeContext = Callable[[Callable[[str], None], Callable[[str], None]], Context]
"""Given where log lines and checkpoints go, the context of one driver call."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a run needs. `wait` sleeps (in seconds), `now` tells the time since the epoch, `told` hears of every change that ends."""

    store: Store
    drivers: Mapping[str, Driver]
    plan: Plan
    run: JournalRun
    context: MakeContext
    cancelled: Callable[[], bool] = lambda: False
    told: Callable[[Change, Status, str], None] = lambda change, status, error: None
    now: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep
    deadline_s: float = 3600.0
    location: str = ""
    begun: set[int] = field(default_factory=set)
    ended: dict[str, Status] = field(default_factory=dict)

    def go(self) -> dict[str, Status]:
        """Run every step to its end; gives how each address ended. Returns early, with the run still open, when cancelled."""
        with self.store.read() as connection:
            steps = load_steps(connection, self.run.id)
        for step in steps:
            self.ended.update((item.address, item.status) for item in step.items if item.status is not None)
        missing = {step.driver for step in steps if step.driver and step.state != "ended"} - self.drivers.keys()
        if missing:
            hint = f"install its plugin or enable it in the settings, or give the run up: octofleet cancel {self.run.id} --reason WHY"
            raise Permanent(f"run {self.run.id} needs the driver {min(missing)}, which is not here", hint=hint, code="driver-missing")
        limits = {name: Semaphore(driver.info.concurrency) for name, driver in self.drivers.items()}
        with ThreadPoolExecutor(max_workers=sum(d.info.concurrency for d in self.drivers.values()) + 1) as pool:
            for _, wave in groupby(steps, key=lambda step: step.wave):
                for _ in pool.map(lambda step: self._guarded(step, limits), [step for step in wave if step.state != "ended"]):
                    pass
                if self.cancelled():
                    break
        with self.store.read() as connection:
            left = any(step.state != "ended" for step in load_steps(connection, self.run.id))
        if not left:
            self._close()
        return self.ended

    def _close(self) -> None:
        failed = any(status is not Status.DONE for status in self.ended.values())
        with self.store.write() as connection:
            end_run(connection, self.run.id, "failed" if failed else "done", self.now())
            if not self.plan.scope and Status.DONE in self.ended.values():
                save_source(connection, self.plan.source, self.location, self.plan.commit, self.now())

    def _guarded(self, step: JournalStep, limits: Mapping[str, Semaphore]) -> None:
        if self.cancelled():
            return
        if not step.driver:
            self._record_only(step)
            return
        with limits[step.driver]:
            StepRun(execution=self, step=step, driver=self.drivers[step.driver]).go()

    def _record_only(self, step: JournalStep) -> None:
        open_items = [item for item in step.items if item.status is None]
        with self.store.read() as connection:
            seen = load_observations(connection, [item.address for item in open_items])
        outcomes = {item.address: self._unmet(item) or self._as_seen(item, seen.get(item.address)) for item in open_items}
        self.finish(step, outcomes)

    def _as_seen(self, item: Item, seen: Observation | None) -> Outcome:
        """Done, with what the plan relied on as the observation, so that the record gets the world's own id of it."""
        relied = seen is not None and digest_of(seen) == self.change(item).before_digest
        return Outcome(status=Status.DONE, observation=seen if relied else None)

    def change(self, item: Item) -> Change:
        """The plan's change that an item carries out."""
        return self.plan.changes[item.change]

    def _unmet(self, item: Item) -> Outcome | None:
        """Why this change cannot begin: one that it needs did not end well."""
        needs = list(self.change(item).depends_on)
        if item.action is Action.CREATE and self.change(item).action is Action.REPLACE:
            needs.append(item.address)
        for needed in needs:
            if self.ended.get(needed) is not Status.DONE:
                return Outcome(status=Status.CANCELLED, error=f"it needs {needed}, which is not done")
        return None

    def unmet(self, items: Sequence[Item]) -> dict[str, Outcome]:
        """The items that cannot begin."""
        return {item.address: outcome for item in items if (outcome := self._unmet(item)) is not None}

    def finish(self, step: JournalStep, outcomes: Mapping[str, Outcome]) -> None:
        """Write how changes ended, the new records and what was seen, all in one transaction."""
        items = {item.address: item for item in step.items if item.address in outcomes}
        with self.store.write() as connection:
            end_items(connection, self.run.id, step.seq, {a: (o.status, o.error) for a, o in outcomes.items()}, self.now())
            done = [item for item in items.values() if outcomes[item.address].status is Status.DONE]
            gone = [item.address for item in done if item.action in REMOVALS]
            gone += [moved for item in done if (moved := self.change(item).moved_from) is not None]
            drop_records(connection, gone)
            drop_observations(connection, gone)
            kept = [item for item in done if item.action not in REMOVALS]
            before = load_records(connection, [item.address for item in kept])
            save_records(connection, [self._recorded(item, outcomes[item.address], before.get(item.address)) for item in kept])
            self._own_begun(connection, step, items, outcomes)
            seen = {address: found for address, outcome in outcomes.items() if (found := outcome.observation) and address not in gone}
            save_observations(connection, seen, {a: outcomes[a].status is Status.DONE for a in seen})
            for group in {self.change(item).group for item in done if self._voids(item)}:
                unsettle(connection, records_of_group(connection, group))
            write_log(connection, self.run.id, [(step.seq, self.now(), _line(items[a], o)) for a, o in sorted(outcomes.items())])
        for address, outcome in sorted(outcomes.items()):
            self.ended[address] = outcome.status
            self.told(self.change(items[address]), outcome.status, outcome.error)

    def _voids(self, item: Item) -> bool:
        """Whether what lives on the target went with it, so that it has to be looked at again."""
        change = self.change(item)
        driver, kind, *_ = parts(change.address)
        kinds = {known.name: known for known in self.drivers[driver].info.kinds} if driver in self.drivers else {}
        return kind in kinds and voids(change, kinds[kind])

    def _own_begun(self, connection: Connection, step: JournalStep, items: Mapping[str, Item], outcomes: Mapping[str, Outcome]) -> None:
        """What was begun and did not end well may exist all the same: it is recorded as ours, with nothing known of it."""
        if step.seq not in self.begun:
            return
        bad = [a for a, o in outcomes.items() if o.status is not Status.DONE and not isinstance(o.observation, Absent)]
        made = [a for a in bad if items[a].action not in REMOVALS and self.change(items[a]).moved_from is None]
        known = load_records(connection, made)
        new = [self._recorded(items[a], outcomes[a], None) for a in made if a not in known]
        save_records(connection, [replace(record, digest=NOTHING) for record in new])

    def _recorded(self, item: Item, outcome: Outcome, before: Recorded | None) -> Recorded:
        change, seen = self.change(item), outcome.observation
        external_id = (
            outcome.external_id or (seen.external_id if isinstance(seen, Present) else "") or (before.external_id if before else "")
        )
        return Recorded(
            address=change.address,
            source=self.plan.source,
            digest=change.desired_digest,
            rules=change.rules,
            group=change.group,
            external_id=external_id,
            observed_digest=seen.digest if isinstance(seen, Present) else change.after_digest,
            commit=self.plan.commit,
        )


def _line(item: Item, outcome: Outcome) -> str:
    text = f"{item.action} {item.address}: {outcome.status}"
    return f"{text}: {outcome.error}" if outcome.error else text
