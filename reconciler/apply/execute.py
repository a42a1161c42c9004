"""The apply loop: takes a journaled run to its end, wave by wave, however often it was interrupted before.

A step that has not begun observes its targets first: at `before_digest` it begins, at `after_digest` it is done, elsewhere it is stale. A step that had
begun when the process died resumes: at `after_digest` it is done, otherwise it goes on towards it. Nothing here decides what should change;
that is the plan's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from threading import Semaphore

from reconciler.drivers.driver import Context, Driver, Results, Staleness, Step, Target, Work
from reconciler.errors import OctofleetError, Permanent, Stale
from reconciler.store.engine import Store
from reconciler.store.observations import drop_observations, load_observations, save_observations
from reconciler.store.records import drop_records, load_records, load_specs, save_records
from reconciler.store.runs import Item, JournalRun, JournalStep, begin_step, end_items, end_run, load_steps, note_operation, write_log
from reconciler.types.canonical import NOTHING
from reconciler.types.change import REMOVALS, Action, Change
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.plan import Plan
from reconciler.types.resource import Recorded, Resource

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
                    return self.ended
        self._close()
        return self.ended

    def _close(self) -> None:
        failed = any(status is not Status.DONE for status in self.ended.values())
        with self.store.write() as connection:
            end_run(connection, self.run.id, "failed" if failed else "done", self.now())

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
        relied = seen is not None and _digest(seen) == self.change(item).before_digest
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
            seen = {address: found for address, outcome in outcomes.items() if (found := outcome.observation) and address not in gone}
            save_observations(connection, seen, {a: outcomes[a].status is Status.DONE for a in seen})
            write_log(connection, self.run.id, [(step.seq, self.now(), _line(items[a], o)) for a, o in sorted(outcomes.items())])
        for address, outcome in sorted(outcomes.items()):
            self.ended[address] = outcome.status
            self.told(self.change(items[address]), outcome.status, outcome.error)

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


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """One step on its way, in a thread of its own."""

    execution: Execution
    step: JournalStep
    driver: Driver
    ended: set[str] = field(default_factory=set)

    def go(self) -> None:
        """Bring the step to its end, or leave it open when cancelled."""
        items = [item for item in self.step.items if item.status is None]
        unmet = self.execution.unmet(items) if self.step.state == "ready" else {}
        if unmet:
            self._finish(unmet)
            items = [item for item in items if item.address not in unmet]
        if not items:
            return
        try:
            self._go({item.address: item for item in items}, self._targets(items))
        except Exception as error:  # noqa: BLE001 - the apply boundary: whatever a driver raises becomes an outcome
            self._failed([item for item in items if item.address not in self.ended], error)

    def _finish(self, outcomes: Mapping[str, Outcome]) -> None:
        self.execution.finish(self.step, outcomes)
        self.ended.update(outcomes)

    def _failed(self, items: Sequence[Item], error: Exception) -> None:
        status = Status.STALE if isinstance(error, Stale) else Status.FAILED
        text = str(error) if isinstance(error, OctofleetError) else f"{type(error).__name__}: {error}"
        observation = Unknown(code="apply-failed", reason=text, at=self.execution.now())
        outcomes = {item.address: Outcome(status=status, error=text, observation=observation) for item in items}
        self.execution.finish(self.step, outcomes)

    def _go(self, items: Mapping[str, Item], work: Mapping[str, Work]) -> None:
        context = self.execution.context(self._log, self._checkpoint)
        results = dict(self.driver.poll(self.step.operation, context)) if self.step.state == "waiting" else {}
        rest = {address: item for address, item in items.items() if address not in results}
        if rest:
            results |= self._begin(rest, work, context)
        self._settle({a: item for a, item in items.items() if a not in self.ended}, work, results, context)

    def _begin(self, items: Mapping[str, Item], work: Mapping[str, Work], context: Context) -> Results:
        """Apply what has not ended yet; after an interruption, what no operation under way answers for."""
        run, step = self.execution, self.step
        ended = self._check(items, work, context)
        if ended:
            self._finish(ended)
        left = tuple(work[address] for address in sorted(items) if address not in ended)
        if not left:
            return {}
        if step.state == "ready":
            with run.store.write() as connection:
                begin_step(connection, run.run.id, step.seq, run.now())
        return self.driver.apply(Step(id=f"{run.run.id}.{step.seq}", work=left), context)

    def _settle(self, items: Mapping[str, Item], work: Mapping[str, Work], results: Results, context: Context) -> None:
        """Journal what has ended, wait for what has not; waiting holds nothing but this step."""
        until = time.monotonic() + self.execution.deadline_s
        left = set(items)
        while left:
            silent = Outcome(status=Status.FAILED, error=f"the driver {self.driver.info.name} gave no outcome")
            now = {address: results.get(address, silent) for address in left}
            pending = {address: result for address, result in now.items() if isinstance(result, Pending)}
            ended = {address: result for address, result in now.items() if isinstance(result, Outcome)}
            if time.monotonic() > until:
                late = Outcome(status=Status.EXPIRED, error=f"still going on after {self.execution.deadline_s:g} s")
                ended |= dict.fromkeys(pending, late)
            if ended:
                self._finish(self._seen(items, work, ended, context))
            left -= ended.keys()
            if not left:
                return
            operations = sorted({item.operation for item in pending.values()})
            self._checkpoint(operations[-1])
            self.execution.wait(min(item.poll_after_s for item in pending.values()))
            if self.execution.cancelled():
                return
            results = {}
            for operation in operations:
                results |= self.driver.poll(operation, context)

    def _seen(
        self, items: Mapping[str, Item], work: Mapping[str, Work], ended: Mapping[str, Outcome], context: Context
    ) -> dict[str, Outcome]:
        """Hold what the driver says against the world: done means that the world is at `after_digest`."""
        blind = [work[a].target for a, o in ended.items() if o.observation is None]
        observed = self._observed(blind, context) if blind else {}
        result = {}
        for address, outcome in ended.items():
            found = outcome.observation or observed.get(address)
            error = outcome.error
            status = outcome.status
            if status is Status.DONE and not self._at_end(items[address], found):
                why = f"cannot be observed: {found.reason}" if isinstance(found, Unknown) else "is not as desired"
                status, error = Status.PARTIAL, f"the driver said done, but the world {why}"
            result[address] = Outcome(
                status=status, observation=found, external_id=outcome.external_id, outputs=outcome.outputs, error=error
            )
        return result

    def _observed(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """What there is now. What cannot be seen is unknown, so that the next plan looks again."""
        now = self.execution.now()
        try:
            found = self.driver.observe(targets, context)
        except OctofleetError as error:
            return {target.address: Unknown(code=error.code, reason=error.message, at=now) for target in targets}
        silent = Unknown(code="not-answered", reason="the driver gave no observation", at=now)
        return {target.address: found.get(target.address, silent) for target in targets}

    def _at_end(self, item: Item, found: Observation | None) -> bool:
        if item.action is Action.DELETE:
            return isinstance(found, Absent)
        if isinstance(found, Present):
            return found.digest == self.execution.change(item).desired_digest
        return isinstance(found, Proposed) and not found.fields

    def _check(self, items: Mapping[str, Item], work: Mapping[str, Work], context: Context) -> dict[str, Outcome]:
        """What has ended before it began: done already, or stale. After an interruption nothing is stale."""
        begun = self.step.state != "ready"
        if not begun and self.driver.info.staleness is not Staleness.DIGEST:
            return {}
        self._wait_until_settled()
        looked = {address: self._place(item, work[address]) for address, item in items.items()}
        observed = self.driver.observe(list(looked.values()), context)
        ended: dict[str, Outcome] = {}
        for address, item in items.items():
            found = observed.get(looked[address].address)
            if found is None or isinstance(found, Unknown):
                reason = found.reason if isinstance(found, Unknown) else "the driver gave no observation"
                ended[address] = Outcome(status=Status.FAILED, observation=found, error=f"cannot be observed: {reason}")
            elif self._done_already(item, work[address], found):
                ended[address] = Outcome(status=Status.DONE, observation=found)
            elif not begun and self._moved_on(item, found):
                error = "the world has changed since the plan was made; make a new plan"
                ended[address] = Outcome(status=Status.STALE, observation=found, error=error)
        return ended

    def _place(self, item: Item, work: Work) -> Target:
        """Where to look before a change: what has not begun to move is still at its old address."""
        moving = work.moved_from is not None and self.step.state == "ready"
        return work.moved_from if moving and work.moved_from and not self._recreates(item) else work.target

    def _recreates(self, item: Item) -> bool:
        return self.execution.change(item).action is Action.REPLACE and item.action is Action.CREATE

    def _done_already(self, item: Item, work: Work, found: Observation) -> bool:
        """A move is never done before it began, as something may be left at the old address; nor is a run that proposes nothing, for a
        preview does not foresee everything."""
        return work.moved_from is None and not isinstance(found, Proposed) and self._at_end(item, found)

    def _moved_on(self, item: Item, found: Observation) -> bool:
        """Whether the world is not as the plan saw it. On what is made anew an engine proposes all that it does: that is its absence."""
        before = NOTHING if self._recreates(item) else self.execution.change(item).before_digest
        return _digest(found) != before and not (before == NOTHING and isinstance(found, Proposed))

    def _wait_until_settled(self) -> None:
        """After a lost reply an absent resource may still be on its way: give it the driver's settle time."""
        if self.step.started_at is not None and self.driver.info.settle_s:
            left = self.step.started_at + self.driver.info.settle_s - self.execution.now()
            if left > 0:
                self.execution.wait(left)

    def _targets(self, items: Sequence[Item]) -> dict[str, Work]:
        """The work of each item, with specifications loaded by digest."""
        changes = {item.address: self.execution.change(item) for item in items}
        olds = {a: change.moved_from or a for a, change in changes.items()}
        with self.execution.store.read() as connection:
            recorded = load_records(connection, list(olds.values()))
            wanted = {c.desired_digest for c in changes.values()} | {r.digest for r in recorded.values()}
            specs = load_specs(connection, wanted - {NOTHING})
        work = {}
        for item in items:
            change = changes[item.address]
            old = recorded.get(olds[item.address])
            known = {"recorded": old, "recorded_spec": specs.get(old.digest) if old else None}
            desired = None
            if item.action is not Action.DELETE:
                desired = _resource(change, specs)
            target = Target(address=item.address, desired=desired, **(known if change.moved_from is None else {}))  # type: ignore[arg-type]
            moved = Target(address=change.moved_from, desired=desired, **known) if change.moved_from else None  # type: ignore[arg-type]
            work[item.address] = Work(action=item.action, target=target, moved_from=moved)
        return work

    def _log(self, line: str) -> None:
        with self.execution.store.write() as connection:
            write_log(connection, self.execution.run.id, [(self.step.seq, self.execution.now(), line)])

    def _checkpoint(self, operation: str) -> None:
        with self.execution.store.write() as connection:
            note_operation(connection, self.execution.run.id, self.step.seq, operation)


def _resource(change: Change, specs: Mapping[str, object]) -> Resource:
    spec = specs.get(change.desired_digest)
    if not isinstance(spec, dict):
        raise Permanent(f"the specification of {change.address} is not in the store", hint="make a new plan")
    return Resource(address=change.address, spec=spec, rules=change.rules, group=change.group, origin=change.origin)


def _digest(found: Observation) -> str:
    return NOTHING if isinstance(found, Absent) else getattr(found, "digest", "")
