"""A plan as steps: which changes one driver call applies together, of one provider, and in which wave. Pure, so that a plan always gives the same steps."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from reconciler.drivers.driver import DriverInfo
from reconciler.store.runs import Item, JournalStep
from reconciler.types.change import WORLD, Action, Change
from reconciler.types.resource import parts

RECORD_BATCH = 1000
Entry: TypeAlias = tuple[int, str, str, str, str, int, Action]
"""Wave, driver, tenant, provider, address, the change's number in the plan, and what to do."""


def steps_of(changes: Sequence[Change], drivers: Mapping[str, DriverInfo]) -> list[JournalStep]:
    """Steps sorted by wave, each of one driver, tenant and provider. A replacement is two items: its delete, and its create one wave later; plan waves are
    doubled to make room."""
    entries = sorted(
        (wave, driver, parts(address)[2], change.rules.provider if driver else "", address, number, action)
        for number, change in enumerate(changes)
        for wave, driver, address, action in _entries(change)
    )
    steps: list[JournalStep] = []
    for (wave, driver, tenant, _), group in groupby(entries, key=itemgetter(0, 1, 2, 3)):
        size = drivers[driver].batch if driver else RECORD_BATCH
        for part in _chunks(list(group), size):
            items = tuple(Item(address=address, change=number, action=action) for *_, address, number, action in part)
            steps.append(JournalStep(seq=len(steps), wave=wave, driver=driver, tenant=tenant, items=items))
    return steps


def _entries(change: Change) -> list[tuple[int, str, str, Action]]:
    driver = parts(change.address)[0] if change.action in WORLD else ""
    if change.action is Action.REPLACE:
        return [
            (2 * change.wave, driver, change.address, Action.DELETE),
            (2 * change.wave + 1, driver, change.address, Action.CREATE),
        ]
    return [(2 * change.wave, driver, change.address, change.action)]


def _chunks(entries: list[Entry], size: int) -> list[list[Entry]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]
