"""From a stored plan to a run: checks that it may be applied, by whom and after whose approval, and journals it with all its steps.

One transaction: what is checked holds when the run begins.
"""

import secrets as random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from reconciler.apply.steps import laid_out
from reconciler.approving import authors_of, check_approved
from reconciler.errors import Refused
from reconciler.events import happened, held
from reconciler.gate.approvals import used
from reconciler.gating import tenants_of, word
from reconciler.identity.local import whoami
from reconciler.permitting import glass_broken
from reconciler.store.approvals import serve, standing
from reconciler.store.audit import record, run_ended
from reconciler.store.engine import Connection
from reconciler.store.gates import keep_windows
from reconciler.store.phases import save_phases
from reconciler.store.plans import find_plan, load_bare, plan_head
from reconciler.store.records import applied_commit, load_records, records_of, save_source
from reconciler.store.runs import JournalRun, create_run, open_runs
from reconciler.types.audit import Entry
from reconciler.types.change import Cause
from reconciler.types.plan import Plan
from reconciler.types.resource import basis, is_operation
from reconciler.wiring import Installation

LEAST_DIGITS = 4
Along = Callable[[Connection, str], None]
"""Takes the id of a run that is about to be journaled. May raise `Refused`."""


def check_digits(prefix: str, more: str = "") -> None:
    """Raises `Refused` for less of the id of a plan than is looked for; `more`: what else to do than to give more of it."""
    if len(prefix) < LEAST_DIGITS:
        text = f"{prefix!r} is too short: {LEAST_DIGITS} characters at least of a plan's id are needed"
        raise Refused(text, hint=f"give more of the id{more}", code="short-plan")


def find(installation: Installation, prefix: str) -> int:
    """The newest plan whose id begins so. Raises `Refused` if there is none or several."""
    check_digits(prefix)
    with installation.store.read() as connection:
        found = find_plan(connection, prefix)
    if not found:
        raise Refused(f"there is no plan {prefix}", hint="octofleet plan makes one and prints its id", code="no-plan")
    if len({plan_id for _, plan_id in found}) > 1:
        raise Refused(f"{prefix} is the beginning of more than one plan id", hint="give more digits", code="ambiguous-plan")
    return found[0][0]


def check_applyable(plan: Plan, now: float) -> None:
    """Raises `Refused` for a plan that a guard refuses or that has expired."""
    refusals = [verdict for verdict in plan.guards if verdict.refuses]
    if refusals:
        raise Refused(
            f"plan {plan.id[:12]} is refused by the guard {refusals[0].guard}: {refusals[0].message}", hint=refusals[0].hint, code="guard"
        )
    if now > plan.expires_at:
        raise Refused(f"plan {plan.id[:12]} has expired", hint="make a new one with octofleet plan", code="expired")


def check_begin(installation: Installation, row: int, plan: Plan, *, approving: bool = False) -> None:
    """Raises `Refused` as `begin` would, as far as that can be told before. `approving`: who runs this process says yes then."""
    authors = _authors(installation, row, plan)
    with installation.store.read() as connection:
        now = connection.now()
        check_applyable(plan, now)
        check_approved(connection, plan, authors, now, approving=approving)


def _authors(installation: Installation, row: int, plan: Plan) -> frozenset[str] | None:
    with installation.store.read() as connection:
        location = plan_head(connection, row).location
    return authors_of(installation, plan, location)


def check_basis(connection: Connection, plan: Plan) -> None:
    """Raises `Refused` if a record is no longer the one that its change was decided from."""
    places = {change.moved_from or change.address: change for change in plan.changes}
    moved = [change.address for change in plan.changes if change.moved_from]
    records = load_records(connection, [*places, *moved])
    for where, change in places.items():
        taken = change.moved_from is not None and change.address in records
        if basis(records.get(where)) != change.basis or taken:
            raise Refused(
                f"plan {plan.id[:12]} is superseded: since it was made, {change.address} was applied or forgotten",
                hint="make a new one with octofleet plan",
                code="superseded",
            )


