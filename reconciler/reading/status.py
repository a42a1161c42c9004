"""How each Fleet stands, and whether a commit of a followed repository is right: what `octofleet status` and `octofleet validate` print."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import msgspec

from reconciler.applying import living
from reconciler.errors import Refused
from reconciler.granting import lockout
from reconciler.planning import compiled
from reconciler.reading.call import Call
from reconciler.reading.explain import Rev
from reconciler.reading.next_step import over_http
from reconciler.reading.paging import Ask, Document
from reconciler.reading.seen import seen
from reconciler.reading.whose import sees_run
from reconciler.report.as_json import problem_document
from reconciler.store.alerts import failing
from reconciler.store.engine import Connection
from reconciler.store.followed import APPROVAL, REFUSED, REPORTED, followed
from reconciler.store.leases import WorkerRow
from reconciler.store.observations import load_observations, otherwise_seen
from reconciler.store.plans import newest_deferred
from reconciler.store.records import locations, recorded_of_tenant, records_of, sources
from reconciler.store.runs import JournalRun, open_runs
from reconciler.types.observation import Observation
from reconciler.types.plan import Deferred
from reconciler.types.problem import Severity
from reconciler.why_checks import checks_in_words
from reconciler.why_repository import RepositoryWhy, repository_why, unserved
from reconciler.why_source import in_words

MOST = 1000
"""So many resources of a source are named over HTTP as unsettled, and as put off."""


class OfSource(Document, frozen=True, kw_only=True):
    """A Fleet. `unsettled`: resources last seen otherwise than recorded, with why; `deferred`: put off by the newest plan, with why. `checks`: how its
    drift schedule stands, for who sees all of it."""

    name: str
    location: str
    commit: str
    at: float
    resources: int
    unsettled: dict[str, str]
    deferred: dict[str, str]
    checks: str = ""


class OfRun(Document, frozen=True, kw_only=True):
    """An open run; `interrupted`: no worker lives."""

    run: str
    source: str
    state: str
    interrupted: bool


class OfRepository(Document, frozen=True, kw_only=True):
    """A followed repository."""

    location: str
    head: str
    planned: str
    code: str
    note: str
    next: str
    plan: str
    run: str
    failures: int
    at: float | None


class Status(Document, frozen=True, kw_only=True):
    """Of an installation, as far as it is seen."""

    sources: list[OfSource]
    runs: list[OfRun]
    repositories: list[OfRepository]
    served: bool
    alerts_failing: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What `status` is made of: the sources, what of each is unsettled or put off, runs, repositories, and receivers of alerts that are not told."""

    known: Sequence[Mapping[str, object]]
    differing: Mapping[str, Mapping[str, Observation]]
    waiting: Mapping[str, tuple[Deferred, ...]]
    running: Sequence[JournalRun]
    repositories: Sequence[RepositoryWhy]
    dead: Mapping[str, tuple[int, str]]
    living: Sequence[WorkerRow]
    served: bool
    checks: Mapping[str, str]

    def document(self) -> Status:
        """All of it."""
        return Status(
            sources=[
                OfSource(
                    **dict(item),  # type: ignore[arg-type]  # as `sources` gives it
                    unsettled={a: in_words(o) for a, o in self.differing[str(item["name"])].items()},
                    deferred={d.address: d.reason for d in self.waiting[str(item["name"])]},
                    checks=self.checks[str(item["name"])],
                )
                for item in self.known
            ],
            runs=[OfRun(run=run.id, source=run.source, state=run.state, interrupted=not self.living) for run in self.running],
            repositories=[_followed(one) for one in self.repositories],
            served=self.served,
            alerts_failing={line: why for line, (_, why) in self.dead.items()},
        )


def standing(connection: Connection, workers: Sequence[WorkerRow], most: int | None = None) -> Standing:
    """How everything stands; `most` of the resources of a source that are unsettled, all without it."""
    known = list(sources(connection))
    names = [str(item["name"]) for item in known]
    return Standing(
        known=known,
        differing={name: load_observations(connection, otherwise_seen(connection, name)[:most]) for name in names},
        waiting={str(item["name"]): newest_deferred(connection, str(item["name"]), str(item["commit"])) for item in known},
        running=open_runs(connection),
        repositories=[repository_why(connection, found) for found in followed(connection)],
        dead=failing(connection),
        living=workers,
        served=unserved(connection, workers) is None,
        checks={name: checks_in_words(connection, name) for name in names},
    )


