"""What changes read as, so that those that read the same are told once."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from reconciler.types.canonical import pack
from reconciler.types.change import MISSING, Cause, Change
from reconciler.types.resource import parts

Read = tuple[object, ...]


class Reads:
    """Tells what reads the same. Fields that changes share are looked at once, so the changes must outlive this."""

    def __init__(self) -> None:
        self._fields: dict[int, bytes] = {}

    def manifest(self, group: str, changes: Sequence[Change]) -> Read:
        """Equal for manifests whose changes read the same, but for the manifest's own name."""
        return (group.partition("/")[0], *(self.change(change) for change in changes))

    def change(self, change: Change) -> Read:
        """Equal for two changes that read the same, but for the name of their manifests."""
        known = self._fields.get(id(change.fields))
        if known is None:
            stated = [(item.path, _plain(item.before), _plain(item.after), _names(item.causes)) for item in change.fields]
            known = self._fields[id(change.fields)] = pack(stated)
        driver, kind, _, resource = parts(change.address)
        own = resource.removeprefix(change.group.rpartition("/")[2])
        return driver, kind, own, change.action, change.risk, change.causes, known, change.blind_spots


@cache
def _names(causes: frozenset[Cause]) -> list[str]:
    return sorted(causes)


def _plain(value: object) -> Any:
    return {"$missing": True} if value is MISSING else value
