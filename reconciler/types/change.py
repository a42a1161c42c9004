"""One change that a plan would make, field by field, with the causes of each."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from msgspec import Raw

from reconciler.types.canonical import digest_parts, fragment
from reconciler.types.origin import Origin
from reconciler.types.resource import Rules, host_of


class Action(StrEnum):
    """What is done. Only create, update, replace, delete, run and move touch the world; the others change the record alone."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    RUN = "run"
    MOVE = "move"
    ADOPT = "adopt"
    FORGET = "forget"
    RECORD = "record"
    CHECK = "check"
    """Looked at once more, after a soak: only a run has it, no plan."""


class Cause(StrEnum):
    """Why a field differs."""

    COMMIT = "commit"
    PENDING = "pending"
    DRIFT = "drift"
    INPUT = "input"
    UPGRADE = "upgrade"
    UPSTREAM = "upstream"
    SCHEDULE = "schedule"
    REQUEST = "request"


class Risk(StrEnum):
    """What a change may do to people who use the machine. A change has a set of them; none is the empty set."""

    DESTRUCTIVE = "destructive"
    REBOOT = "reboot"
    REINSTALL = "reinstall"
    ACCESS = "access"
    COST = "cost"


LOST = frozenset({Risk.DESTRUCTIVE, Risk.REINSTALL})
"""The risks that somebody has to answer for before anything begins."""


class _Missing:
    """No value at all, which is not null."""

    _one: "_Missing | None" = None

    def __new__(cls) -> "_Missing":
        if cls._one is None:
            cls._one = super().__new__(cls)
        return cls._one

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = _Missing()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field. `path` is RFC 6901 into the specification; `recorded`, `before` (observed) and `after` (desired) may be `MISSING`."""

    path: str
    recorded: object = MISSING
    before: object = MISSING
    after: object = MISSING
    causes: frozenset[Cause] = frozenset()
    diff: str = field(default="", compare=False)

    def stated(self) -> dict[str, object]:
        """What the change's digest covers: path and values; causes and the text of a diff are told, not approved."""
        values = {"recorded": self.recorded, "before": self.before, "after": self.after}
        return {"path": self.path} | {name: value for name, value in values.items() if value is not MISSING}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change to one resource.

    `desired_digest` names the specification to apply and record (`NOTHING` for deletes); `before_digest` and `after_digest` what must be observed
    before and after. `rules` are the ones to record, for a removed resource the recorded ones. `moved_from` is the old address of a move.
    `basis` stands for the record that the change was decided from: a plan whose basis is gone is superseded.
    `wave` is its place in the order of the plan; `depends_on` the changes of the same plan that come first.
    """

    address: str
    action: Action
    fields: tuple[FieldChange, ...]
    before_digest: str
    after_digest: str
    desired_digest: str
    rules: Rules
    group: str
    origin: Origin
    causes: frozenset[Cause] = frozenset()
    risk: frozenset[Risk] = frozenset()
    moved_from: str | None = None
    wave: int = 0
    depends_on: tuple[str, ...] = ()
    blind_spots: tuple[str, ...] = ()
    basis: str = ""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Address and group of where it is; of a move also of where it was. What holds for one of them holds for the change."""
        here = (self.address, self.group)
        return (here,) if self.moved_from is None else (here, (self.moved_from, host_of(self.moved_from)))

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.rules.tenant

    @property
    def path(self) -> str:
        """The file that it comes from."""
        return self.origin.path

    @cached_property
    def digest(self) -> str:
        """Covers addresses, action, fields, risk, rules, before, after and order: not causes, not origin."""
        return digest_parts(
            {
                "address": self.address,
                "movedFrom": self.moved_from,
                "action": self.action.value,
                "fields": _stated(self.fields),
                "risk": sorted(self.risk),
                "before": self.before_digest,
                "after": self.after_digest,
                "desired": self.desired_digest,
                "rules": self.rules.stated(),
                "order": {"wave": self.wave, "dependsOn": list(self.depends_on)},
            }
        )


_last: tuple[object, Raw] = ((), fragment([]))


def _stated(fields: tuple[FieldChange, ...]) -> Raw:
    """What digests cover of the fields. Changes that share their fields follow each other, so the last ones are remembered."""
    global _last  # noqa: PLW0603 - a memory of one, replaced as a whole
    last = _last
    if last[0] is not fields:
        last = _last = fields, fragment([item.stated() for item in fields])
    return last[1]


PLANNED = tuple(action for action in Action if action is not Action.CHECK)
"""The actions that a plan may have."""
WORLD = frozenset({Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE, Action.RUN, Action.MOVE})
"""The actions that touch the world; the others change the record alone."""

REMOVALS = frozenset({Action.DELETE, Action.FORGET})
"""The actions after which there is no record."""
