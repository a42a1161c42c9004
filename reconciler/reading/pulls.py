"""Pull requests of followed repositories: where each stands, its plan, what was said to Octofleet, and what it holds."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from reconciler.errors import Refused
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Paged, after, cursor_of
from reconciler.store.engine import Connection, Store
from reconciler.store.plans import plan_head
from reconciler.store.pull_locks import locks_of
from reconciler.store.pulls import Command, PullKey, PullRow, commands_of, load_pull, pulls_in
from reconciler.store.records import locations
from reconciler.types.canonical import unpack
from reconciler.types.resource import tenant_of


class PullsAsk(Paged, frozen=True, kw_only=True):
    """Those in a state."""

    state: Literal["open", "merged", "closed"] = "open"


class PullDocument(Document, frozen=True, kw_only=True):
    """A pull request. What people wrote (`title`, `author`, `branch`, `url`, `note`) only for who sees all that its plan changes (`whole`). `plan`: the id of
    the newest one, empty until there is one."""

    forge: str
    project: str
    number: int
    source: str
    state: str
    head: str
    plan: str
    planned_at: float | None
    title: str
    author: str
    branch: str
    url: str
    note: str
    whole: bool


class Pulls(Document, frozen=True, kw_only=True):
    """By forge, project and number."""

    items: list[PullDocument]
    next: str = ""


class CommandDocument(Document, frozen=True, kw_only=True):
    """What somebody said in a comment, and what came of it; `doneAt` is null until then."""

    author: str
    body: str
    at: float
    done_at: float | None
    answer: str


class LockDocument(Document, frozen=True, kw_only=True):
    """A resource that the pull request holds. `by` is empty where its plan took it, else who locked it."""

    address: str
    at: float
    by: str
    reason: str


class PullDetails(Document, frozen=True, kw_only=True):
    """One pull request. `commands`: the newest, for who sees all of it."""

    pull: PullDocument
    commands: list[CommandDocument]
    locks: list[LockDocument]


def pulls(call: Call, ask: PullsAsk) -> Pulls:
    """A page of those that the caller sees something of."""
    key, sight = after(ask.cursor, str, str, int), call.sight
    found: list[PullDocument] = []
    with call.installation.store.read() as connection:
        sources = _sources(connection)
        for row in pulls_in(connection, ask.state, key):
            if len(found) == ask.limit:
                last = found[-1]
                return Pulls(items=found, next=cursor_of(last.forge, last.project, last.number))
            if (seen := _seen(call.installation.store, connection, sight, sources, row)) is not None:
                found.append(seen)
    return Pulls(items=found)


def pull(call: Call, ask: Ask) -> PullDetails:
    """One of them."""
    del ask
    number, sight = call.path["number"], call.sight
    key = PullKey(
        forge=call.path["forge"], project=call.path["project"], number=int(number) if number.isdecimal() and len(number) < 10 else 0
    )
    with call.installation.store.read() as connection:
        row = load_pull(connection, key)
        seen = _seen(call.installation.store, connection, sight, _sources(connection), row) if row is not None else None
        if seen is None:
            raise Refused(
                f"there is no pull request {key.forge}/{key.project}#{number}", hint="the list of pull requests names them", code="no-pull"
            )
        said = [*commands_of(connection, key, done=False), *commands_of(connection, key, done=True)] if seen.whole else []
        held = [lock for lock in locks_of(connection, key) if sight.address(seen.source, lock.address)]
    return PullDetails(
        pull=seen,
        commands=[_command(one) for one in sorted(said, key=lambda one: -one.at)],
        locks=[
            LockDocument(address=lock.address, at=lock.at, by=lock.identity if seen.whole else "", reason=lock.reason if seen.whole else "")
            for lock in held
        ],
    )


def _sources(connection: Connection) -> Mapping[str, str]:
    """The Fleet that was applied from each location."""
    return {location: name for name, location in locations(connection).items()}


def _seen(store: Store, connection: Connection, sight: Sight, sources: Mapping[str, str], row: PullRow) -> PullDocument | None:
    """What of one there is to see; None for nothing. One without a plan may be about anything."""
    head = plan_head(connection, row.plan) if row.plan is not None else None
    source = head.source if head is not None else sources.get(row.location, "")
    addresses = _addresses(store, row.plan) if row.plan is not None else ()
    whole = sight.whole(source) or (bool(addresses) and all(_of_tenant(sight, source, one) for one in _tenants(addresses)))
    if not whole and not any(_sees_some(sight, source, tenant, addresses) for tenant in _tenants(addresses)):
        return None
    said: Mapping[str, Any] = unpack(row.seen) if whole else {}
    return PullDocument(
        forge=row.key.forge,
        project=row.key.project,
        number=row.key.number,
        source=source,
        state=row.state,
        head=row.head,
        plan=head.id if head is not None else "",
        planned_at=row.planned_at,
        title=said.get("title", ""),
        author=said.get("identity", ""),
        branch=said.get("head_branch", ""),
        url=said.get("url", ""),
        note=row.note if whole else "",
        whole=whole,
    )


def _of_tenant(sight: Sight, source: str, tenant: str) -> bool:
    return bool(tenant) and sight.of_tenant(source, tenant)


def _sees_some(sight: Sight, source: str, tenant: str, addresses: tuple[str, ...]) -> bool:
    if not tenant or not sight.some_of(source, tenant):
        return False
    return sight.of_tenant(source, tenant) or any(sight.address(source, one) for one in addresses if tenant_of(one) == tenant)


@lru_cache(maxsize=256)
def _addresses(store: Store, plan: int) -> tuple[str, ...]:
    """What a plan changes, of those that were asked about lately: a stored plan stays as it is."""
    with store.read() as connection:
        return tuple(address for (address,) in connection.rows("SELECT address FROM change WHERE plan = ? ORDER BY seq", (plan,)))


@lru_cache(maxsize=256)
def _tenants(addresses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(tenant_of, addresses))


def _command(one: Command) -> CommandDocument:
    return CommandDocument(author=one.author, body=one.body, at=one.at, done_at=one.done_at, answer=one.answer)
