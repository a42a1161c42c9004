"""Reasons as lines for a terminal and as a document: `octofleet status --why`. Three of a kind or three thousand take the same few lines."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reconciler.reason import SEEN, TURN, Why
from reconciler.report.text import Line, brief, printable
from reconciler.report.view import counted, duration
from reconciler.store.followed import FAILING
from reconciler.store.rollbacks import RollbackRow
from reconciler.store.waiting import LaneRow
from reconciler.why import RunWhy, Whys
from reconciler.why_repository import RepositoryWhy
from reconciler.why_source import SourceWhy

MOST = 20
"""How many of a kind are named; fewer for each reason, if there are several."""
MOST_REASONS = 12
MOST_LANES = 6
"""Lanes are told in the order of their waves: the later ones only wait their turn."""


def run_lines(found: RunWhy, now: float) -> Iterator[Line]:
    """An open run."""
    run, changes = found.run, dict(found.changes)
    whole, done = sum(changes.values()), changes.pop("done", 0)
    changes.pop("open", None)
    others = "".join(f", {number:,} {status}" for status, number in sorted(changes.items()))
    yield Line(f"run {run.id} of {printable(run.source)}: {run.state} for {duration(now - found.since)}", "title")
    yield Line(f"  {done:,} of {counted(whole, 'change')} done{others}")
    if run.reason:
        yield Line(f"  reason: {brief(run.reason)}", "dim")
    if found.said is not None:
        at, text = found.said
        yield Line(f"  {duration(now - at)} ago: {brief(text)}", "warn")
    if found.rollback is not None:
        yield Line(f"  {printable(found.rollback.text)}", "warn")
    yield from _lanes(found)
    yield from _part("waiting", found.waits, "step", now, "warn")
    yield from _part("ended badly so far", found.failed, "change", now, "bad")


def _lanes(found: RunWhy) -> Iterator[Line]:
    """Where the open steps are; tenants are counted if there are many."""
    rows = [(f"wave {lane.wave}", lane.driver or "record", lane.tenant or "-", counted(lane.open, "open step")) for lane in found.lanes]
    if len(rows) > MOST:
        rows = _folded(found.lanes)
    widths = [max(map(len, column)) for column in zip(*rows[:MOST_LANES], strict=True)]
    for row in rows[:MOST_LANES]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield Line("  " + "  ".join(cells).rstrip(), "dim")
    if len(rows) > MOST_LANES:
        yield Line(f"  and {counted(len(rows) - MOST_LANES, 'more lane')}", "dim")


def _folded(lanes: Sequence[LaneRow]) -> list[tuple[str, str, str, str]]:
    """The lanes of a wave and driver as one."""
    tenants, steps = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for lane in lanes:
        tenants[lane.wave, lane.driver] += 1
        steps[lane.wave, lane.driver] += lane.open
    return [
        (f"wave {wave}", driver or "record", counted(number, "tenant"), counted(steps[wave, driver], "open step"))
        for (wave, driver), number in sorted(tenants.items())
    ]


def source_lines(found: SourceWhy, now: float) -> Iterator[Line]:
    """A source, below its heading."""
    if found.last_run is not None:
        if found.rollback is not None:
            yield Line(f"  {printable(found.rollback.text)}", "warn")
        title = f"ended badly in the last run, {found.last_run.id} ({found.last_run.state})"
        yield from _part(title, found.failed, "change", now, "bad")
    yield from _part("last seen otherwise than recorded", found.unsettled, "resource", now, "warn")
    yield from _part("put off by the newest plan", found.deferred, "resource", now, "warn")


def repository_lines(repositories: Sequence[RepositoryWhy], unserved: Why | None) -> Iterator[Line]:
    """What is followed: how each stands, and what to do."""
    for one in repositories:
        bad = one.why is not None and one.why.code == FAILING
        yield Line(
            f"repository {printable(one.followed.location)}: {printable(one.text)}", "bad" if bad else "warn" if one.why else "plain"
        )
        if one.why is not None and one.why.next:
            yield Line(f"  next: {printable(one.why.next)}", "change")
    if unserved is not None:
        yield Line(unserved.text, "warn")
        yield Line(f"  next: {unserved.next}", "change")


def other_lines(found: Whys) -> Iterator[Line]:
    """What belongs to no run and no source."""
    yield from _part("left alone for a while", found.backoff, "resource", found.now, "warn", indent="")
    yield from _part("left alone by this process", found.breakers, "provider", found.now, "warn", indent="")
    if found.runs:
        yield from _workers(found)


def _workers(found: Whys) -> Iterator[Line]:
    if not found.workers:
        yield Line("no worker lives: octofleet resume RUN goes on with a run, octofleet serve or octofleet worker with all", "bad")
        return
    yield Line(f"{counted(len(found.workers), 'worker')}:")
    for worker in found.workers[:MOST]:
        yield Line(f"  {printable(worker.name)} ({worker.role}, version {worker.version}), for {duration(found.now - worker.started_at)}")
    if len(found.workers) > MOST:
        yield Line(f"  and {len(found.workers) - MOST:,} more")


def _part(title: str, reasons: Sequence[Why], noun: str, now: float, style: str, indent: str = "  ") -> Iterator[Line]:
    """Some reasons under a heading; nothing if there are none."""
    if not reasons:
        return
    yield Line(f"{indent}{title}: {counted(sum(why.number for why in reasons), noun)}", style)
    most = MOST // min(len(reasons), MOST_REASONS // 2)
    for why in reasons[:MOST_REASONS]:
        yield from _why(why, now, indent + "  ", most)
    rest = reasons[MOST_REASONS:]
    if rest:
        yield Line(
            f"{indent}  and {counted(sum(why.number for why in rest), noun)} for {counted(len(rest), 'more reason')}; --json has all"
        )


def _why(why: Why, now: float, indent: str, most: int) -> Iterator[Line]:
    yield Line(f"{indent}{why.code} ({why.number:,}): {brief(why.text)}")
    yield Line(f"{indent}  next: {why.next}", "change")
    times = ", ".join(_times(why, now))
    if times:
        yield Line(f"{indent}  {times}", "dim")
    if why.code in TURN:
        return  # the lanes above say which
    yield from (Line(f"{indent}    {printable(what)}") for what in why.what[:most])
    if len(why.what) > most:
        yield Line(f"{indent}    and {len(why.what) - most:,} more")


def _times(why: Why, now: float) -> Iterator[str]:
    first, longest = ("the first ", "the longest ") if why.number > 1 else ("", "")
    if why.since is not None and why.code in SEEN:
        yield f"{first}seen {duration(now - why.since)} ago"
    elif why.since is not None:
        yield f"{longest}for {duration(now - why.since)}"
    if why.again is not None:
        yield f"{first}tried again in {duration(why.again - now)}" if why.again > now else f"{first}tried again now"
    if why.deadline is not None:
        yield f"{first}given up in {duration(why.deadline - now)}" if why.deadline > now else f"{first}past its deadline"


def document(found: Whys) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "at": found.now,
        "workers": [
            {"id": w.id, "name": w.name, "role": w.role, "version": w.version, "startedAt": w.started_at, "until": w.until}
            for w in found.workers
        ],
        "runs": [
            {
                "run": one.run.id,
                "source": one.run.source,
                "state": one.run.state,
                "startedAt": one.run.started_at,
                "since": one.since,
                "reason": one.run.reason,
                "said": {"at": one.said[0], "text": one.said[1]} if one.said else None,
                "rollback": _rollback(one.rollback),
                "changes": dict(one.changes),
                "lanes": [{"wave": lane.wave, "driver": lane.driver, "tenant": lane.tenant, "open": lane.open} for lane in one.lanes],
                "waiting": _documents(one.waits),
                "failed": _documents(one.failed),
            }
            for one in found.runs
        ],
        "sources": [
            {
                "name": one.name,
                "lastRun": one.last_run and one.last_run.id,
                "rollback": _rollback(one.rollback),
                "failed": _documents(one.failed),
                "unsettled": _documents(one.unsettled),
                "deferred": _documents(one.deferred),
            }
            for one in found.sources
        ],
        "backoff": _documents(found.backoff),
        "breakers": _documents(found.breakers),
    }


def _rollback(found: RollbackRow | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"state": found.state, "branch": found.branch, "commit": found.made, "why": found.why, "text": found.text}


def _documents(reasons: Iterable[Why]) -> list[dict[str, Any]]:
    return [
        {
            "code": why.code,
            "text": why.text,
            "next": why.next,
            "number": why.number,
            "what": list(why.what),
            "since": why.since,
            "again": why.again,
            "deadline": why.deadline,
        }
        for why in reasons
    ]
