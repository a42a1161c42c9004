"""Search with one box: hosts in memory, the rest by what it begins with and by indexes; a few of each kind, and only what the caller sees."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated
from urllib.parse import quote

import msgspec

from reconciler.reading.call import Call
from reconciler.reading.hosts import HostsAsk, matching
from reconciler.reading.paging import Ask, Document
from reconciler.reading.plan_seen import summed
from reconciler.reading.seen import Seen, seen
from reconciler.reading.whose import sees_run
from reconciler.store.engine import Connection
from reconciler.store.found import commits, plans_begin, pulls_like, resources_begin
from reconciler.store.plans import plan_row
from reconciler.store.runs import find_runs
from reconciler.types.resource import tenant_of

MOST = 10
MOST_LOOKED_AT = 50
"""So many of a kind are asked whether they are seen."""
LEAST = 2


class SearchAsk(Ask, frozen=True, kw_only=True):
    """`q`: a part of a host's name; the beginning of the id of a run, a plan or a commit; of an address or an id in the world; or of a pull request: its
    number or project."""

    q: Annotated[str, msgspec.Meta(max_length=300)] = ""


class Hit(Document, frozen=True, kw_only=True):
    """What was found: `kind` is `host`, `run`, `plan`, `pull`, `resource` or `commit`; `href` is its page."""

    kind: str
    title: str
    detail: str
    href: str


class Hits(Document, frozen=True, kw_only=True):
    """By kind. `more`: of which kinds there are more than are named."""

    q: str
    items: list[Hit]
    more: list[str]


def search(call: Call, ask: SearchAsk) -> Hits:
    """What there is of it."""
    found, text = seen(call), ask.q.strip()
    if len(text) < LEAST:
        return Hits(q=ask.q, items=[], more=[])
    hits, more = list[Hit](), list[str]()
    with call.installation.store.read() as connection:
        for kind in (_hosts(found, text), *_stored(connection, call, text)):
            some = list(islice(kind, MOST + 1))
            hits += some[:MOST]
            more += [one.kind for one in some[MOST:]]
    return Hits(q=ask.q, items=hits, more=more)


def _hosts(found: Seen, text: str) -> Iterator[Hit]:
    for source, tenant, name, stand in matching(found, HostsAsk(text=text.removeprefix("host/"))):
        yield Hit(kind="host", title=f"{tenant}/{name}", detail=f"{stand.state}, of {source}", href=_path("hosts", tenant, name))


def _stored(connection: Connection, call: Call, text: str) -> Iterator[Iterator[Hit]]:
    yield _runs(connection, call, text)
    yield _plans(connection, call, text)
    yield _pulls(connection, call, text)
    yield _resources(connection, call, text)
    yield _commits(connection, call, text)


def _sees(connection: Connection, call: Call, plan: int) -> bool:
    """Whether the caller sees anything of the plan in this row."""
    return summed(connection, call, plan_row(connection, plan)) is not None


def _runs(connection: Connection, call: Call, text: str) -> Iterator[Hit]:
    for run in find_runs(connection, text)[:MOST_LOOKED_AT]:
        if sees_run(connection, call.sight, run):
            yield Hit(kind="run", title=run.id, detail=f"{run.state}, of {run.source}", href=_path("runs", run.id))


def _plans(connection: Connection, call: Call, text: str) -> Iterator[Hit]:
    known = set[str]()
    for row, plan, source, commit in plans_begin(connection, text, MOST_LOOKED_AT):
        if plan not in known and _sees(connection, call, row):
            known.add(plan)
            yield Hit(kind="plan", title=plan[:12], detail=f"of {source} at {commit[:12]}", href=_path("plans", plan))


def _pulls(connection: Connection, call: Call, text: str) -> Iterator[Hit]:
    for forge, project, number, source, row in pulls_like(connection, text, MOST_LOOKED_AT):
        if call.sight.whole(source) or (row is not None and _sees(connection, call, row)):
            yield Hit(kind="pull", title=f"{project}#{number}", detail=f"at {forge}", href=_path("pulls", forge, project, str(number)))


def _resources(connection: Connection, call: Call, text: str) -> Iterator[Hit]:
    known = set[str]()
    for source, group, address, external_id in resources_begin(connection, text, MOST_LOOKED_AT):
        if address not in known and call.sight.sees(source, tenant_of(address), group):
            known.add(address)
            kind, _, rest = group.partition("/")
            tenant, _, name = rest.partition("/")
            href = _path("hosts", tenant, name) if kind == "host" else ""
            yield Hit(kind="resource", title=address, detail=external_id, href=href)


def _commits(connection: Connection, call: Call, text: str) -> Iterator[Hit]:
    known = set[str]()
    for commit, source, plan, row in commits(connection, text, MOST_LOOKED_AT):
        if commit not in known and (call.sight.some(source) if row is None else _sees(connection, call, row)):
            known.add(commit)
            said = f"applied last by {source}" if row is None else f"planned for {source}"
            yield Hit(kind="commit", title=commit[:12], detail=said, href=_path("plans", plan) if plan else "")


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)
