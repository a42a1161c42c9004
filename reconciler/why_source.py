"""How a source stands: what ended badly in its last run, whether that is taken back by itself, what was last seen otherwise than recorded, and what its
newest plan puts off."""

from dataclasses import dataclass

from reconciler.reason import PLAN_AGAIN, Why, ended, together
from reconciler.store.engine import Connection
from reconciler.store.observations import load_observations, otherwise_seen
from reconciler.store.plans import newest_deferred
from reconciler.store.rollbacks import RollbackRow, load_rollback
from reconciler.store.runs import JournalRun, last_ended
from reconciler.store.waiting import ended_badly
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown

DEFERRED_NEXT = {
    "desired-unknown": "octofleet validate names what is wrong in the repository",
    "deletes-stopped": "octofleet validate names what is wrong in the repository",
    "access-lockout": "name a super-admin in a RoleMapping without tenant; octofleet validate names the line",
    "input-unknown": "make the secret readable; octofleet doctor checks the stores",
    "secret-in-file": "give the boot file a hash instead of the secret",
    "dependency-deferred": "see to the resource that it needs",
    "owned-elsewhere": "let the other Fleet go of it, or take it out of this one",
}
OBSERVE_NEXT = "see whether the system answers, then octofleet plan --refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWhy:
    """See the module."""

    name: str
    last_run: JournalRun | None
    rollback: RollbackRow | None
    failed: tuple[Why, ...]
    unsettled: tuple[Why, ...]
    deferred: tuple[Why, ...]


def source_why(connection: Connection, name: str, commit: str, *, busy: bool) -> SourceWhy:
    """How it stands; `commit`: the one applied last; `busy`: a run of it is open."""
    run = last_ended(connection, name)
    seen = load_observations(connection, otherwise_seen(connection, name))
    put_off = newest_deferred(connection, name, commit)
    return SourceWhy(
        name=name,
        last_run=run,
        rollback=load_rollback(connection, run.id) if run is not None else None,
        failed=together(ended(*item) for item in ended_badly(connection, run.id)) if run is not None else (),
        unsettled=together(_otherwise(address, found, busy=busy) for address, found in seen.items()),
        deferred=together(
            Why(
                code="deferred",
                text=f"{item.reason} ({item.code})",
                next=DEFERRED_NEXT.get(item.code, OBSERVE_NEXT),
                what=(item.address,),
                number=1,
            )
            for item in put_off
        ),
    )


def _otherwise(address: str, seen: Observation, *, busy: bool) -> Why:
    code, then = _seen(seen)
    if busy and then == PLAN_AGAIN:
        then = "first the open run, told below; what it leaves shows in octofleet plan"
    return Why(code=code, text=in_words(seen), next=then, what=(address,), number=1, since=seen.at)


def _seen(seen: Observation) -> tuple[str, str]:
    match seen:
        case Unknown():
            return "unknown", OBSERVE_NEXT
        case Absent():
            return "gone", PLAN_AGAIN
        case Proposed():
            return "proposed", PLAN_AGAIN
        case Present():
            return "differs", PLAN_AGAIN


def in_words(seen: Observation) -> str:
    """Why a resource is not settled, for people."""
    match seen:
        case Unknown():
            return f"unknown ({seen.code}): {seen.reason}"
        case Absent():
            return "it is gone"
        case Proposed():
            return f"its engine would change {len(seen.fields)} thing{'s' if len(seen.fields) != 1 else ''}"
        case _:
            return "it is not as recorded"
