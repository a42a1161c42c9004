"""What the audit trail and the journal together tell of a run: who applied and approved exactly what. Functions on a connection."""

from dataclasses import dataclass

from reconciler.errors import OctofleetError, Refused
from reconciler.store.audit import entries
from reconciler.store.engine import Connection
from reconciler.store.plans import load_plan
from reconciler.store.runs import ended_items
from reconciler.types.audit import Row

APPLIES = frozenset({"apply", "heal"})
MOST_OF_A_RUN = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChange:
    """A change of a run: its digest, which the plan's id covers, how it ended (empty until then), and whose approvals of this run saw it."""

    address: str
    action: str
    digest: str
    status: str
    approved_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run as the trail tells of it: `rows` in their order, and the changes of the plan, None if they were pruned. `wrong` says what does not fit."""

    run: str
    plan: str
    rows: tuple[Row, ...]
    changes: tuple[ShownChange, ...] | None
    wrong: str


def audited_run(connection: Connection, prefix: str) -> Shown:
    """Who applied and approved exactly what in the run whose id begins so. Raises `Refused` unless it is one."""
    named = f"SELECT DISTINCT run FROM audit WHERE run <> '' AND substr(run, 1, {len(prefix)}) = ? ORDER BY run LIMIT 2"  # noqa: S608 - a number
    found = [run for (run,) in connection.rows(named, (prefix,))]
    if len(found) != 1:
        text = f"{prefix} is the beginning of more than one run" if found else f"the audit trail has nothing about a run {prefix}"
        raise Refused(text, hint="octofleet audit lists what there is; octofleet runs lists runs", code="no-run")
    run = found[0]
    rows = entries(connection, run=run, limit=MOST_OF_A_RUN)
    plan = next((row.plan for row in rows if row.action in APPLIES), "")
    rows += [row for row in entries(connection, plan=plan, limit=MOST_OF_A_RUN) if not row.run] if plan else []
    changes, wrong = _changes(connection, run, plan)
    return Shown(run=run, plan=plan, rows=tuple(sorted(rows, key=lambda row: row.seq)), changes=changes, wrong=wrong)


def _changes(connection: Connection, run: str, plan: str) -> tuple[tuple[ShownChange, ...] | None, str]:
    """The changes of a run, and what does not fit together: their digests give the plan's id, and that is the one in the trail."""
    row = connection.scalar("SELECT plan FROM run WHERE id = ?", (run,))
    if row is None:
        return None, ""
    try:
        found = load_plan(connection, row)
    except OctofleetError as error:
        return None, error.message
    wrong = "" if found.id == plan else f"the run has the plan {found.id[:12]}, and the audit trail says {plan[:12] or 'nothing of one'}"
    query = (
        "SELECT change, identity FROM approved JOIN approval ON approval.id = approved.approval "
        "WHERE approval.run = ? AND approval.yes ORDER BY change, identity"
    )
    approvals: dict[str, list[str]] = {}
    for change, identity in connection.rows(query, (run,)):
        approvals.setdefault(change, []).append(identity)
    statuses = ended_items(connection, run)
    return tuple(
        ShownChange(
            address=change.address,
            action=change.action.value,
            digest=change.digest,
            status=statuses[change.address].value if change.address in statuses else "",
            approved_by=tuple(approvals.get(change.digest, ())),
        )
        for change in found.changes
    ), wrong
