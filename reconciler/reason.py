"""A reason why something waits, is put off, is blocked or has failed, and what to do about it, with a stable code.

Many things with one reason are one `Why`, so that three and three thousand are told alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.store.halt import UNPROMOTED
from reconciler.types.outcome import Status

CODES: Mapping[str, str] = MappingProxyType(
    {
        "under-way": "a worker is at it",
        "operation": "an operation goes on in the world; it is asked about again",
        "machine": "a machine is being installed over the network",
        "retry": "it failed with what may work later",
        "needs": "a change that it depends on is not done",
        "settling": "what was begun may still show up in the world",
        "interrupted": "its worker is gone; the next one looks, and goes on",
        "due": "a worker takes it as soon as it has a place",
        "gated": "a maintenance window is closed, a freeze is on, or a person paused it",
        "held": "a part of a rollout waits for a person",
        "soaking": "a part of a rollout waits until what went before has soaked",
        "stopped": "a rollout was stopped, as too many hosts have failed",
        "earlier-phase": "an earlier part of its rollout is not over",
        "earlier-wave": "changes of an earlier wave of the same tenant are not done",
        "no-worker": "no worker lives",
        "no-driver": "the driver is not here",
        "driver-limit": "the setting `apply.driver_limits` is reached",
        "tenant-limit": "the setting `apply.tenant_limit` is reached",
        "paused": "a person paused the run",
        "cancelling": "a person cancelled the run; what has begun is brought to its end",
        "failed": "the driver could not do it",
        "partial": "it was done in part, or the world is not as desired afterwards",
        "stale": "the world had changed since the plan was made",
        "expired": "its operation took longer than `apply.deadline_s`",
        "unpromoted": "it waited for a person longer than its rollout's `promoteWithin`",
        "cancelled": "it was not begun",
        "superseded": "a newer commit wants something else",
        "backing-off": "it failed, and the loop leaves it alone for a while",
        "gone": "it was recorded and is not there",
        "differs": "it is not as recorded",
        "proposed": "its engine would change something",
        "unknown": "it could not be looked at",
        "deferred": "the newest plan puts it off",
        "failing": "a followed repository cannot be looked at or planned",
        "approval": "the plan of a followed repository waits for a person",
        "refused": "the plan of a followed repository may not be applied",
        "reported": "the changes of a followed repository are only reported, as its settings say",
        "behind": "a newer commit of a followed repository waits for a run",
        "no-server": "repositories are followed, and no server runs",
        "breaker-open": "its provider has failed too often and is left alone for a while",
    }
)
"""Every code, and what it means."""
TURN = frozenset({"earlier-phase", "earlier-wave"})
"""Codes of what only waits its turn: told last."""
SEEN = frozenset({"gone", "differs", "proposed", "unknown"})
"""Codes of what was seen: `since` is when."""
PLAN_AGAIN = "octofleet plan shows what is left, octofleet apply does it"
ENDED_NEXT = {
    Status.FAILED: f"mend what the error says; {PLAN_AGAIN}",
    Status.PARTIAL: f"look at it in the world; {PLAN_AGAIN}",
    Status.STALE: "octofleet plan looks at the world again",
    Status.EXPIRED: f"see whether the operation still goes on in the world; {PLAN_AGAIN}",
    Status.CANCELLED: PLAN_AGAIN,
    Status.SUPERSEDED: "nothing: a newer run does what is wanted now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One reason of many things. `what`: addresses, or steps as people name them; `text`: why; `next`: what to do. Times in seconds since the epoch:
    `since` when the first began, `again` when the first is tried next, `deadline` when the first is given up; None if there is none."""

    code: str
    text: str
    next: str
    what: tuple[str, ...]
    number: int
    since: float | None = None
    again: float | None = None
    deadline: float | None = None


def together(found: Iterable[Why]) -> tuple[Why, ...]:
    """Those with the same code, text and next step as one, the most frequent first; what only waits its turn last."""
    kinds: dict[tuple[str, str, str], list[Why]] = {}
    for one in found:
        kinds.setdefault((one.code, one.text, one.next), []).append(one)
    made = [
        Why(
            code=code,
            text=text,
            next=then,
            what=tuple(sorted({what for one in ones for what in one.what})),
            number=sum(one.number for one in ones),
            since=_least(one.since for one in ones),
            again=_least(one.again for one in ones),
            deadline=_least(one.deadline for one in ones),
        )
        for (code, text, then), ones in kinds.items()
    ]
    return tuple(sorted(made, key=lambda why: (why.code in TURN, -why.number, why.code, why.text)))


def _least(times: Iterable[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)


def ended(address: str, status: Status, error: str) -> Why:
    """A change that ended badly."""
    if error.startswith(UNPROMOTED):
        return Why(code="unpromoted", text=error, next=PLAN_AGAIN, what=(address,), number=1)
    return Why(code=status.value, text=error or CODES[status.value], next=ENDED_NEXT[status], what=(address,), number=1)
