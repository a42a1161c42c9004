"""The many steps of one tenant do not keep another waiting."""

from pathlib import Path

import pytest

from reconciler.store.engine import Store, sqlite_url
from reconciler.store.journal import Ended, Lease, write
from reconciler.store.leases import Room, WorkerRow, beat, claim
from reconciler.store.plans import save_plan
from reconciler.store.runs import Item, JournalRun, JournalStep, create_run
from reconciler.types.change import Action
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan

BIG, SMALL = 5000, 5


@pytest.mark.parametrize("slots", [1, 4, 50])
@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("limit", [None, 1])
def test_a_small_tenant_is_finished_within_few_claims(tmp_path: Path, slots: int, runs: int, limit: int | None) -> None:
    store = Store(sqlite_url(tmp_path))
    owners = ["big"] * BIG + ["small"] * SMALL
    steps = [
        JournalStep(seq=n, wave=0, driver="d", tenant=of, items=(Item(address=f"d/k/{of}/{n}", change=n, action=Action.CREATE),))
        for n, of in enumerate(owners)
    ]
    with store.write() as connection:
        beat(connection, WorkerRow(id="w", name="w", role="apply", version="", started_at=0.0, until=connection.now() + 1e6))
        row = save_plan(
            connection, Plan(source="f", scope="", commit="c", base=None, created_at=0.0, expires_at=0.0, changes=()), "nowhere"
        )
        parts = [steps] if runs == 1 else [steps[:BIG], steps[BIG:]]
        for number, part in enumerate(parts):
            run = JournalRun(id=f"run-{number}", plan=row, source="f", state="running", started_at=0.0, ended_at=None, reason="")
            create_run(connection, run, part)
    room = Room(slots=slots, drivers={"d": slots}, tenant_limit=limit)
    claims, left = 0, SMALL
    while left:
        claims += 1
        with store.write() as connection:
            taken = [(of, step) for of, found in claim(connection, "w", room).items() for step in found]
            assert taken, "there is always something to take"
            write(
                connection,
                [
                    Ended(lease=Lease(run=of, step=s.seq, fence=s.fence), statuses={s.items[0].address: (Status.DONE, "")})
                    for of, s in taken
                ],
            )
        left -= sum(step.tenant == "small" for _, step in taken)
        assert claims <= 2 * SMALL, f"{left} are left after {claims} claims"
    store.close()
