"""A process that goes on by itself: works on runs, and follows repositories if it serves. Stops in order when it is told to.

Its parts are threads: the worker's steps and heartbeat, the loop, the alerts, and what has the worker take up work: itself, or with PostgreSQL the queue.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread

from reconciler.alerting import Alerts
from reconciler.apply.watched import Reach
from reconciler.apply.worker import Worker
from reconciler.drifting import Drifting
from reconciler.errors import OctofleetError
from reconciler.loop import Loop
from reconciler.plugins import Part, Serves, load_parts
from reconciler.sampling import Sampling
from reconciler.settings import Followed
from reconciler.store.engine import Unavailable
from reconciler.wiring import Installation
from reconciler.working import worker


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The parts of a process that serves; `loop` is None in one that only works, and `parts` are those of plugins."""

    installation: Installation
    worker: Worker
    loop: Loop | None
    parts: Sequence[Part] = ()


@contextmanager
def serving(installation: Installation, role: str, repositories: Sequence[Followed], told: Callable[[], bool]) -> Iterator[Serving]:
    """While it is open, this process works, and follows these repositories. It begins when the database is there, unless it is `told` to stop: then
    `Unavailable` is raised. At the end nothing new begins, and what has begun is waited for as long
    as the setting `apply.stop_s` says; then others go on with it."""
    stop = Event()
    _wait_for_database(installation, told)
    with worker(installation, role) as one:
        work, wake = _taking(installation, one, stop)
        loop = Loop(installation, repositories, one.id, wake, one.reach) if repositories else None
        threads = [Thread(target=_told(work, one), name="work", daemon=True)]
        parts: list[Part] = []
        if loop is not None:
            threads.append(Thread(target=loop.run, args=(stop,), name="loop", daemon=True))
            alerts = Alerts(installation=installation, worker=one.id)
            threads.append(Thread(target=alerts.run, args=(stop,), name="alerts", daemon=True))
            threads.append(Thread(target=Drifting(installation.apart(), repositories).run, args=(stop,), name="drift", daemon=True))
            threads.append(Thread(target=Sampling(installation).run, args=(stop,), name="samples", daemon=True))
            parts = load_parts(Serves(installation=installation.apart(), repositories=repositories, worker=one.id, wake=wake))
            threads += [Thread(target=_told(partial(part.work, stop), one), name=part.name, daemon=True) for part in parts if part.work]
        for thread in threads:
            thread.start()
        try:
            yield Serving(installation=installation, worker=one, loop=loop, parts=parts)
        finally:
            one.stop()
            stop.set()
            one.finish(installation.settings.apply.stop_s)
            wake()
            for thread in threads:
                thread.join(5)


def _told(work: Callable[[], None], one: Worker) -> Callable[[], None]:
    """The work of a thread; what ends it before its time is the worker's trouble, which ends the process."""

    def working() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            internal = OctofleetError(f"internal error: {type(error).__name__}: {error}", code="internal")
            one.trouble = one.trouble or (error if isinstance(error, OctofleetError) else internal)

    return working


def _wait_for_database(installation: Installation, told: Callable[[], bool]) -> None:
    reach = Reach()
    while True:
        try:
            with installation.store.write(alone=False):
                break
        except Unavailable as error:
            if told():
                raise
            reach.away(error)
            time.sleep(1)
    reach.back()


def _taking(installation: Installation, one: Worker, stop: Event) -> tuple[Callable[[], None], Callable[[], None]]:
    """What has the worker take up work, as a thread's work, and what wakes it."""
    if not installation.store.url.startswith("postgres"):
        return lambda: one.work(stop.is_set), one.wake
    from reconciler.jobs import Jobs  # noqa: PLC0415 - an optional extra

    jobs = Jobs(installation.store, one)
    return lambda: jobs.run(stop), jobs.wake
