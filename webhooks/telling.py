"""From a plan of a pull request to what is told of it: what it needs, who holds what, what it will wait for, and the commit status."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.approving import authors_of, waits
from reconciler.gate.closing import is_gated, subjects_of
from reconciler.identity.access import Action
from reconciler.plan.guard import GuardRules, shares
from reconciler.planning import Planned
from reconciler.report.text import brief
from reconciler.report.view import View, counted
from reconciler.settings import Followed, Settings
from reconciler.source.merging import Merge
from reconciler.source.signatures import Signature, Trust
from reconciler.store.engine import Connection
from reconciler.store.gates import load_gates
from reconciler.store.pull_locks import holders, take_locks
from reconciler.store.pulls import Command, PullRow, commands_of, has_pull
from reconciler.store.records import Counts, fleet_in_force, labels_of
from reconciler.types.change import Change
from reconciler.types.plan import Plan
from reconciler.types.problem import Problem, Severity
from reconciler.wiring import Installation, where
from webhooks.forge import Later, Pull, Status, Verdict
from webhooks.said import Ahead, Answer, Requirement, Said, Shows, Untrusted
from webhooks.speaking import brought

CONTEXT = "octofleet"
ANSWERS = 5
MOST_TEXT = 140


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A pull request that was looked at: the branch's tip, what the merge came to, signatures where they are asked for, whether the plan could run what it
    wanted, whether it holds what it changes, and the plan, or the problems or the `failure` because of which there is none. `author`: the identity of who
    opened it."""

    pull: Pull
    author: str
    rules: Followed
    base: str
    merge: Merge
    signatures: Sequence[Signature] | None
    trusted: bool
    holds: bool
    planned: Planned | None = None
    problems: Sequence[Problem] = ()
    failure: str = ""


def check_lease(connection: Connection, row: PullRow) -> None:
    """Raises `Later` if somebody else works on a pull request now, who says what stands there."""
    if not has_pull(connection, row):
        raise Later("somebody else works on it now")


def told(installation: Installation, row: PullRow, looked: Looked, view: View | None) -> Said:
    """Everything that the comment says now. Takes the locks of what the pull request brings, if it may hold any."""
    pull, planned = looked.pull, looked.planned
    if planned is None or view is None:
        with installation.store.write(alone=False) as connection:
            check_lease(connection, row)
            if not looked.holds:
                take_locks(connection, row.key, "", ())
            answers = answers_of(commands_of(connection, row.key, done=True, most=ANSWERS))
        return Said(
            pull=pull,
            base=looked.base,
            conflicts=looked.merge.conflicts,
            problems=looked.problems,
            failure=looked.failure,
            signatures=looked.signatures,
            answers=answers,
        )
    plan = planned.plan
    authors = authors_of(installation, plan, where(looked.rules.location))
    authors = authors if authors is None else authors | {looked.author}
    addresses = [change.address for change in brought(plan.changes)]
    with installation.store.write(alone=False) as connection:
        check_lease(connection, row)
        take_locks(connection, row.key, plan.source, addresses if looked.holds else ())
    with installation.store.read() as connection:
        locks = [held for held in holders(connection, plan.source, addresses) if held.by != row.key]
        fleet, now = fleet_in_force(connection, plan.source), connection.now()
        missing = waits(connection, plan, authors, now).missing
        return Said(
            pull=pull,
            base=looked.base,
            merged=plan.commit,
            view=view,
            shows=Shows.of(fleet),
            signatures=looked.signatures,
            shares=shares(GuardRules.of(fleet), plan.changes, Counts(connection, plan.source), installation.kinds),
            locks=locks,
            requirements=[*_requirements(looked, plan), *map(Requirement.of, missing)],
            ahead=list(_ahead(connection, plan, now)),
            answers=answers_of(commands_of(connection, row.key, done=True, most=ANSWERS)),
            commands=_commands(looked, plan, asks=bool(missing)),
            problems=plan.problems,
            untrusted=None if looked.trusted else Untrusted(left_out=("engines", "templates"), command=_plan_command(looked)),
            full=page_of(installation.settings, looked.rules.forge, plan.id),
            full_file=f"octofleet plan --repo {looked.rules.location} --rev {pull.head[:12]} --out plan.md",
        )


def page_of(settings: Settings, forge: str, plan: str) -> str:
    """The URL of a plan's page; empty where the forge's settings do not say where people reach this server."""
    public = next((one.public_url for one in settings.forges if one.name == forge), "")
    return f"{public.rstrip('/')}/plans/{plan}" if public else ""


def answers_of(commands: Sequence[Command]) -> list[Answer]:
    """What came of commands, the oldest first."""
    return [
        Answer(author=item.author, command=item.body.strip().partition("\n")[0], text=item.answer, at=item.done_at or item.at)
        for item in reversed(commands)
    ]


