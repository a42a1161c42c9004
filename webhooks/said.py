"""All that the comment on a pull request says, as values. `comment.py` makes the text of it; who builds it reads the store, the plan and the forge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.gate.approvals import Missing
from reconciler.plan.guard import Share
from reconciler.report.view import View
from reconciler.source.signatures import Signature
from reconciler.store.pull_locks import Held
from reconciler.types.problem import Problem
from webhooks.forge import Pull

TAG = "[//]: # (octofleet)"
"""Begins every comment of ours and shows nowhere, HTML or not: what `Client.put_comment` knows it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shows:
    """What the Fleet lets stand in comments, which everybody reads who reads the repository: values observed in the world, and people's names."""

    observed_values: bool = False
    names: bool = False

    @classmethod
    def of(cls, fleet: Mapping[str, Any]) -> "Shows":
        """From the specification of the Fleet in force: opening up takes an applied commit, like every loosened rule."""
        said = fleet.get("comments", {})
        return cls(observed_values=said.get("observedValues", False), names=said.get("names", False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something that has to be before the plan may be applied. `message` has no people's names; `who` can meet it, as the repository or a role says;
    `have` are the identities that did their part; `firm`: its author has to mend it, nobody's word can."""

    name: str
    met: bool
    message: str
    who: str = ""
    have: Sequence[str] = ()
    firm: bool = False

    @classmethod
    def of(cls, missing: Missing) -> "Requirement":
        """What an approval rule still wants."""
        rule, number = missing.rule, f"{missing.number:,} change{'s' if missing.number != 1 else ''}"
        if missing.rejected:
            message, who = f"somebody rejected {number}, the first is {missing.first}", "whoever did, by approving it"
            return cls(name=rule.name, met=False, message=message, who=who, have=(missing.rejected,))
        people = f"{rule.count} people" if rule.count > 1 else "1 person"
        author = " who did not write the commits" if rule.not_author else ""
        return cls(
            name=rule.name,
            met=False,
            message=f"{people}{author} must approve {number}, the first is {missing.first}; {len(missing.have)} did",
            who=rule.who,
            have=missing.have,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A gate that changes of the plan will meet: `number` of them wait for the window, freeze or pause `name`. `opens_at`: when it is asked again, in
    seconds since the epoch; None for one that is open now and may close. The reason of a pause (`pause/...`) says who paused, so it counts as a name."""

    name: str
    number: int
    reason: str
    opens_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a command: the comment's `author` (a login), what it asked for, and the answer, without people's names; many lines are fine."""

    author: str
    command: str
    text: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Untrusted:
    """A fork's plan that ran nothing: what was left out (`ansible`, `templates`), and who can have it run by which command."""

    left_out: Sequence[str]
    who: str = "somebody with the role operator"
    command: str = "octofleet plan"


class Applied(StrEnum):
    """How far what was merged is."""

    GOES_ON = "goes-on"
    WAITS = "waits"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a pull request that was merged: how far it is, in words without people's names, and the command of a terminal that comes next."""

    applied: Applied
    text: str
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A pull request as Octofleet sees it. Commits are full ids, times seconds since the epoch.

    `pull.head` is its head and `base` the tip of its branch; `merged` the commit that was planned, which may be the head itself. `view` is the view of the
    plan; None where there is none, and then one of `conflicts` (paths that do not merge), `problems` or `failure` (one line for everybody; what to look for
    in the log) says why, or it is being planned (`pending`). `untrusted`: what the plan of a fork leaves out.

    `shares`: what would be removed, against the cap (`plan.guard.shares`). `locks`: resources of the plan that other pull requests hold. `ahead`: windows,
    freezes and pauses. `commands`: what to write in a comment now, each with what it does. `full`: the URL of the full plan, else `full_file` is the command
    or file that has it. `folding`: whether the forge shows HTML's `<details>` (Bitbucket does not).
    """

    pull: Pull
    base: str
    merged: str = ""
    view: View | None = None
    pending: bool = False
    shows: Shows = Shows()
    signatures: Sequence[Signature] | None = None
    shares: Sequence[Share] = ()
    locks: Sequence[Held] = ()
    requirements: Sequence[Requirement] = ()
    ahead: Sequence[Ahead] = ()
    answers: Sequence[Answer] = ()
    commands: Sequence[tuple[str, str]] = ()
    conflicts: Sequence[str] = ()
    problems: Sequence[Problem] = ()
    untrusted: Untrusted | None = None
    failure: str = ""
    outcome: Outcome | None = None
    full: str = ""
    full_file: str = ""
    folding: bool = True
