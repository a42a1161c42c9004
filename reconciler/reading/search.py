"""Search with one box: hosts in memory, the rest by what it begins with and by indexes; a few of each kind, and only what the caller sees."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated
from urllib.parse import quote

import msgspec

from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.hosts import HostsAsk, matching
from reconciler.reading.paging import Ask, Document
from reconciler.reading.seen import Seen, seen
from reconciler.reading.whose import sees_plan, sees_run
from reconciler.store.engine import Connection
from reconciler.store.found import commits, plans_begin, pulls_like, resources_begin
from reconciler.store.runs import find_runs

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
        for kind in (_hosts(found, text), *_stored(connection, found.sight, text)):
            some = list(islice(kind, MOST + 1))
            hits += some[:MOST]
            more += [one.kind for one in some[MOST:]]
    return Hits(q=ask.q, items=hits, more=more)


def _hosts(found: Seen, text: str) -> Iterator[Hit]:
    for source, tenant, name, stand in matching(found, HostsAsk(text=text.removeprefix("host/"))):
        yield Hit(kind="host", title=f"{tenant}/{name}", detail=f"{stand.state}, of {source}", href=_path("hosts", tenant, name))


def _stored(connection: Connection, sight: Sight, text: str) -> Iterator[Iterator[Hit]]:
    yield _runs(connection, sight, text)
    yield _plans(connection, sight, text)
    yield _pulls(connection, sight, text)
    yield _resources(connection, sight, text)
    yield _commits(connection, sight, text)


def _runs(connection: Connection, sight: Sight, text: str) -> Iterator[Hit]:
    for run in find_runs(connection, text)[:MOST_LOOKED_AT]:
        if sees_run(connection, sight, run):
            yield Hit(kind="run", title=run.id, detail=f"{run.state}, of {run.source}", href=_path("runs", run.id))


def _plans(connection: Connection, sight: Sight, text: str) -> Iterator[Hit]:
    known = set[str]()
    for row, plan, source, commit in plans_begin(connection, text, MOST_LOOKED_AT):
        if plan not in known and sees_plan(connection, sight, row, source):
            known.add(plan)
            yield Hit(kind="plan", title=plan[:12], detail=f"of {source} at {commit[:12]}", href=_path("plans", plan))


def _pulls(connection: Connection, sight: Sight, text: str) -> Iterator[Hit]:
    for forge, project, number, source, row in pulls_like(connection, text, MOST_LOOKED_AT):
        if sight.whole(source) or (row is not None and source and sees_plan(connection, sight, row, source)):
            yield Hit(kind="pull", title=f"{project}#{number}", detail=f"at {forge}", href=f"/pulls?{_query(forge, project, number)}")


def _resources(connection: Connection, sight: Sight, text: str) -> Iterator[Hit]:
    known = set[str]()
    for source, group, address, external_id in resources_begin(connection, text, MOST_LOOKED_AT):
        if address not in known and sight.sees(source, _tenant(address), group):
            known.add(address)
            kind, _, rest = group.partition("/")
            tenant, _, name = rest.partition("/")
            href = _path("hosts", tenant, name) if kind == "host" else ""
            yield Hit(kind="resource", title=address, detail=external_id, href=href)


def _commits(connection: Connection, sight: Sight, text: str) -> Iterator[Hit]:
    known = set[str]()
    for commit, source, plan, row in commits(connection, text, MOST_LOOKED_AT):
        if commit not in known and (sight.some(source) if row is None else sees_plan(connection, sight, row, source)):
            known.add(commit)
            said = f"applied last by {source}" if row is None else f"planned for {source}"
            yield Hit(kind="commit", title=commit[:12], detail=said, href=_path("plans", plan) if plan else "")


def _tenant(address: str) -> str:
    tenant = address.split("/")[2]
    return "" if tenant == "-" else tenant


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _query(forge: str, project: str, number: int) -> str:
    return f"forge={quote(forge, safe='')}&project={quote(project, safe='')}&number={number}"