def _requirements(looked: Looked, plan: Plan) -> Iterator[Requirement]:
    """What the settings and the forge ask for, met or not."""
    if looked.rules.signed:
        found = looked.signatures or ()
        wrong = [item for item in found if item.trust is not Trust.GOOD]
        text = f"{counted(len(wrong), 'commit')} not signed by a known key" if wrong else "every commit is signed by a known key"
        yield Requirement(name="signed commits", met=bool(found) and not wrong, message=text, who="the author of the commits", firm=True)
    if looked.rules.up_to_date:
        text = "the branch has commits that this pull request has not" if looked.merge.behind else "it holds all of its branch"
        yield Requirement(name="up to date", met=not looked.merge.behind, message=text, who="the author of the pull request", firm=True)
    errors = [problem for problem in plan.problems if problem.severity is Severity.ERROR]
    if errors:
        text = f"{counted(len(errors), 'problem')} in the repository"
        yield Requirement(name="valid", met=False, message=text, who="the author", firm=True)


def _ahead(connection: Connection, plan: Plan, now: float) -> Iterator[Ahead]:
    """What changes of the plan would wait for if they began now, by gate."""
    gates = load_gates(connection)
    if gates.empty:
        return
    changes = [change for change in plan.changes if is_gated(change)]
    labels = labels_of(connection, plan.source, {change.group for change in changes}) if gates.by_labels(plan.source, "") else {}
    found: dict[str, list[tuple[str, float]]] = {}
    for change in changes:
        known = (labels[change.group],) if change.group in labels else ()
        shut = (gates.closed(plan.source, subject, now) for subject in subjects_of(change, known))
        if (closed := next(filter(None, shut), None)) is not None:
            found.setdefault(closed.by, []).append((closed.reason, closed.until))
    for name, met in sorted(found.items()):
        yield Ahead(name=name, number=len(met), reason=met[0][0], opens_at=min(until for _, until in met))


def _plan_command(looked: Looked) -> str:
    """How it is planned again; whoever trusts a head names all of it."""
    return "octofleet plan" if looked.trusted else f"octofleet plan {looked.pull.head}"


def _commands(looked: Looked, plan: Plan, *, asks: bool) -> list[tuple[str, str]]:
    """What can be written now; `asks`: somebody has to answer for the plan."""
    rows = [(_plan_command(looked), "plan again" if looked.trusted else "let this head's plan run engines and templates")]
    if asks:
        rows.append((f"octofleet {Action.APPROVE} {plan.id[:12]}", "answer for these changes"))
    if plan.changes:
        rows.append((f"octofleet {Action.REJECT} {plan.id[:12]} REASON", "have nobody apply these changes"))
        rows.append(("octofleet lock REASON", "keep other pull requests from these resources"))
    rows.append(("octofleet help", "all commands"))
    return rows


def status_of(said: Said) -> Status:
    """The commit status: a failure for what would not be applied, pending for what waits for people, a success for what merging applies. It leads to the
    page of the plan, as the comment does."""
    verdict, text = _verdict(said)
    return Status(context=CONTEXT, verdict=verdict, text=brief(text, MOST_TEXT), url=said.full)


def _verdict(said: Said) -> tuple[Verdict, str]:
    if said.failure:
        return Verdict.ERROR, said.failure
    if said.pending:
        return Verdict.PENDING, "being planned"
    if said.conflicts:
        return Verdict.FAILURE, f"it cannot be merged: {counted(len(said.conflicts), 'file')} in conflict"
    if said.view is None:
        return Verdict.FAILURE, f"{counted(len(said.problems), 'problem')} in the repository: no plan could be made"
    plan = said.view.plan
    refusing = [verdict.guard for verdict in plan.guards if verdict.refuses]
    if refusing:
        return Verdict.FAILURE, f"refused by the guard {refusing[0]}"
    if said.locks:
        return Verdict.FAILURE, f"{counted(len(said.locks), 'resource')} held by {said.locks[0].by.project}#{said.locks[0].by.number}"
    firm = [item for item in said.requirements if not item.met and item.firm]
    if firm:
        return Verdict.FAILURE, firm[0].message
    if said.untrusted is not None:
        return Verdict.PENDING, f"a fork: somebody who may has to say `{said.untrusted.command}`"
    unmet = [item for item in said.requirements if not item.met]
    if unmet:
        return Verdict.PENDING, f"{unmet[0].name}: {unmet[0].message}"
    return Verdict.SUCCESS, _counts(plan)


def _counts(plan: Plan) -> str:
    if not plan.changes:
        return "nothing to do" + (f"; {counted(len(plan.deferred), 'resource')} put off" if plan.deferred else "")
    own = brought(plan.changes)
    rest = f", {len(plan.changes) - len(own):,} more that were there before" if len(own) < len(plan.changes) else ""
    return f"{counted(len(own), 'change')} on {counted(len(_hosts(own)), 'host')}{rest}"


def _hosts(changes: Iterable[Change]) -> set[str]:
    return {change.group for change in changes if change.group.startswith("host/")}
