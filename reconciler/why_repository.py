"""How a followed repository stands, and whether anybody looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.reason import Why
from reconciler.store.engine import Connection
from reconciler.store.followed import BEGUN, BEHIND, FAILING, NEW, SETTLED, Followed, followed, run_about
from reconciler.store.leases import WorkerRow
from reconciler.store.runs import JournalRun, load_run


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryWhy:
    """A followed repository. `text`: how it stands now; `why`: what has to be done, None if nothing has. `run`: the one that this is about, or None."""

    followed: Followed
    text: str
    run: JournalRun | None
    why: Why | None


def repository_why(connection: Connection, found: Followed) -> RepositoryWhy:
    """How a repository stands: what the loop left, and what has become since of the run that this is about."""
    about = run_about(connection, found)
    run = load_run(connection, about) if about else None
    if run is not None and run.ended_at is not None:
        return RepositoryWhy(followed=found, text=f"run {run.id} has ended: {run.state}", run=run, why=None)
    if run is not None and found.code != BEHIND:
        return RepositoryWhy(followed=found, text=f"run {run.id} is {run.state}", run=run, why=None)
    text = (found.note or "not looked at yet") + (f", which is {run.state}" if run is not None else "")
    if found.code in (NEW, SETTLED, BEGUN):
        return RepositoryWhy(followed=found, text=text, run=run, why=None)
    tries = f" (failed {found.failures} times in a row)" if found.failures > 1 else ""
    again = found.due_at if found.code == FAILING else None
    why = Why(code=found.code, text=text + tries, next=found.next, what=(found.location,), number=1, since=found.at, again=again)
    return RepositoryWhy(followed=found, text=text + tries, run=run, why=why)


def unserved(connection: Connection, living: Sequence[WorkerRow]) -> Why | None:
    """Why no repository is looked at, or None if a server runs or nothing is followed."""
    locations = tuple(found.location for found in followed(connection))
    if not locations or any(worker.role == "serve" for worker in living):
        return None
    then = "octofleet serve looks at those of the settings, and with --repo at others"
    return Why(code="no-server", text="no server runs: nobody looks at the repositories", next=then, what=locations, number=len(locations))
