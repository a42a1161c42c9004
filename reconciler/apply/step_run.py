"""One step of a run on its way through its driver: look, begin, apply, wait, and hold what the driver says against the world.

In: an open step, the run that it belongs to, a driver. Out: an outcome for every change of the step, journaled through the run. It never
raises for what a driver does wrong.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.drivers.driver import Context, Driver, Results, Staleness, Step, Target, Work
from reconciler.errors import OctofleetError, Permanent, RetryLater, Stale
from reconciler.plan.fields import patched
from reconciler.store.records import load_records, load_specs, save_specs
from reconciler.store.runs import Item, JournalStep, begin_step, note_operation, write_log
from reconciler.types.canonical import NOTHING, digest
from reconciler.types.change import Action, Change
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Resource
from reconciler.types.values import Spec

if TYPE_CHECKING:
    from reconciler.apply.execute import Execution


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """One step on its way, in a thread of its own."""

    execution: "Execution"
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
        if self.step.state != "ready":
            self.execution.begun.add(self.step.seq)
        results = self._poll(self.step.operation, items) if self.step.state == "waiting" else {}
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
            run.begun.add(step.seq)
        return self.driver.apply(Step(id=f"{run.run.id}.{step.seq}", work=left), context)

    def _settle(self, items: Mapping[str, Item], work: Mapping[str, Work], results: Results, context: Context) -> None:
        """Journal what has ended, wait for what has not; waiting holds this step's place in its driver's concurrency."""
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
                results |= self._poll(operation, [address for address, item in pending.items() if item.operation == operation])

    def _poll(self, operation: str, waiting: Iterable[str]) -> dict[str, Outcome | Pending]:
        """How an operation stands; one that cannot be asked about now is still going on."""
        try:
            return dict(self.driver.poll(operation, self.execution.context(self._log, self._checkpoint)))
        except RetryLater as error:
            return dict.fromkeys(waiting, Pending(operation=operation, poll_after_s=error.after_s))

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
        return digest_of(found) != before and not (before == NOTHING and isinstance(found, Proposed))

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
        work, made = {}, []
        for item in items:
            change = changes[item.address]
            old = recorded.get(olds[item.address])
            known = {"recorded": old, "recorded_spec": specs.get(old.digest) if old else None}
            desired = None
            if item.action is not Action.DELETE:
                desired = _resource(change, specs, specs.get(old.digest) if old else None)
                made += [desired.spec] if desired.digest not in specs else []
            target = Target(address=item.address, desired=desired, **(known if change.moved_from is None else {}))  # type: ignore[arg-type]
            moved = Target(address=change.moved_from, desired=desired, **known) if change.moved_from else None  # type: ignore[arg-type]
            work[item.address] = Work(action=item.action, target=target, moved_from=moved)
        if made:  # the record will name them
            with self.execution.store.write() as connection:
                save_specs(connection, made)
        return work

    def _log(self, line: str) -> None:
        with self.execution.store.write() as connection:
            write_log(connection, self.execution.run.id, [(self.step.seq, self.execution.now(), line)])

    def _checkpoint(self, operation: str) -> None:
        with self.execution.store.write() as connection:
            note_operation(connection, self.execution.run.id, self.step.seq, operation)


def _resource(change: Change, specs: Mapping[str, Spec], recorded: Spec | None) -> Resource:
    """What the change leads to: stored with the plan, or the record's specification with the change's fields, as its digest proves."""
    spec = specs.get(change.desired_digest)
    if spec is None and recorded is not None:
        made = patched(recorded, change.fields)
        spec = made if digest(made) == change.desired_digest else None
    if spec is None:
        raise Permanent(f"the specification of {change.address} is not in the store", hint="make a new plan")
    return Resource(address=change.address, spec=spec, rules=change.rules, group=change.group, origin=change.origin)


def digest_of(found: Observation) -> str:
    """What a plan's `before_digest` is held against."""
    return NOTHING if isinstance(found, Absent) else getattr(found, "digest", "")
