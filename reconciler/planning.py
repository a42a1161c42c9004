"""From a commit to a stored plan: compiles it (`tracking`), looks into what may differ (`gathering`), observes it, decides (`deciding`), and stores.

The edge around the pure core.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler import wal
from reconciler.deciding import Deciding
from reconciler.desired.desired import Desired
from reconciler.drivers.driver import Target
from reconciler.errors import InputError
from reconciler.gathering import Gathered, Gathering
from reconciler.history import check_own, find_commit, verdicts
from reconciler.index.file import Damaged, Index, cannot_use, is_of_the_disk
from reconciler.observe import observe
from reconciler.source.repository import Commit, Repository
from reconciler.stages import count, stage
from reconciler.store.hosts import mark_converged
from reconciler.store.observations import save_observations
from reconciler.store.plans import same_plan, save_plan
from reconciler.store.records import save_specs
from reconciler.tracking import Told, Tracked, Tracker
from reconciler.types.change import Change
from reconciler.types.observation import Observation
from reconciler.types.plan import Plan
from reconciler.types.problem import Problem
from reconciler.types.request import Request
from reconciler.wiring import Installation, place

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A stored plan: its row, what it was made from, and where its values come from."""

    plan: Plan
    row: int
    desired: Desired
    commit: Commit
    targets: Mapping[str, Target] = field(default_factory=dict)
    make: Callable[[Change], Target] = lambda change: Target(address=change.address)

    def target(self, change: Change) -> Target:
        """What a change is about."""
        return self.targets.get(change.address) or self.make(change)


def compiled(installation: Installation, repository: Repository, commit: Commit, told: Told = lambda stage, done, total: None) -> Desired:
    """What a commit wants."""
    return tracked_of(installation, repository, commit, told).desired


def tracked_of(installation: Installation, repository: Repository, commit: Commit, told: Told = lambda stage, done, total: None) -> Tracked:
    """What a commit wants, with its tree."""
    return _with_index(installation, repository, lambda index: _tracker(installation, repository, index, told).track(commit))


def _tracker(installation: Installation, repository: Repository, index: Index, told: Told) -> Tracker:
    return Tracker(installation=installation, repository=repository, index=index, told=told)


def _with_index(installation: Installation, repository: Repository, work: Callable[[Index], T]) -> T:
    """Do some work with the repository's index; once more with a new one when it turns out to be damaged."""
    index = installation.index(repository)
    try:
        return work(index)
    except sqlite3.OperationalError as error:
        if wal.is_busy(error):
            return work(Index(None, installation.checked_by))  # another process makes it, and takes long
        if is_of_the_disk(error):
            raise cannot_use(index, error) from error
        why = str(error)
    except (Damaged, sqlite3.DatabaseError, *_OF_A_DAMAGED_ROW) as error:
        why = f"{type(error).__name__}: {error}"
    index.reset(why)
    index.fresh()
    return work(index)


_OF_A_DAMAGED_ROW = (AttributeError, LookupError, TypeError, ValueError)
"""What a value of the index that is not of its type may lead to. A mistake of ours that raises one of these raises it again without the index."""


def make_plan(
    installation: Installation,
    repository: Repository,
    request: Request,
    told: Told = lambda stage, done, total: None,
    commit: Commit | None = None,
) -> Planned:
    """Plan, store, and give the plan. Raises `InputError` without a Fleet, `Refused` for rewritten history or dependencies in a circle.

    `commit` stands for one that no revision names: the working copy.
    """
    commit = commit or repository.commit(request.rev)
    return _with_index(installation, repository, lambda index: _made(installation, repository, index, request, told, commit))


def _made(installation: Installation, repository: Repository, index: Index, request: Request, told: Told, commit: Commit) -> Planned:
    tracker = _tracker(installation, repository, index, told)
    narrowed = request.scope or request.refresh or request.causes is not None
    base = repository.commit(request.base) if request.base is not None else None
    tracked = tracker.track(commit, bulk=not narrowed, base=base)
    desired, applied = tracked.desired, tracked.applied
    if desired.fleet is None:
        raise InputError(desired.problems)
    source = desired.fleet.name
    if request.own and base is not None:
        check_own(repository, place(repository), source, applied, base)
    warnings = _warnings(installation, repository, desired, base, commit) if base is not None and request.look else ()
    if base is None and applied is not None:
        base = find_commit(repository, applied[0])
    decision = Deciding(
        installation=installation,
        desired=desired,
        source=source,
        commit=commit,
        base=base,
        request=request,
        verdicts=verdicts(repository, source, applied, commit, request),
        warnings=warnings,
    )
    looking = Gathering(installation=installation, tracker=tracker, tracked=tracked, source=source, base=base, request=request)
    found = looking.gathered()
    with stage("observe"):
        seen = _observed(installation, repository, commit.id, found.asked, told)
    with stage("decide"):
        decided = [change for change in tracked.decided if change.group not in found.groups]
        plan = decision.plan(found, found.observations(seen), decided)
    with stage("store"):
        row = _stored(installation, repository, plan, found, seen, again=request.unattended)
    targets = {change.address: found.targets[change.address] for change in plan.changes if change.address in found.targets}

    def make(change: Change) -> Target:
        """The target of a change that was decided in bulk."""
        wanted = (resource for resource in looking.resources({change.group}) if resource.address == change.address)
        return Target(address=change.address, desired=next(wanted, None))

    return Planned(plan=plan, row=row, desired=desired, commit=commit, targets=targets, make=make)


def _warnings(installation: Installation, repository: Repository, desired: Desired, base: Commit, commit: Commit) -> Sequence[Problem]:
    """What reviewers of the commit should see besides its changes."""
    from reconciler.linting import lint_problems  # noqa: PLC0415 - only where a plan is told against a base

    with stage("lint"):
        return lint_problems(installation, repository, desired, base, commit)


def _observed(
    installation: Installation, repository: Repository, commit: str, targets: Sequence[Target], told: Told
) -> dict[str, Observation]:
    done = 0

    def more(number: int) -> None:
        nonlocal done
        done += number
        told("observe", done, len(targets))

    if not targets:
        return {}
    count("resources_observed", len(targets))
    with installation.contexts(repository, commit=commit) as context:
        return observe(installation.drivers, targets, context, more)


def _stored(
    installation: Installation, repository: Repository, plan: Plan, found: Gathered, seen: Mapping[str, Observation], *, again: bool
) -> int:
    """The plan's row; with `again` that of the same plan, if it was made before."""
    facts = found.facts
    specs = [facts.resources[change.address].spec for change in plan.changes if change.address in facts.resources]
    with installation.store.write() as connection:
        settled = {a: facts.settled(a, item) for a, item in seen.items()}
        save_observations(connection, seen, settled)
        mark_converged(connection, plan.source, [a for a, is_so in settled.items() if is_so and not facts.differs(a)])
        save_specs(connection, specs)
        row = same_plan(connection, plan) if again else None
        return row or save_plan(connection, plan, place(repository))
