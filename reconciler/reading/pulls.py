"""Pull requests of followed repositories: where each stands, its plan, what was said to Octofleet, and what it holds."""

from collections.abc import Mapping
from typing import Any, Literal

from reconciler.errors import Refused
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Paged, after, cursor_of
from reconciler.reading.plan_seen import summed
from reconciler.store.engine import Connection
from reconciler.store.plans import plan_row
from reconciler.store.pull_locks import locks_of
from reconciler.store.pulls import Command, PullKey, PullRow, commands_of, load_pull, pulls_in
from reconciler.store.records import locations
from reconciler.types.canonical import unpack

MOST_LOCKS, MOST_CHARS = 500, 1_000
"""Of a page: resources that a pull request holds, and what is shown of a comment."""


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
    """One pull request. `commands`: the newest, for who sees all of it. `locks`: the first of what it holds, by address; `more`: how many are left out."""

    pull: PullDocument
    commands: list[CommandDocument]
    locks: list[LockDocument]
    more: int


def pulls(call: Call, ask: PullsAsk) -> Pulls:
    """A page of those that the caller sees something of."""
    key, sight = after(ask.cursor, str, str, int), call.sight
    found: list[PullDocument] = []
    with call.installation.store.read() as connection:
        sources = _sources(connection, sight)
        for row in pulls_in(connection, ask.state, key):
            if len(found) == ask.limit:
                last = found[-1]
                return Pulls(items=found, next=cursor_of(last.forge, last.project, last.number))
            if (seen := _seen(connection, call, sources, row)) is not None:
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
        seen = _seen(connection, call, _sources(connection, sight), row) if row is not None else None
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
            for lock in held[:MOST_LOCKS]
        ],
        more=len(held[MOST_LOCKS:]),
    )


def _sources(connection: Connection, sight: Sight) -> Mapping[str, str]:
    """The Fleet that was applied from each location, of those of which anything is seen."""
    return {location: name for name, location in locations(connection).items() if sight.some(name)}


def _seen(connection: Connection, call: Call, sources: Mapping[str, str], row: PullRow) -> PullDocument | None:
    """What of one there is to see; None for nothing. One without a plan may be about anything."""
    plan = summed(connection, call, plan_row(connection, row.plan)) if row.plan is not None else None
    source = plan.source if plan is not None else sources.get(row.location, "")
    whole = plan.whole if plan is not None else row.plan is None and call.sight.whole(source)
    if plan is None and not whole:
        return None
    said: Mapping[str, Any] = unpack(row.seen) if whole else {}
    return PullDocument(
        forge=row.key.forge,
        project=row.key.project,
        number=row.key.number,
        source=source,
        state=row.state,
        head=row.head,
        plan=plan.plan if plan is not None else "",
        planned_at=row.planned_at,
        title=said.get("title", ""),
        author=said.get("identity", ""),
        branch=said.get("head_branch", ""),
        url=said.get("url", ""),
        note=row.note if whole else "",
        whole=whole,
    )


def _command(one: Command) -> CommandDocument:
    return CommandDocument(author=one.author, body=one.body[:MOST_CHARS], at=one.at, done_at=one.done_at, answer=one.answer[:MOST_CHARS])
