"""The order of changes: dependencies and kinds forward, then removals in reverse, as numbered waves. Changes of one wave do not wait for each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from reconciler.errors import Refused
from reconciler.types.change import REMOVALS, Change


def ordered(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes with their wave and in-plan dependencies, sorted by wave and address. Raises `Refused` on a cycle."""
    forward = [change for change in changes if change.action not in REMOVALS]
    removed = [change for change in changes if change.action in REMOVALS]
    needs, needed = _needs(forward), _needs(removed)
    waves = _waves(forward, needs)
    removal = _waves(removed, needed)
    last = max(waves.values(), default=-1) + 1 + max(removal.values(), default=0)
    waves.update((address, last - level) for address, level in removal.items())
    needs.update(_reversed(needed))
    placed = [_placed(change, waves[change.address], tuple(sorted(needs[change.address]))) for change in changes]
    return tuple(sorted(placed, key=_place))


def _placed(change: Change, wave: int, needs: tuple[str, ...]) -> Change:
    return change if change.wave == wave and change.depends_on == needs else replace(change, wave=wave, depends_on=needs)


def _place(change: Change) -> tuple[int, str]:
    return change.wave, change.address


def _needs(changes: Iterable[Change]) -> dict[str, list[str]]:
    """For each address, the dependencies that are changed too."""
    here = {change.address: change for change in changes}
    return {address: [item.address for item in change.rules.depends_on if item.address in here] for address, change in here.items()}


def _reversed(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {address: [] for address in needs}
    for address, targets in needs.items():
        for target in targets:
            result[target].append(address)
    return result


def _waves(changes: Sequence[Change], needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """A number for each address: after every dependency, and kinds of a lower order first."""
    own = {change.address: change.rules.order for change in changes}
    bound = {address: targets for address, targets in needs.items() if targets}
    place = {address: (order, 0) for address, order in own.items() if address not in bound}
    try:
        for address in TopologicalSorter(bound).static_order():
            if address in place:
                continue
            before = [place[target] for target in needs[address]]
            order = max((own[address], *(item[0] for item in before)))
            level = max((item[1] + 1 for item in before if item[0] == order), default=0)
            place[address] = (order, level)
    except CycleError as error:
        names = " -> ".join(error.args[1])
        raise Refused(
            f"resources depend on each other in a circle: {names}", hint="remove one of these dependencies", code="cycle"
        ) from error
    number = {key: index for index, key in enumerate(sorted(set(place.values())))}
    return {address: number[key] for address, key in place.items()}
