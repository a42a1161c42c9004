"""A plan as steps: which changes one driver call applies together, of one provider, and in which order. Pure, so that a plan always gives the same steps.

Steps of one wave do not wait for each other. Without phases waves are the plan's. With phases a tenant's changes are parted:

    first   what is Octofleet's own, and whatever a change of a rollout needs
    then    each track of a rollout, phase by phase; and beside them all that is in no rollout
    last    what needs changes of a rollout
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from reconciler.drivers.driver import DriverInfo
from reconciler.gate.rollout import is_rolled_out
from reconciler.store.phases import PhaseRow
from reconciler.store.runs import Item, JournalStep
from reconciler.types.change import REMOVALS, WORLD, Action, Change
from reconciler.types.plan import Phase
from reconciler.types.resource import parts

RECORD_BATCH = 1000
FIRST, THEN, LAST = 0, 1, 2
NO_TRACK = -1
NEVER = 1_000_000_000
"""More hosts than can fail."""


class Place(NamedTuple):
    """When a change goes out. `track` counts the tracks of all tenants, `NO_TRACK` for none; `phase` within it."""

    section: int
    track: int = NO_TRACK
    phase: int = 0


class Rank(NamedTuple):
    """What makes a wave of a run; they sort in their order."""

    section: int
    track: int
    phase: int
    wave: int


Entry: TypeAlias = tuple[Rank, str, str, str, str, int, Action]
"""Rank, driver, tenant, provider, address, the change's number in the plan, and what to do."""


def laid_out(
    changes: Sequence[Change], drivers: Mapping[str, DriverInfo], phases: Sequence[Phase] = ()
) -> tuple[list[JournalStep], list[PhaseRow]]:
    """Steps sorted by wave, each of one driver, tenant and provider; and the phases, with the waves that each is made of. A replacement is two items: its
    delete, and its create one wave later; plan waves are doubled to make room."""
    places = _places(changes, phases) if phases else dict.fromkeys((change.address for change in changes), Place(THEN))
    checks = _checks(phases)
    entries = sorted(
        (rank, driver, parts(address)[2], change.rules.provider if driver else "", address, number, action)
        for number, change in enumerate(changes)
        for rank, driver, address, action in _entries(change, places[change.address], checks)
    )
    waves = _numbered(sorted({rank for rank, *_ in entries}), keep=not phases)
    steps: list[JournalStep] = []
    for (rank, driver, tenant, _), group in groupby(entries, key=itemgetter(0, 1, 2, 3)):
        size = drivers[driver].batch if driver else RECORD_BATCH
        for part in _chunks(list(group), size):
            items = tuple(Item(address=address, change=number, action=action) for *_, address, number, action in part)
            steps.append(JournalStep(seq=len(steps), wave=waves[rank], driver=driver, tenant=tenant, items=items))
    return steps, list(_rows(phases, waves, places, steps))


def _numbered(ranks: Sequence[Rank], *, keep: bool) -> dict[Rank, int]:
    return {rank: rank.wave if keep else number for number, rank in enumerate(ranks)}


def _entries(change: Change, place: Place, checks: Mapping[tuple[int, int], int]) -> Iterator[tuple[Rank, str, str, Action]]:
    driver = parts(change.address)[0] if change.action in WORLD else ""
    if change.action is Action.REPLACE:
        yield Rank(*place, 2 * change.wave), driver, change.address, Action.DELETE
        yield Rank(*place, 2 * change.wave + 1), driver, change.address, Action.CREATE
    else:
        yield Rank(*place, 2 * change.wave), driver, change.address, change.action
    check = checks.get((place.track, place.phase))
    if check is not None and change.action not in REMOVALS:
        yield Rank(place.section, place.track, check, 0), driver, change.address, Action.CHECK


def _checks(phases: Sequence[Phase]) -> dict[tuple[int, int], int]:
    """By track and phase, the phase that looks at what that one has changed."""
    tracks = enumerate(_tracks(phases))
    return {(track, one.number): two.number for track, of_track in tracks for one, two in pairwise(of_track) if two.check}


def _tracks(phases: Sequence[Phase]) -> list[list[Phase]]:
    return [list(group) for _, group in groupby(phases, key=lambda phase: (phase.tenant, phase.track))]


def _rows(
    phases: Sequence[Phase], waves: Mapping[Rank, int], places: Mapping[str, Place], steps: Sequence[JournalStep]
) -> Iterator[PhaseRow]:
    """Phases that have a step; what is in no rollout goes out beside them as if it were one of a single phase."""
    beside: dict[str, list[int]] = {}
    for step in steps if phases else ():
        if places[step.items[0].address] == Place(THEN):
            beside.setdefault(step.tenant, []).append(step.wave)
    for tenant, mine in beside.items():
        yield PhaseRow(
            tenant=tenant, track="", number=0, title="in no rollout", first_wave=min(mine), last_wave=max(mine), hosts=0, max_failures=NEVER
        )
    for track, of_track in enumerate(_tracks(phases)):
        for phase in of_track:
            mine = [wave for rank, wave in waves.items() if (rank.track, rank.phase) == (track, phase.number)]
            if mine:
                yield PhaseRow(
                    tenant=phase.tenant,
                    track=phase.track,
                    number=phase.number,
                    title=phase.title,
                    first_wave=min(mine),
                    last_wave=max(mine),
                    hosts=len(phase.groups),
                    soak_s=phase.soak_s,
                    promote=phase.promote,
                    max_failures=phase.max_failures,
                    on_stop=phase.on_stop,
                    wait_s=phase.wait_s,
                )


@dataclass(frozen=True)
class _Placing:
    changes: Mapping[str, Change]
    of_group: Mapping[str, Place]
    places: dict[str, Place]

    def own(self, change: Change) -> Place | None:
        """The place that its host's rollout gives a change."""
        return self.of_group.get(change.group) if is_rolled_out(change) else None

    def early(self, change: Change) -> None:
        """Have what a change of a rollout needs go out no later than it does."""
        mine = self.places.get(change.address) or self.own(change)
        if mine is None:
            return
        self.places[change.address] = mine
        for where in change.depends_on:
            theirs = self.places.get(where) or self.own(self.changes[where])
            same = theirs is not None and (theirs.section, theirs.track) == (mine.section, mine.track)
            self.places[where] = min(theirs, mine) if same and theirs is not None else Place(FIRST)

    def late(self, change: Change) -> None:
        """Have what no rollout has a say in go out first, beside the rollouts, or after what it needs."""
        if change.address in self.places:
            return
        needs = [self.places[where] for where in change.depends_on]
        if any(place.section == LAST or place.track != NO_TRACK for place in needs):
            self.places[change.address] = Place(LAST)
        elif change.address.startswith("fleet/") and all(place.section == FIRST for place in needs):
            self.places[change.address] = Place(FIRST)
        else:
            self.places[change.address] = Place(THEN)


def _places(changes: Sequence[Change], phases: Sequence[Phase]) -> dict[str, Place]:
    """The place of each change. `changes` come in the order of their waves: what a change needs is before it."""
    of_group = {
        group: Place(THEN, track, phase.number)
        for track, of_track in enumerate(_tracks(phases))
        for phase in of_track
        if not phase.check
        for group in phase.groups
    }
    placing = _Placing({change.address: change for change in changes}, of_group, {})
    for change in reversed(changes):
        placing.early(change)
    for change in changes:
        placing.late(change)
    return placing.places


def _chunks(entries: list[Entry], size: int) -> list[list[Entry]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]
