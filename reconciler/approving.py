"""What a plan still needs somebody's word for, by the rules and the RoleMappings in force. The edge around `gate.approvals`."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from reconciler.errors import Refused
from reconciler.gate.approvals import Approval, Judged, Missing, missing, rules_of
from reconciler.history import find_commit
from reconciler.identity.access import Action, Identity, Resource
from reconciler.identity.local import whoami
from reconciler.permitting import access_in_force
from reconciler.source.repository import Repository
from reconciler.store.approvals import standing
from reconciler.store.engine import Connection
from reconciler.store.pulls import pull_authors
from reconciler.store.records import applied_commit, fleet_in_force
from reconciler.types.change import Cause
from reconciler.types.plan import Plan
from reconciler.wiring import Installation, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """What is missing before a plan may be applied, and whether the word of who runs this process is all of it."""

    missing: tuple[Missing, ...] = ()
    mine: bool = False

    def next(self, plan_id: str) -> str:
        """What to do about it."""
        short = plan_id[:12]
        if self.missing and self.missing[0].rejected:
            return "ask who rejected it; his own octofleet approve takes that back, and another commit needs another word"
        if self.mine:
            return f"look at the plan, then octofleet approve {short} --reason WHY, or octofleet apply {short} --approve"
        return f"have those who are named look at the plan: octofleet approve {short} --reason WHY"


def waits(connection: Connection, plan: Plan, authors: Collection[str] | None, now: float) -> Waits:
    """What is missing for a plan now. `authors`: None if they were not looked up, as no rule asked for them then. Raises `Refused` if one does by now."""
    said = standing(connection, now)
    found = missing_of(connection, plan.source, plan.changes, authors, now, said)
    if not found:
        return Waits()
    changes = frozenset(change.digest for change in plan.changes)
    mine = Approval(id="", identity=whoami(), at=now, expires_at=math.inf, reason="", changes=changes)
    return Waits(missing=tuple(found), mine=not missing_of(connection, plan.source, plan.changes, authors, now, [*said, mine]))


def check_approved(connection: Connection, plan: Plan, authors: Collection[str] | None, now: float, *, approving: bool = False) -> None:
    """Raises `Refused` for a plan of which somebody has yet to approve something; with `approving` somebody else than who runs this process."""
    found = waits(connection, plan, authors, now)
    if found.missing and not (approving and found.mine):
        text = f"plan {plan.id[:12]} waits for approval: {found.missing[0].message}"
        raise Refused(text, hint=found.next(plan.id), code="approval")


def authors_of(installation: Installation, plan: Plan, location: str | Repository) -> frozenset[str] | None:
    """Who made what a plan brings about: all that came since the commit applied last, whatever the plan was compared with, and who opened the pull requests
    that brought it; nobody for what has merely drifted. None if no rule asks for that. Raises `OctofleetError` if the history cannot be read."""
    return authors(installation, plan.source, plan.commit, location, drifted=all(change.causes == {Cause.DRIFT} for change in plan.changes))


def authors(installation: Installation, source: str, commit: str, location: str | Repository, *, drifted: bool) -> frozenset[str] | None:
    """The same of a commit of a Fleet; `drifted`: what changes has merely drifted."""
    with installation.store.read() as connection:
        if not any(rule.not_author for rule in rules_of(fleet_in_force(connection, source))):
            return None
        applied = applied_commit(connection, source)
        opened = pull_authors(connection, location if isinstance(location, str) else place(location))
    if drifted:
        return frozenset()
    repository = installation.repository(location, fetch=False) if isinstance(location, str) else location
    since = applied[0] if applied is not None and find_commit(repository, applied[0]) is not None else None
    brought = set(repository.between(since, commit))
    found = {f"email:{address}" for address in repository.authors(since, commit)}
    return frozenset(found.union(who for commit, who in opened if commit in brought))


def missing_of(
    connection: Connection, source: str, changes: Sequence[Judged], authors: Collection[str] | None, now: float, said: Collection[Approval]
) -> list[Missing]:
    """What is missing for changes of a Fleet now, after all that was `said`. Raises `Refused` as `waits`."""
    rules = rules_of(fleet_in_force(connection, source))
    if authors is None and any(rule.not_author for rule in rules):
        raise Refused(f"the rules for approvals of {source} have just changed", hint="run the same command again", code="superseded")
    access = access_in_force(connection)

    def may(who: str, tenant: str) -> bool:
        return access.decide(Identity.named(who), Action.APPROVE, Resource(source=source, tenant=tenant)).allowed

    def person(who: str) -> str:
        return access.person(source, who)

    return missing(rules, changes, said, now, authors=authors or (), person=person, may=may)
