"""What a server answered, in lines for people: plans, runs and how the fleets stand; and a run's log as it grows."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from reconciler.cli.options import show
from reconciler.errors import OctofleetError
from reconciler.reading.next_step import of_server
from reconciler.reading.plan_page import PlanPage
from reconciler.reading.run_page import RunPage
from reconciler.reading.runs import RunDocument
from reconciler.reading.status import Status
from reconciler.report.parts import LinePart
from reconciler.report.text import Line, printable
from reconciler.report.view import counted

LOSSES, FOLDS = 20, 50
AGAIN_S, MOST_TRIES = 1.0, 30
"""How often a run is asked about, and how often in a row the server may be away, or busy, meanwhile."""
AWAY = frozenset({"server-away", "busy", "slow", "store-unavailable"})


def show_line(text: str, style: str = "plain") -> None:
    """One line; whatever is in it cannot move the cursor."""
    show([Line(printable(text), style)])


def show_lines(lines: Iterable[LinePart]) -> None:
    """Lines of a log."""
    for line in lines:
        show_line(f"{stamp(line.at)}  step {line.step:<4} {line.text}")


def stamp(at: float) -> str:
    """Local time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def show_runs(runs: Sequence[RunDocument]) -> None:
    """A list of runs."""
    for run in runs:
        took = f"{run.ended_at - run.started_at:.1f} s" if run.ended_at else "-"
        show_line(f"{run.run}  {run.state:<10}  {stamp(run.started_at)}  {took:>8}  {run.source}  {run.reason}".rstrip())
    if not runs:
        show_line("no runs yet, of which you may see anything")


def show_run(run: RunDocument) -> None:
    """How a run stands."""
    counts = ", ".join(f"{number:,} {status}" for status, number in run.changes.items())
    show_line(f"run {run.run}: {run.state}" + (f"; {counts}" if counts else ""))


def follow(ask: Callable[[], RunPage], lines: Callable[[int], Iterable[LinePart]], *, show: bool) -> RunDocument:
    """Ask how a run stands and for the lines after the last one until it has ended. Raises what asking raises."""
    after = failed = 0
    while True:
        try:
            found = ask()
            for line in lines(after):
                after = line.id
                if show:
                    show_lines([line])
            failed = 0
            if found.ended_at is not None:
                return found
        except OctofleetError as error:
            failed += 1
            if error.code not in AWAY or failed == MOST_TRIES:
                raise
        time.sleep(AGAIN_S)


def show_plan(found: PlanPage, url: str) -> None:
    """A plan: what is lost first, then what changes, the same for many said once."""
    for line in _plan(found, url):
        show_line(line.text, line.style)


def _plan(found: PlanPage, url: str) -> Iterator[Line]:
    yield Line(f"Plan {found.plan[:12]} of {found.source}, commit {found.commit[:10]}: {found.verdict}", "title")
    for problem in found.problems:
        yield Line(f"  {problem.place}: {problem.message}", "bad")
    for guard in found.guards:
        yield Line(f"  {'refused by ' if guard.refuses else ''}guard {guard.guard}: {guard.message}", "bad" if guard.refuses else "warn")
    for item in found.destructive[:LOSSES]:
        yield Line(f"  ! {item.action} {item.address} ({', '.join(item.risk)})", "remove")
    if found.losses > LOSSES:
        yield Line(f"  ! and {found.losses - LOSSES:,} more that are lost, reinstalled or reboot", "remove")
    yield from (Line(f"  access: {line}", "warn") for line in found.access)
    for fold in found.items[:FOLDS]:
        more = f" and {fold.number - 1:,} more" if fold.number > 1 else ""
        yield Line(f"  {fold.groups[0]}{more}", "title")
        for change in fold.changes:
            yield Line(f"    {change.sign} {change.action} {change.address} ({', '.join(change.causes)})", "change")
            for field in change.fields:
                place = f"  {field.origin}" if field.origin else ""
                yield Line(f"        {field.path}: {field.before} -> {field.after}{place}")
    if found.next or len(found.items) > FOLDS:
        yield Line("  and more: the plan's page shows all of it", "dim")
    for put_off in found.put_off:
        yield Line(f"  put off ({put_off.number:,}): {put_off.reason}", "warn")
    for missing in found.missing:
        yield Line(f"  waits for a word: {missing.message}", "warn")
    yield Line(f"{url}/plans/{found.plan[:12]}", "dim")
    if found.applyable and found.changes:
        if found.missing:
            yield Line(f"First, whoever is named: octofleet --server {url} approve {found.plan[:12]} --reason WHY")
        yield Line(f"Apply exactly this: octofleet --server {url} apply {found.plan[:12]}")


def show_status(found: Status, url: str) -> None:
    """How the fleets stand."""
    for line in _status(found, url):
        show_line(line.text, line.style)


def _status(found: Status, url: str) -> Iterator[Line]:
    for one in found.sources:
        yield Line(f"Fleet {one.name}: {one.resources} resources, commit {one.commit[:10]}", "title")
        if one.unsettled:
            yield Line(f"  {counted(len(one.unsettled), 'resource')} last seen otherwise than recorded", "warn")
        else:
            yield Line("  all were last seen as recorded")
        if one.checks:
            yield Line(f"  {one.checks}")
        if one.deferred:
            yield Line(f"  the newest plan puts off {counted(len(one.deferred), 'resource')}", "warn")
    for run in found.runs:
        yield Line(f"run {run.run} of {run.source}: {run.state}" + (", and no worker lives" if run.interrupted else ""))
    for repository in found.repositories:
        yield Line(f"repository {repository.location}: {repository.note}", "warn" if repository.next else "plain")
        if repository.next:
            yield Line(f"  next: {of_server(repository.next, url)}", "change")
    for alerts, why in found.alerts_failing.items():
        yield Line(f"alerts: {alerts} is not told: {why}", "bad")
    if not found.sources and not found.runs and not found.repositories:
        yield Line("there is nothing that you may see")
        yield Line(
            "  next: have a RoleMapping bind whom the token acts as; octofleet token, at the server, lists tokens and what they are good for",
            "change",
        )
