"""What became of a pull request that was merged: how what it brought is applied, and what it still waits for, as whose word and what can be said."""

from collections.abc import Sequence

from reconciler.approving import authors_of, waits
from reconciler.history import find_commit
from reconciler.identity.access import Action
from reconciler.settings import Followed
from reconciler.source.repository import Repository
from reconciler.store.engine import Connection
from reconciler.store.followed import APPROVAL, REPORTED, ask, followed, run_about
from reconciler.store.plans import load_plan, newest_plan
from reconciler.store.runs import JournalRun, load_run, statuses
from reconciler.wiring import Installation, where
from webhooks.forge import Pull
from webhooks.said import Applied, Outcome, Requirement

RUNS_MOST = 20
"""Among so many runs the one is looked for that applied what was merged."""


def waits_for(
    installation: Installation, rules: Followed, shown: int | None, repository: Repository
) -> tuple[Sequence[Requirement], Sequence[tuple[str, str]]]:
    """What the plan of its branch needs, and the commands that help, each with what it does. `shown`: the row of the plan that its comment showed, which is
    all that can be answered for there. Raises `OctofleetError` if the history cannot be read."""
    with installation.store.read() as connection:
        stands = next((found for found in followed(connection) if found.location == where(rules.location)), None)
        row = newest_plan(connection, stands.about, stands.location) if stands and stands.code in (APPROVAL, REPORTED) else None
        if stands is None or row is None:
            return (), ()
        plan = load_plan(connection, row)
        seen = shown is not None and connection.scalar('SELECT id FROM plan WHERE "row" = ?', (shown,)) == plan.id
    authors = authors_of(installation, plan, repository)
    with installation.store.read() as connection:
        needs = [Requirement.of(item) for item in waits(connection, plan, authors, connection.now()).missing]
    says = [(f"octofleet {Action.APPROVE} {plan.id[:12]}", "answer for these changes")] if needs and seen else []
    if stands.code == REPORTED and rules.apply_on == "comment":
        says.append((f"octofleet {Action.APPLY}", "apply it"))
    return needs, says


def outcome_of(connection: Connection, location: str, pull: Pull, repository: Repository) -> Outcome:
    """How its branch stands since: not looked at, what it waits for, or a run that goes on or has ended."""
    stands = next((found for found in followed(connection) if found.location == location), None)
    tip, merged = repository.tip(pull.base_branch).id, pull.merged_as or pull.head
    if stands is None or not (stands.failures or stands.head == tip or _holds(repository, stands.head, merged)):
        ask(connection, location)
        return Outcome(applied=Applied.GOES_ON, text="the branch is looked at")
    if not _holds(repository, tip, merged):
        return Outcome(applied=Applied.WAITS, text=f"the branch has not got {merged[:10]}, which the forge says it was merged as")
    note = stands.note.partition(": ")[0] if stands.code == APPROVAL else stands.note  # the rest may name people
    if not _holds(repository, stands.planned, merged):
        waits = bool(stands.failures or stands.next)  # else it is being planned
        return Outcome(applied=Applied.WAITS if waits else Applied.GOES_ON, text=note, next=stands.next)
    run = load_run(connection, run_about(connection, stands)) or (
        None if stands.next else _applied(connection, location, repository, merged)
    )
    if run is None:
        return Outcome(applied=Applied.WAITS if stands.next else Applied.DONE, text=note, next=stands.next)
    counts = ", ".join(f"{number:,} {status}" for status, number in sorted(statuses(connection, run.id).items()))
    if run.ended_at is None:
        return Outcome(applied=Applied.GOES_ON, text=f"run {run.id} goes on: {counts}")
    return Outcome(applied=Applied.DONE if run.state == "done" else Applied.FAILED, text=f"run {run.id} {run.state}: {counts}")


def _applied(connection: Connection, location: str, repository: Repository, merged: str) -> JournalRun | None:
    """The run that applied what was merged, where the branch was looked at again since it ended: the first of a commit that holds it, of the newest."""
    query = 'SELECT run.id, plan."commit" FROM run JOIN plan ON plan."row" = run.plan WHERE plan.location = ? ORDER BY run.started_at DESC LIMIT ?'
    rows = list(connection.rows(query, (location, RUNS_MOST)))
    found = [run for run, commit in rows if _holds(repository, commit, merged)]
    return load_run(connection, found[-1]) if found else None


def _holds(repository: Repository, commit: str, other: str) -> bool:
    """Whether a commit holds another one, as far as the mirror has both."""
    return bool(other) and all(find_commit(repository, one) for one in (other, commit)) and repository.is_ancestor(other, commit)
