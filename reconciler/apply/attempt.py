"""One attempt at a step: look, begin, apply or ask how it stands, and hold what the driver says against the world.

In: a task under lease and a driver. Out: entries in the journal: how changes ended, or when and why to come back. It never waits for the world (a
step that has to wait gives its lease back) and never raises for what a driver does wrong.

A step that has not begun observes its targets first: at `before_digest` it begins, at `after_digest` it is done, elsewhere it is stale. A step that
had begun when its worker was lost resumes: at `after_digest` it is done, otherwise it goes on towards it.
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.apply.journal import Halted, Journal
from reconciler.apply.task import Task
from reconciler.apply.telling import Telling
from reconciler.apply.watched import Watched
from reconciler.drivers.breaker import UNAVAILABLE
from reconciler.drivers.driver import Context, Driver, Results, Staleness, Step, Target
from reconciler.errors import OctofleetError, RetryLater, Stale
from reconciler.plan.decide import voids
from reconciler.store.journal import Begun, Ended, Freed, Parted, Waits
from reconciler.store.phases import ASIDE
from reconciler.types.canonical import NOTHING
from reconciler.types.change import REMOVALS, Action, Change
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Recorded, is_operation, parts

MakeContext = Callable[[Callable[[str], None], Callable[[str], None]], Context]
"""Given where log lines and checkpoints go, the context of one driver call."""
Told = Callable[[Change, Status, str], None]
JOURNAL_ERRORS = frozenset({"fenced", "store", "store-unavailable"})
NEEDS_S, NEEDS_MOST_S = 1.0, 10.0
"""After how long to see again whether a need is done: at first, and each time so much later; at most, and of a step that something behind a gate keeps."""
MOST_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often in a row a step may fail with what may work later, and how long it may wait for the world, in seconds since it began."""

    attempts: int = 5
    deadline_s: float = 3600.0


class _Later(Exception):
    """The step is not ripe."""

    def __init__(self, after_s: float, note: str, judged: str | None = None) -> None:
        super().__init__(note)
        self.after_s, self.note, self.judged = after_s, note, judged


