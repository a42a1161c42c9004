"""One run: its rollouts and waves, what it waits for and why, what failed, and its newest lines."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from reconciler import applying
from reconciler.reading.call import Call
from reconciler.reading.next_step import over_http
from reconciler.reading.paging import Ask
from reconciler.reading.run_log import newest
from reconciler.reading.runs import RunDocument, found
from reconciler.reading.tasks import TaskDocument, TotalDocument, latest_tasks, totals
from reconciler.reason import CODES, Why
from reconciler.report.parts import LinePart, PhasePart, WavePart, WhyPart
from reconciler.report.text import brief, printable
from reconciler.store.engine import Connection
from reconciler.store.phases import PhaseRow, load_phases
from reconciler.store.rollbacks import load_rollback
from reconciler.store.runs import JournalRun, tenants_of_run, waves_of
from reconciler.why import run_why

MOST_WHYS, MOST_NAMED, MOST_WAVES, MOST_PHASES, MOST_TASKS = 20, 10, 60, 60, 15


class RunPage(RunDocument, frozen=True, kw_only=True):
    """One run. `waits`: what is open and why; `failed`: what ended badly and why. `said`: how a person paused or cancelled it, and `rollback` whether it is
    taken back by itself, for who sees all of it. `held`: rollouts wait for a person. `log`: the newest lines. `tasks`: the first
    of its playbooks' tasks, those that failed before the others, and `latest_tasks` the newest results of them."""

    phases: list[PhasePart]
    waves: list[WavePart]
    waits: list[WhyPart]
    failed: list[WhyPart]
    said: str
    rollback: str
    held: bool
    log: list[LinePart]
    tasks: list[TotalDocument] = msgspec.field(default_factory=list)
    latest_tasks: list[TaskDocument] = msgspec.field(default_factory=list)


def run(call: Call, ask: Ask) -> RunPage:
    """One run."""
    del ask
    one, document = found(call)
    living, drivers = applying.living(call.installation), call.installation.drivers
    with call.installation.store.read() as connection:
        seen = None if document.whole else _tenants(connection, call, one)
        settings = call.installation.settings.apply
        why = run_why(connection, one, settings=settings, living=living, drivers=drivers, tenants=seen)
        phases = [phase for phase in load_phases(connection, one.id) if phase.track and (seen is None or phase.tenant in seen)]
        rollback = load_rollback(connection, one.id) if document.whole else None
        return RunPage(
            **{name: getattr(document, name) for name in RunDocument.__struct_fields__},
            phases=[phase_part(phase) for phase in phases[:MOST_PHASES]],
            waves=_waves(connection, one.id, seen)[:MOST_WAVES],
            waits=_whys(why.waits, whole=document.whole) if one.ended_at is None else [],
            failed=[why_part(item) for item in why.failed[:MOST_WHYS]],
            said=printable(why.said[1]) if why.said and document.whole else "",
            rollback=printable(rollback.text) if rollback is not None else "",
            held=any(phase.state == "stopped" or (phase.state == "due" and phase.promote) for phase in phases),
            log=newest(connection, call, one, whole=document.whole),
            tasks=totals(connection, call, one.source, one.id, 0, MOST_TASKS)[0],
            latest_tasks=latest_tasks(connection, call, run=one.id),
        )


def _tenants(connection: Connection, call: Call, one: JournalRun) -> set[str]:
    """The tenants of a run of which the caller sees all."""
    return {tenant for tenant in tenants_of_run(connection, one.id) if call.sight.of_tenant(one.source, tenant)}


def phase_part(phase: PhaseRow) -> PhasePart:
    """A part of a rollout, as it stands."""
    return PhasePart(
        tenant=phase.tenant,
        track=phase.track,
        number=phase.number,
        title=phase.title,
        hosts=phase.hosts,
        soak_s=phase.soak_s,
        promote=phase.promote,
        max_failures=phase.max_failures,
        on_stop=phase.on_stop,
        state=phase.state,
        opens_at=phase.opens_at,
        deadline_at=phase.deadline_at,
        note=printable(phase.note),
    )


def _waves(connection: Connection, run_id: str, tenants: set[str] | None) -> list[WavePart]:
    found: dict[int, Counter[str]] = {}
    for wave, tenant, state, number in waves_of(connection, run_id):
        if tenants is None or tenant in tenants:
            found.setdefault(wave, Counter())[state] += number
    return [
        WavePart(wave=wave, steps=states.total(), open=states.total() - states["ended"], under_way=states["started"] + states["waiting"])
        for wave, states in sorted(found.items())
    ]


def _whys(found: Sequence[Why], *, whole: bool) -> list[WhyPart]:
    return [why_part(item, whole=whole) for item in found[:MOST_WHYS]]


def why_part(item: Why, *, whole: bool = True) -> WhyPart:
    """A reason; in general words for who does not see all of the run, as what people say of it may name others."""
    return WhyPart(
        code=item.code,
        text=brief(item.text) if whole else CODES.get(item.code, item.code),
        next=brief(over_http(item.next)) if whole else "",
        what=[printable(what) for what in item.what[:MOST_NAMED]],
        number=item.number,
        since=item.since,
        again=item.again,
        deadline=item.deadline,
    )
