"""Bounded fan-out over drivers: what the world looks like. Every target gets an observation; whatever goes wrong is `Unknown`, with its reason."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from threading import Semaphore

from reconciler.drivers.driver import Context, Driver, Target
from reconciler.errors import OctofleetError
from reconciler.stages import lend
from reconciler.types.observation import Observation, Unknown
from reconciler.types.resource import parts

MakeContext = Callable[[], Context]


def observe(
    drivers: Mapping[str, Driver], targets: Sequence[Target], context: MakeContext, told: Callable[[int], None] = lambda number: None
) -> dict[str, Observation]:
    """One observation for each target, by address. `told` hears how many targets each call answered."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only where something is looked at

    limits = {name: Semaphore(driver.info.concurrency) for name, driver in drivers.items()}
    found: dict[str, Observation] = {}

    def call(part: tuple[str, Sequence[Target]]) -> Mapping[str, Observation]:
        driver, batch = part
        with limits[driver]:
            return _observed(drivers[driver], batch, context())

    batches = list(_batches(drivers, targets))
    if len(batches) == 1:  # no thread for one call: starting it takes longer than many an answer
        found.update(call(batches[0]))
        told(len(found))
        return found
    workers = max(1, sum(driver.info.concurrency for driver in drivers.values()))
    with ThreadPoolExecutor(max_workers=workers, initializer=lend()) as pool:
        for answer in pool.map(call, batches):
            found.update(answer)
            told(len(answer))
    return found


def _batches(drivers: Mapping[str, Driver], targets: Sequence[Target]) -> Iterator[tuple[str, Sequence[Target]]]:
    def driver_of(target: Target) -> str:
        return parts(target.address)[0]

    for driver, group in groupby(sorted(targets, key=lambda target: target.address), key=driver_of):
        batch = list(group)
        size = drivers[driver].info.batch
        for start in range(0, len(batch), size):
            yield driver, batch[start : start + size]


def _observed(driver: Driver, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
    try:
        found = driver.observe(targets, context)
    except Exception as error:  # noqa: BLE001 - the boundary: whatever a driver raises, the resource is unknown
        text = error.message if isinstance(error, OctofleetError) else f"{type(error).__name__}: {error}"
        code = error.code if isinstance(error, OctofleetError) else "observe-failed"
        return {target.address: Unknown(code=code, reason=text, at=time.time()) for target in targets}
    missing = [target.address for target in targets if target.address not in found]
    unseen = Unknown(code="not-answered", reason=f"the driver {driver.info.name} gave no observation", at=time.time())
    return {**found, **dict.fromkeys(missing, unseen)}