def status(call: Call, ask: Ask) -> Status:
    """As far as the caller sees it: all is as `octofleet status --json` has it, up to a thousand unsettled resources of each source and as many put off."""
    del ask
    workers, sight = living(call.installation), call.sight
    with call.installation.store.read() as connection:
        found = standing(connection, workers, MOST).document()
        names = locations(connection)
        wholes = {name for name in names if sight.whole(name)}
        runs = {run.id for run in open_runs(connection) if sees_run(connection, sight, run)}
        unsettled = {name: otherwise_seen(connection, name) for name in names if name not in wholes and sight.some(name)}
        mine = {name: [a for a in addresses if sight.address(name, a)][:MOST] for name, addresses in unsettled.items()}
        words = {name: {a: in_words(o) for a, o in load_observations(connection, some).items()} for name, some in mine.items()}
        numbers = _numbers(connection, call, mine)
    return msgspec.structs.replace(
        found,
        sources=[
            msgspec.structs.replace(one, deferred=dict(islice(one.deferred.items(), MOST)))
            if one.name in wholes
            else msgspec.structs.replace(one, resources=numbers[one.name], unsettled=words[one.name], deferred=_part(call, one), checks="")
            for one in found.sources
            if one.name in wholes or one.name in mine
        ],
        runs=[run for run in found.runs if run.run in runs],
        repositories=list(_repositories(found, names, wholes, mine)),
        alerts_failing=found.alerts_failing if sight.whole("") else {},
    )


def _numbers(connection: Connection, call: Call, names: Mapping[str, object]) -> Mapping[str, int]:
    """How many resources of a source are seen, where that is not all: those of the hosts that are."""
    found = dict.fromkeys(names, 0)
    for part in seen(call).parts():
        source, tenant = part.key
        if source not in found:
            continue
        if part.places is None:
            found[source] += recorded_of_tenant(connection, source, tenant)
        else:
            groups = [f"host/{tenant}/{name}" for name, _ in part.each()]
            found[source] += sum(map(len, records_of(connection, source, groups).values()))
    return found


def _part(call: Call, one: OfSource) -> dict[str, str]:
    """What is put off of what is seen: why may be told in words that name others."""
    return dict.fromkeys(islice((a for a in one.deferred if call.sight.address(one.name, a)), MOST), "put off")


def _repositories(found: Status, names: Mapping[str, str], wholes: set[str], some: Mapping[str, object]) -> Iterator[OfRepository]:
    """Those of Fleets of which something is seen; what is said of one is for who sees all of it."""
    of = {location: name for name, location in names.items()}
    for one in found.repositories:
        name = of.get(one.location, "")
        if name in wholes:
            yield msgspec.structs.replace(one, next=over_http(one.next))
        elif name in some:
            yield msgspec.structs.replace(one, note="", next="", plan="", run="")


def _followed(one: RepositoryWhy) -> OfRepository:
    item = one.followed
    return OfRepository(
        location=item.location,
        head=item.head,
        planned=item.planned,
        code=item.code,
        note=one.text,
        next=one.why.next if one.why is not None else "",
        plan=item.about if item.code in (APPROVAL, REFUSED, REPORTED) else "",
        run=one.run.id if one.run is not None else "",
        failures=item.failures,
        at=item.at,
    )


class ValidateAsk(Ask, frozen=True, kw_only=True):
    """`source`: the Fleet, whose repository is looked at; the only one without it. `rev`: a branch or commit, by default the one followed."""

    source: Annotated[str, msgspec.Meta(max_length=300)] = ""
    rev: Rev = ""


class Valid(Document, frozen=True, kw_only=True):
    """Whether every manifest and reference of a commit is right. Boot files are not rendered: `octofleet validate` does, and the page of each host."""

    valid: bool
    source: str
    commit: str
    summary: dict[str, int]
    problems: list[dict[str, Any]]


def validate(call: Call, ask: ValidateAsk) -> Valid:
    """For who sees all of a Fleet: problems name whatever is wrong in it."""
    with call.installation.store.read() as connection:
        known = {name: where for name, where in locations(connection).items() if call.sight.whole(name) and ask.source in ("", name)}
        heads = {one.location: one.head for one in followed(connection)}
    if len(known) != 1:
        text = "there are several Fleets" if known else f"there is no Fleet {ask.source} of which you may see all".replace("  ", " ")
        raise Refused(text, hint="say which with source", code="usage" if known else "no-source")
    ((source, location),) = known.items()
    repository = call.installation.repository(location, fetch=False)
    commit = repository.commit(ask.rev or heads.get(location) or None)
    desired = compiled(call.installation, repository, commit)
    problems = sorted([*desired.problems, *lockout(call.access, desired, call.caller.identity)])
    return Valid(
        valid=not any(problem.severity is Severity.ERROR for problem in problems),
        source=source,
        commit=commit.id,
        summary={"hosts": len(desired.hosts), "manifests": desired.count()},
        problems=[problem_document(problem) for problem in problems],
    )
