"""A run of changes that cost nothing, taken to its end by one worker: what is left is the journal's own cost. Run as a program: URL, steps, slots.

Prints one JSON object: seconds and CPU seconds from the first step taken to the end of the run, and steps.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from reconciler.apply.steps import laid_out
from reconciler.apply.worker import Terms, Worker
from reconciler.drivers.driver import Context, DriverInfo, Results, Step, Target
from reconciler.store.engine import Store
from reconciler.store.plans import save_plan
from reconciler.store.records import save_specs
from reconciler.store.runs import JournalRun, create_run, load_run
from reconciler.types.canonical import NOTHING, digest
from reconciler.types.change import Action, Change
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present
from reconciler.types.origin import Origin
from reconciler.types.outcome import Outcome, Status
from reconciler.types.plan import Plan
from reconciler.types.resource import Rules

TENANTS = 20
NOWHERE = Path("/nonexistent")


class Noop:
    """Things are there as soon as they are asked for."""

    info = DriverInfo(name="noop", version=1, kinds=(Kind(name="thing", order=0),), concurrency=1000)

    def __init__(self) -> None:
        self._there: dict[str, Any] = {}

    def resources(self, scope: Any, inputs: Any) -> Any:
        return iter(())

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        now = time.time()
        return {target.address: self._there.get(target.address) or Absent(at=now) for target in targets}

    def apply(self, step: Step, context: Context) -> Results:
        now = time.time()
        for work in step.work:
            desired = work.target.desired
            assert desired is not None
            self._there[work.target.address] = Present(spec=desired.spec, digest=desired.digest, at=now)
        return {work.target.address: Outcome(status=Status.DONE, observation=self._there[work.target.address]) for work in step.work}

    def poll(self, operation: str, context: Context) -> Results:
        return {}

    def list(self, context: Context) -> Any:
        return iter(())

    def diff(self, target: Target, context: Context) -> str:
        return ""


def plan(steps: int) -> tuple[Plan, list[dict[str, Any]]]:
    """So many creations, of tenants in turn."""
    specs = [{"number": number} for number in range(steps)]
    now = time.time()
    changes = tuple(
        Change(
            address=f"noop/thing/t{number % TENANTS:02d}/n{number:06d}",
            action=Action.CREATE,
            fields=(),
            before_digest=NOTHING,
            after_digest=digest(spec),
            desired_digest=digest(spec),
            rules=Rules(tenant=f"t{number % TENANTS:02d}"),
            group=f"host/t{number % TENANTS:02d}/n{number:06d}",
            origin=Origin(path="x.yaml", line=1, column=1),
        )
        for number, spec in enumerate(specs)
    )
    return Plan(source="bench", scope="", commit="c", base=None, created_at=now, expires_at=now + 3600, changes=changes), specs


def begin(store: Store, driver: Noop, steps: int) -> None:
    """Journal a run `bench` of so many creations."""
    made, specs = plan(steps)
    with store.write() as connection:
        save_specs(connection, specs)
        row = save_plan(connection, made, "nowhere")
    with store.write() as connection:
        run = JournalRun(id="bench", plan=row, source="bench", state="running", started_at=time.time(), ended_at=None, reason="")
        create_run(connection, run, laid_out(made.changes, {"noop": driver.info})[0])


def worker(store: Store, driver: Noop, here: str, slots: int) -> Worker:
    """Who takes it to its end."""

    def context(log: Any, checkpoint: Any) -> Context:
        def no(*_: Any) -> Any:
            raise KeyError

        return Context(deadline=0.0, scratch=NOWHERE, secret=no, export=no, content=no, log=log, checkpoint=checkpoint)

    return Worker(
        store=store, drivers={"noop": driver}, contexts=lambda plan: nullcontext(context), here=Path(here), terms=Terms(slots=slots)
    )


def over(store: Store) -> bool:
    """Whether it has ended."""
    with store.read() as connection:
        found = load_run(connection, "bench")
    return found is not None and found.ended_at is not None


def main(url: str, steps: int, slots: int) -> None:
    """See the module."""
    store, driver = Store(url), Noop()
    begin(store, driver, steps)
    with tempfile.TemporaryDirectory() as here:
        one = worker(store, driver, here, slots)
        with one.working():
            began, cpu = time.perf_counter(), time.process_time()
            one.work(lambda: over(store), "bench")
            seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    with store.read() as connection:
        assert connection.scalar("SELECT count(*) FROM item WHERE status = 'done'") == steps
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "steps": steps}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
