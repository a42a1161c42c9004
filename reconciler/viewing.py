"""A plan that has just been made, with the place that set each value, the difference of each file, made when asked for, and whose word it waits for."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from reconciler.approving import Waits, authors_of, waits
from reconciler.desired.explain import Setting, settings
from reconciler.permitting import granted
from reconciler.planning import Planned
from reconciler.report.view import View
from reconciler.source.repository import Repository
from reconciler.types.change import Change, FieldChange
from reconciler.types.origin import Origin
from reconciler.types.plan import Plan
from reconciler.types.resource import parts
from reconciler.wiring import Installation


@contextmanager
def viewing(installation: Installation, repository: Repository, planned: Planned, *, drift: bool = False) -> Iterator[View]:
    """The view of a plan that has just been made; `drift`: of what has drifted alone."""
    desired = planned.desired

    def where(change: Change, item: FieldChange) -> Origin | None:
        pointer = value_pointer(item.path)
        if pointer is None or change.group not in desired.hosts or change.group in desired.blocked:
            return None
        found = settings(desired, change.group, pointer)
        return _setter(found, item).origin if found else None

    with installation.contexts(repository) as context:

        def diff(change: Change) -> str:
            return installation.drivers[parts(change.address)[0]].diff(planned.target(change), context())

        def grants(change: Change) -> list[str]:
            target = planned.target(change)
            return granted(change.address, target.recorded_spec, target.desired.spec if target.desired else None)

        found = _waits(installation, repository, planned.plan)
        yield View(
            plan=planned.plan,
            where=where,
            diff=diff,
            now=time.time(),
            grants=grants,
            approvals=found.missing,
            next=_next(planned.plan, found),
            drift=drift,
        )


def _waits(installation: Installation, repository: Repository, plan: Plan) -> Waits:
    if not plan.applyable:
        return Waits()
    authors = authors_of(installation, plan, repository)
    with installation.store.read() as connection:
        return waits(connection, plan, authors, connection.now())


def _next(plan: Plan, found: Waits) -> str:
    if not plan.applyable:
        return ""
    if found.missing:
        return f"Next: {found.next(plan.id)}"
    return f"Apply exactly this: octofleet apply {plan.id[:12]}"


def _setter(found: Sequence[Setting], item: FieldChange) -> Setting:
    """The layer that made the difference: the last one, or in a joined list the one that brings what is new."""
    before, after = item.before, item.after
    if isinstance(before, list) and isinstance(after, list):
        new = [value for value in after if value not in before]
        bringing = [setting for setting in found if isinstance(setting.value, list) and any(value in setting.value for value in new)]
        if bringing:
            return bringing[0]
    return found[-1]


def value_pointer(path: str) -> str | None:
    """Where in a host's values a field of a specification comes from."""
    if path.startswith("/values/"):
        return path.removeprefix("/values")
    return path if path.startswith("/vars/") else None