def begin(
    installation: Installation,
    row: int,
    *,
    approved: bool,
    glass: str = "",
    reason: str = "",
    identity: str = "",
    author: str = "",
    along: Along = lambda connection, run: None,
) -> str:
    """Journal a run of a stored plan, for workers to take up; gives its id, or that of the run of this plan that is open. `approved` by who applies it;
    `glass`: why it goes on although others have yet to approve it, which is recorded. `identity`: who applies it, by default who runs this process; `author`:
    of the commit, as it says; `along`: what is written with a new run, in its transaction, or refuses it. Raises `Refused`."""
    with installation.store.read() as connection:
        plan = load_bare(connection, row)
    authors = _authors(installation, row, plan)
    steps, phases = laid_out(plan.changes, {name: driver.info for name, driver in installation.drivers.items()}, plan.phases)
    with held(), installation.store.write() as connection:
        known = next((run for run in open_runs(connection) if run.plan == row), None)
        if known is not None:
            return known.id
        now = connection.now()
        check_applyable(plan, now)
        if approved:
            digests = (change.digest for change in plan.changes)
            word(connection, plan.source, plan.id, digests, reason or "applied with --approve", identity=identity)
        denied = _denied(connection, plan, authors, now, glass)
        run = JournalRun(
            id=time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + random.token_hex(3),
            plan=row,
            source=plan.source,
            state="running",
            started_at=now,
            ended_at=None,
            reason=reason,
        )
        along(connection, run.id)
        create_run(connection, run, steps, [*(c.moved_from for c in plan.changes if c.moved_from), *_beside(connection, plan)])
        save_phases(connection, run.id, phases)
        keep_windows(connection, run.id, plan.source, plan.changes)
        serve(connection, used(plan.changes, standing(connection, now)), run.id)
        check_basis(connection, plan)
        if applied_commit(connection, plan.source) is None:
            save_source(connection, plan.source, plan_head(connection, row).location, plan.commit, now)
        if denied:
            glass_broken(connection, identity or whoami(), plan.source, denied, glass, plan=plan, run=run.id)
        record(connection, _applies(plan, run, identity or whoami(), approved=approved, author=author))
        if not steps:
            run_ended(connection, run.id)
    happened("run-begun", run=run.id, source=run.source, plan=plan.id[:12], steps=len(steps), reason=reason)
    return run.id


def _beside(connection: Connection, plan: Plan) -> Iterator[str]:
    """What drivers have on record of hosts that an operation is done to: nobody else changes these meanwhile."""
    groups = sorted({change.group for change in plan.changes if is_operation(change.address)})
    for records in records_of(connection, plan.source, groups).values():
        yield from (where for where, *_ in records if not where.startswith("fleet/"))


def _denied(connection: Connection, plan: Plan, authors: Collection[str] | None, now: float, glass: str) -> str:
    """What of the approvals a broken glass goes past; nothing if all are there. Raises `Refused` if some are not, and no reason breaks the glass;
    of a plan that was applied, that it was: the approvals of it have served their run."""
    try:
        check_approved(connection, plan, authors, now)
    except Refused as refused:
        check_basis(connection, plan)
        if not glass.strip():
            raise
        return refused.message
    return ""


def _applies(plan: Plan, run: JournalRun, identity: str, *, approved: bool, author: str) -> Entry:
    """That a run of a plan was begun. Of what changes only numbers: the plan's id is a hash over the digests of its changes."""
    causes = Counter(cause.value for change in plan.changes for cause in change.causes)
    details = {
        "approved": approved,
        "base": plan.base,
        "scope": plan.scope,
        "changes": len(plan.changes),
        "actions": dict(Counter(change.action.value for change in plan.changes)),
        "risks": dict(Counter(risk.value for change in plan.changes for risk in change.risk)),
        "causes": dict(causes),
    }
    return Entry(
        identity=identity,
        action="heal" if causes.keys() == {Cause.DRIFT} else "apply",
        tenants=tenants_of(plan),
        source=plan.source,
        plan=plan.id,
        commit=plan.commit,
        run=run.id,
        reason=run.reason,
        details=details | ({"author": author} if author else {}),
    )


def note_applied(installation: Installation, row: int, plan: Plan) -> None:
    """A whole plan without changes counts as applied: the fleet is as its commit wants it."""
    if plan.complete and not plan.changes and not plan.scope:
        with installation.store.write() as connection:
            save_source(connection, plan.source, plan_head(connection, row).location, plan.commit, time.time())
