"""Approvals: who has to say yes to which changes, and who has. Pure.

An approval names the digests of the changes that it saw. It holds for a change as long as that is the very same: a squash or an unrelated push does not
touch it, one changed field does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.scope import in_scope
from reconciler.types.change import Risk
from reconciler.types.resource import tenant_of
from reconciler.types.values import Spec

Person = Callable[[str], str]
"""Who somebody is: the same for all identities of one person."""
May = Callable[[str, str], bool]
"""Whether an identity may approve changes of a tenant."""


class Judged(Protocol):
    """What rules for approvals know of a change."""

    @property
    def address(self) -> str:
        """Its resource."""

    @property
    def digest(self) -> str:
        """What an approval names."""

    @property
    def risk(self) -> frozenset[Risk]:
        """What it may do to people."""

    @property
    def path(self) -> str:
        """The file that it comes from."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Address and group of where it is, and was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """Changes that have one of the `risks`, come from one of the `paths` (files, or directories with `/` at the end) and are in one of the `scopes`, as far
    as these are said, need `count` people: those of `people`, or whoever may approve; not the author if `not_author`."""

    name: str
    risks: frozenset[Risk] = frozenset()
    paths: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    count: int = 1
    not_author: bool = False

    def is_about(self, change: Judged) -> bool:
        """Whether it asks for approvals of a change."""
        return (
            (not self.risks or not self.risks.isdisjoint(change.risk))
            and (not self.paths or any(_below(change.path, path) for path in self.paths))
            and (not self.scopes or any(in_scope(place, s) for places in change.places for place in places for s in self.scopes))
        )

    @property
    def who(self) -> str:
        """Who is asked, in words."""
        return " or ".join(self.people) if self.people else "somebody with the role approver"


UNLESS_SAID = (ApprovalRule(name="destructive", risks=frozenset({Risk.DESTRUCTIVE, Risk.REINSTALL})),)
"""What a Fleet that says nothing asks for."""
ALWAYS = (ApprovalRule(name="first installation", risks=frozenset({Risk.DESTRUCTIVE}), scopes=("netboot/install/*/*",)),)
"""What every Fleet asks for: of a machine that nothing is known of, a person says that it may be wiped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody's word for some changes. `yes`: false for a rejection. Times are seconds since the epoch."""

    id: str
    identity: str
    at: float
    expires_at: float
    reason: str
    changes: frozenset[str]
    yes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What a rule still wants: of how many changes, the first of them, and how many people have said yes to that."""

    rule: ApprovalRule
    number: int
    first: str
    have: tuple[str, ...]
    rejected: str = ""

    @property
    def message(self) -> str:
        """In words."""
        what = f"{self.number} change{'s' if self.number > 1 else ''}, the first is {self.first}"
        if self.rejected:
            return f"{self.rejected}: {what}"
        have = f"; so far: {', '.join(self.have)}" if self.have else ""
        author = ", who is not the author," if self.rule.not_author else ""
        number = f"{self.rule.count} people: " if self.rule.count > 1 else ""
        return f"{self.rule.name}: {number}{self.rule.who}{author} must approve {what}{have}"


def rules_of(fleet: Spec) -> tuple[ApprovalRule, ...]:
    """The rules of a Fleet's specification."""
    said = fleet.get("approvals")
    if said is None:
        return UNLESS_SAID
    return ALWAYS + tuple(
        ApprovalRule(
            name=rule["name"],
            risks=frozenset(map(Risk, rule.get("risks", ()))),
            paths=tuple(rule.get("paths", ())),
            scopes=tuple(rule.get("scopes", ())),
            people=tuple(rule.get("people", ())),
            count=rule.get("count", 1),
            not_author=rule.get("notAuthor", False),
        )
        for rule in said
    )


def missing(
    rules: Iterable[ApprovalRule],
    changes: Sequence[Judged],
    approvals: Iterable[Approval],
    now: float,
    *,
    authors: Iterable[str] = (),
    person: Person = lambda identity: identity,
    may: May = lambda identity, tenant: True,
) -> list[Missing]:
    """What is still wanted before these changes may be applied; empty if nothing is. A rejection stands against a change until the same person approves it."""
    standing = [approval for approval in approvals if now < approval.expires_at]
    words: dict[str, dict[str, Approval]] = {}
    for approval in sorted(standing, key=lambda item: item.at):
        who = person(approval.identity)
        for change in approval.changes:
            words.setdefault(change, {})[who] = approval
    by = frozenset(map(person, authors))
    found = list(_rejected(changes, words, may))
    for rule in rules:
        short = [
            (change, have)
            for change in changes
            if rule.is_about(change) and len(have := _said_yes(rule, change, words, by, person, may)) < rule.count
        ]
        if short:
            found.append(Missing(rule=rule, number=len(short), first=short[0][0].address, have=tuple(sorted(short[0][1]))))
    return found


def _said_yes(
    rule: ApprovalRule, change: Judged, words: Mapping[str, Mapping[str, Approval]], authors: frozenset[str], person: Person, may: May
) -> set[str]:
    wanted = frozenset(map(person, rule.people))
    return {
        who
        for who, approval in words.get(change.digest, {}).items()
        if approval.yes
        and not (rule.not_author and who in authors)
        and (who in wanted if wanted else all(may(approval.identity, tenant) for tenant in _tenants(change)))
    }


def _rejected(changes: Sequence[Judged], words: Mapping[str, Mapping[str, Approval]], may: May) -> Iterable[Missing]:
    against: dict[str, list[Judged]] = {}
    for change in changes:
        for who, approval in words.get(change.digest, {}).items():
            if not approval.yes and any(may(approval.identity, tenant) for tenant in _tenants(change)):
                against.setdefault(f"{who} rejected it ({approval.reason})", []).append(change)
    for why, rejected in sorted(against.items()):
        yield Missing(rule=ApprovalRule(name="rejected"), number=len(rejected), first=rejected[0].address, have=(), rejected=why)


def used(changes: Sequence[Judged], approvals: Iterable[Approval]) -> list[str]:
    """The ids of approvals that speak of any of these changes: they have served then."""
    digests = {change.digest for change in changes}
    return sorted(approval.id for approval in approvals if not digests.isdisjoint(approval.changes))


def _tenants(change: Judged) -> set[str]:
    """Whose resource it is, and of a move also whose it was."""
    return {tenant_of(address) for address, _ in change.places}


def _below(path: str, wanted: str) -> bool:
    return path.startswith(wanted) if wanted.endswith("/") else path == wanted