@dataclass(kw_only=True)
class Attempt:
    """One lease's worth of work. `stopping`: nothing more is to begin; `told` hears of every change that ends; `now` is in seconds since the epoch;
    `watched` sees it all and changes nothing."""

    task: Task
    drivers: Mapping[str, Driver]
    journal: Journal
    context: MakeContext
    patience: Patience
    now: Callable[[], float]
    stopping: Callable[[], bool] = lambda: False
    stopped: Callable[[], bool] = lambda: False
    lost: Callable[[], bool] = lambda: False
    told: Told = lambda change, status, error: None
    watched: Watched | None = None

    def __post_init__(self) -> None:
        self.lease, self.step = self.task.lease, self.task.step
        self.begun = self.step.state != "ready"
        self.began_at = None if self.task.begun_s is None else self.now() - self.task.begun_s
        self.quiet_at = None if self.task.quiet_s is None else self.now() - self.task.quiet_s
        self.operations = set(self.step.operations)
        self.left = set(self.task.items)
        self.telling = Telling(self.journal, self.lease)

    def go(self) -> None:
        """Do what can be done now. Raises `OctofleetError` if it could not be journaled: `Fenced` if somebody else has the step by now."""
        try:
            self._go()
        finally:
            self.telling.close()

    def _go(self) -> None:
        try:
            self._ready()
        except _Later as later:
            self._free("waiting", later.after_s, later.note, judged=later.judged)
        except RetryLater as error:
            self._retry(error)
        except Halted as error:
            self._halted(error.code)
        except (Exception, SystemExit) as error:  # the apply boundary: whatever a driver raises becomes an outcome
            if isinstance(error, OctofleetError) and error.code in JOURNAL_ERRORS:
                raise
            self._failed(error)

    def _ready(self) -> None:
        """See whether gates are open and what the changes need is done, then go to the driver."""
        if not self.begun:
            self._wait_for_gates()
            unmet = {address: found for address in self.left if (found := self.task.unmet(address))}
            text = "it needs {}, which is not done"
            self._end({a: Outcome(status=Status.CANCELLED, error=text.format(where)) for a, (where, ended) in unmet.items() if ended})
            self._wait_for({address: where for address, (where, ended) in unmet.items() if ended is None})
            if self.left and self.stopping():
                self._free("handed-over", 0.0, "")
                return
        if not self.left:
            return
        if not self.step.driver:
            self._end({address: self._as_seen(address) for address in self.left})
        elif all(item.action is Action.CHECK for item in self.task.items.values()):
            self._end(self._looked_again(self.drivers[self.step.driver]))
        else:
            self._drive(self.drivers[self.step.driver])

    def _wait_for_gates(self) -> None:
        closed = {address: self.task.closed[address] for address in self.left if address in self.task.closed}
        if closed:
            note, after_s = min(closed.values(), key=lambda why: why[1])
            aside = self.step.wave != ASIDE and not self.task.in_rollout
            self._leave(closed, after_s, note, aside=aside, judged=self.task.judged)

    def _wait_for(self, needs: Mapping[str, str]) -> None:
        """Needs by address. What needs something that waits for a gate waits beside the others, too; else all of the step waits."""
        far = {address: where for address, where in needs.items() if where in self.task.aside}
        if far:
            aside = self.step.wave != ASIDE and not self.task.in_rollout
            self._leave(far, NEEDS_MOST_S, f"waits for {min(far.values())}", aside=aside)
        if near := sorted(where for address, where in needs.items() if address not in far):
            raise _Later(min(NEEDS_S * self.step.fence, NEEDS_MOST_S), f"waits for {near[0]}")

    def _leave(self, addresses: Collection[str], after_s: float, note: str, *, aside: bool = False, judged: str | None = None) -> None:
        """Leave what is not ripe to a step of its own; if that is all of it, and nothing waits for it that does not need it (`aside`), come back later.
        `judged`: the version of the gates that keep it."""
        if len(addresses) == len(self.left) and not aside:
            raise _Later(after_s, note, judged)
        self.journal.write(Parted(lease=self.lease, addresses=sorted(addresses), after_s=after_s, note=note, judged=judged))
        self.left -= set(addresses)

    def _looked_again(self, driver: Driver) -> dict[str, Outcome]:
        """Whether hosts are well after a soak: a change that its driver does not see as desired any more has failed."""
        targets = {address: self.task.work[address].target for address in self.left}
        found = self._observed(driver, list(targets.values()), self._context())
        return {address: self._well(address, found[target.address]) for address, target in targets.items()}

    def _well(self, address: str, found: Observation) -> Outcome:
        if self._at_end(address, found):
            return Outcome(status=Status.DONE, observation=found)
        why = f"it cannot be observed: {found.reason}" if isinstance(found, Unknown) else "it is not as desired any more"
        return Outcome(status=Status.FAILED, observation=found, error=f"after its soak {why}")

    def _as_seen(self, address: str) -> Outcome:
        """Done, with what the plan relied on as the observation, so that the record gets the world's own id of it."""
        seen = self.task.seen.get(address)
        relied = seen is not None and digest_of(seen) == self.task.changes[address].before_digest
        return Outcome(status=Status.DONE, observation=seen if relied else None)

    def _drive(self, driver: Driver) -> None:
        context = self._context()
        results = self._poll(driver)
        rest = self.left - results.keys()
        if rest:
            results |= self._begin(driver, sorted(rest), context)
        self._settle(driver, results, context)

    def _poll(self, driver: Driver) -> dict[str, Outcome | Pending]:
        """How the operations stand. One that cannot be asked about now is still going on: whatever no other answers for may be its work."""
        results: dict[str, Outcome | Pending] = {}
        silent: list[Pending] = []
        for operation in sorted(self.operations):
            try:
                found = driver.poll(operation, self._context())
            except RetryLater as error:
                silent.append(Pending(operation=operation, poll_after_s=error.after_s))
                continue
            results |= found
            if not any(isinstance(result, Pending) for result in found.values()):
                self.operations.discard(operation)
        return results | (dict.fromkeys(self.left - results.keys(), silent[0]) if silent else {})

    def _begin(self, driver: Driver, addresses: Sequence[str], context: Context) -> Results:
        """Apply what has not ended yet; after an interruption, what no operation under way answers for. The lease is looked at directly before the
        driver is called: observing takes time, and somebody else may be at the step by now. What a person wants stopped is not tried again."""
        if self.begun and self.stopped():
            error = "it was stopped before it was tried again; the log has what was done of it"
            self._end({address: Outcome(status=Status.CANCELLED, error=error) for address in addresses})
            return {}
        self._end(self._check(driver, addresses, context))
        work = tuple(self.task.work[address] for address in addresses if address in self.left)
        if not work:
            return {}
        subjects = [subject for address, subject in self.task.subjects() if address in self.left]
        self.journal.write(Begun(lease=self.lease, source=self.task.plan.source, subjects=subjects))
        self.begun, self.began_at = True, self.began_at or self.now()
        return driver.apply(Step(id=f"{self.lease.run}.{self.lease.step}", work=work), context)

    def _settle(self, driver: Driver, results: Results, context: Context) -> None:
        """Journal what has ended, and come back for what has not."""
        silent = Outcome(status=Status.FAILED, error=f"the driver {driver.info.name} gave no outcome")
        now = {address: results.get(address, silent) for address in sorted(self.left)}
        pending = {address: result for address, result in now.items() if isinstance(result, Pending)}
        ended = {address: result for address, result in now.items() if isinstance(result, Outcome)}
        most_s = self.patience.deadline_s if driver.info.deadline_s is None else driver.info.deadline_s
        if self.began_at is not None and self.now() > self.began_at + most_s:
            late = Outcome(status=Status.EXPIRED, error=f"still going on after {most_s:g} s")
            ended |= dict.fromkeys(pending, late)
        self._end(self._seen(driver, ended, context))
        if not self.left:
            return
        self.operations |= {pending[a].operation for a in self.left}
        self.journal.write(Waits(lease=self.lease, operations=tuple(sorted(self.operations))))
        self._free("waiting", min(pending[a].poll_after_s for a in self.left), "an operation is going on in the world")

    def _seen(self, driver: Driver, ended: Mapping[str, Outcome], context: Context) -> dict[str, Outcome]:
        """Hold what the driver says against the world: done means that the world is at `after_digest`."""
        blind = [self.task.work[a].target for a, outcome in ended.items() if outcome.observation is None]
        observed = self._observed(driver, blind, context) if blind else {}
        result = {}
        for address, outcome in ended.items():
            found = outcome.observation or observed.get(address)
            status, error = outcome.status, outcome.error
            if status is Status.DONE and not self._at_end(address, found):
                why = f"cannot be observed: {found.reason}" if isinstance(found, Unknown) else "is not as desired"
                status, error = Status.PARTIAL, f"the driver said done, but the world {why}"
            result[address] = replace(outcome, status=status, observation=found, error=error)
        return result

    def _observed(self, driver: Driver, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """What there is now. What cannot be seen is unknown, so that the next plan looks again."""
        try:
            found = driver.observe(targets, context)
        except OctofleetError as error:
            return {target.address: Unknown(code=error.code, reason=error.message, at=self.now()) for target in targets}
        silent = Unknown(code="not-answered", reason="the driver gave no observation", at=self.now())
        return {target.address: found.get(target.address, silent) for target in targets}

    def _at_end(self, address: str, found: Observation | None) -> bool:
        if self.task.items[address].action is Action.DELETE:
            return isinstance(found, Absent)
        if isinstance(found, Present):
            return found.digest == self.task.changes[address].desired_digest
        return isinstance(found, Proposed) and not found.fields

    def _check(self, driver: Driver, addresses: Sequence[str], context: Context) -> dict[str, Outcome]:
        """What has ended before it began: done already, or stale. After an interruption nothing is stale."""
        if not self.begun and driver.info.staleness is not Staleness.DIGEST:
            return {}
        self._wait_until_settled(driver)
        looked = {address: self._place(address) for address in addresses}
        observed = driver.observe(list(looked.values()), context)
        ended: dict[str, Outcome] = {}
        for address in addresses:
            found = observed.get(looked[address].address)
            if isinstance(found, Unknown) and found.code == UNAVAILABLE:
                raise RetryLater(found.reason, code=UNAVAILABLE)
            if found is None or isinstance(found, Unknown):
                reason = found.reason if isinstance(found, Unknown) else "the driver gave no observation"
                ended[address] = Outcome(status=Status.FAILED, observation=found, error=f"cannot be observed: {reason}")
            elif self._done_already(address, found):
                ended[address] = Outcome(status=Status.DONE, observation=found)
            elif not self.begun and self._moved_on(address, found):
                error = "the world has changed since the plan was made; make a new plan"
                ended[address] = Outcome(status=Status.STALE, observation=found, error=error)
        return ended

    def _place(self, address: str) -> Target:
        """Where to look before a change: what has not begun to move is still at its old address."""
        work = self.task.work[address]
        moving = work.moved_from is not None and not self.begun
        return work.moved_from if moving and work.moved_from and not self._recreates(address) else work.target

    def _recreates(self, address: str) -> bool:
        return self.task.changes[address].action is Action.REPLACE and self.task.items[address].action is Action.CREATE

    def _done_already(self, address: str, found: Observation) -> bool:
        """A move is never done before it began, as something may be left at the old address; nor is a run that proposes nothing, for a
        preview does not foresee everything."""
        return self.task.work[address].moved_from is None and not isinstance(found, Proposed) and self._at_end(address, found)

    def _moved_on(self, address: str, found: Observation) -> bool:
        """Whether the world is not as the plan saw it. On what is made anew an engine proposes all that it does: that is its absence."""
        before = NOTHING if self._recreates(address) else self.task.changes[address].before_digest
        return digest_of(found) != before and not (before == NOTHING and isinstance(found, Proposed))

    def _wait_until_settled(self, driver: Driver) -> None:
        """After a lost reply an absent resource may still be on its way: give it the driver's settle time since the last call that was cut short."""
        if self.quiet_at is not None and driver.info.settle_s:
            left = self.quiet_at + driver.info.settle_s - self.now()
            if left > 0:
                raise _Later(left, "what was begun may still show up in the world")

    def _end(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write how changes ended, the new records and what was seen."""
        if not outcomes:
            return
        lasting = {address: outcome for address, outcome in outcomes.items() if not is_operation(address)}
        done = [address for address, outcome in lasting.items() if outcome.status is Status.DONE]
        removed = {address for address in done if self.task.items[address].action in REMOVALS}
        gone = [*removed, *(moved for address in done if (moved := self.task.changes[address].moved_from))]
        self.journal.write(
            Ended(
                lease=self.lease,
                statuses={address: (outcome.status, outcome.error) for address, outcome in outcomes.items()},
                gone=sorted(gone),
                records=[*(self._recorded(a, outcomes[a]) for a in done if a not in removed), *self._half_made(lasting)],
                specs=list(self.task.specs.values()),
                seen={a: found for a, outcome in lasting.items() if (found := outcome.observation) is not None and a not in gone},
                groups=frozenset(self.task.changes[address].group for address in done if self._voids(address)),
                lines=[_line(self.task.items[a].action, a, outcome) for a, outcome in sorted(outcomes.items())],
            )
        )
        self.left -= outcomes.keys()
        for address, outcome in sorted(outcomes.items()):
            self.told(self.task.changes[address], outcome.status, outcome.error)
            if self.watched is not None:
                self.watched.ended(address, self.task.items[address].action.value, outcome)

    def _voids(self, address: str) -> bool:
        """Whether what lives on the target went with it, so that it has to be looked at again."""
        change = self.task.changes[address]
        driver, kind, *_ = parts(change.address)
        kinds = {known.name: known for known in self.drivers[driver].info.kinds} if driver in self.drivers else {}
        return kind in kinds and voids(change, kinds[kind])

    def _half_made(self, outcomes: Mapping[str, Outcome]) -> Iterable[Recorded]:
        """What was begun and did not end well may exist all the same: it is recorded as ours, with nothing known of it."""
        for address, outcome in outcomes.items() if self.begun else ():
            made = self.task.items[address].action not in REMOVALS and self.task.changes[address].moved_from is None
            if (
                made
                and address not in self.task.recorded
                and outcome.status is not Status.DONE
                and not isinstance(outcome.observation, Absent)
            ):
                yield replace(self._recorded(address, outcome), digest=NOTHING)

    def _recorded(self, address: str, outcome: Outcome) -> Recorded:
        change, seen, before = self.task.changes[address], outcome.observation, self.task.recorded.get(address)
        known = seen.external_id if isinstance(seen, Present) else ""
        return Recorded(
            address=change.address,
            source=self.task.plan.source,
            digest=change.desired_digest,
            rules=change.rules,
            group=change.group,
            external_id=outcome.external_id or known or (before.external_id if before else ""),
            observed_digest=seen.digest if isinstance(seen, Present) else change.after_digest,
            commit=self.task.plan.commit,
        )

    def _failed(self, error: BaseException) -> None:
        status = Status.STALE if isinstance(error, Stale) else Status.FAILED
        text = str(error) if isinstance(error, OctofleetError) else f"{type(error).__name__}: {error}"
        observation = Unknown(code="apply-failed", reason=text, at=self.now())
        self._end({address: Outcome(status=status, error=text, observation=observation) for address in self.left})

    def _halted(self, why: str) -> None:
        """The run was paused or cancelled before the step began, its rollout stopped, or a gate closed."""
        if why != "cancelling":
            self._free("handed-over", 0.0, "")
        else:
            self._end({address: Outcome(status=Status.CANCELLED, error="the run was cancelled") for address in self.left})

    def _retry(self, error: RetryLater) -> None:
        """Come back later, with growing waits; or give up."""
        if self.step.attempts + 1 >= self.patience.attempts:
            self._failed(error)
            return
        wait_s = min(max(error.after_s, 2.0**self.step.attempts), MOST_S) * random.uniform(1.0, 1.5)  # noqa: S311 - not for secrets
        self._free("retry", wait_s, f"{error.message} (attempt {self.step.attempts + 1} of {self.patience.attempts})", error.message)

    def _free(self, result: str, after_s: float, note: str, error: str = "", judged: str | None = None) -> None:
        self.journal.write(Freed(lease=self.lease, result=result, after_s=after_s, note=note, error=error, judged=judged))
        if self.watched is not None:
            self.watched.freed(result, after_s, note)

    def _context(self) -> Context:
        made = self.context(lambda line: self.journal.say(self.lease, line), self._checkpoint)
        return replace(made, told=self.telling.tell, stopped=self.stopped, cancelled=lambda: made.cancelled() or self.lost())

    def _checkpoint(self, operation: str) -> None:
        self.operations.add(operation)
        self.journal.write(Waits(lease=self.lease, operations=tuple(sorted(self.operations))))


def _line(action: Action, address: str, outcome: Outcome) -> str:
    text = f"{action} {address}: {outcome.status}"
    return f"{text}: {outcome.error}" if outcome.error else text


def digest_of(found: Observation) -> str:
    """What a plan's `before_digest` is held against."""
    return NOTHING if isinstance(found, Absent) else getattr(found, "digest", "")
