"""Whatever happened before: after prune, plans, applies, status and the logs and plans that are kept are what they would be without it."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import OctofleetError
from reconciler.settings import Retention
from reconciler.store.archive import load_log
from reconciler.store.observations import load_observations, open_addresses
from reconciler.store.plans import load_plan, newest_deferred
from reconciler.store.records import sources
from reconciler.store.retention import DAY_S, prune
from reconciler.store.runs import list_runs, load_steps, open_runs
from reconciler.types.request import Request
from tests.desired.test_incremental import POLICY
from tests.fleets import Chosen
from tests.planning.histories import Site, close
from tests.planning.test_equivalence import REQUESTS, STEPS, do, site

DAYS = st.sampled_from([0, 1, 8, 40, 400])
KEPT = st.builds(
    Retention, runs_days=st.sampled_from([0, 5, 365]), plans_days=st.sampled_from([0, 5, 30]), log_days=st.sampled_from([0, 7])
)


def older(made: Site, days: float) -> None:
    """As if everything had happened so long before."""
    with made.installation.store.write() as connection:
        for table, columns in {"plan": ("created_at", "expires_at"), "run": ("started_at", "ended_at"), "log": ("at",)}.items():
            changes = ", ".join(f"{column} = {column} - ?" for column in columns)
            connection.run(f"UPDATE {table} SET {changes}", (days * DAY_S,) * len(columns))


@contextmanager
def copy(made: Site, into: str) -> Iterator[Chosen]:
    """The installation as it is, index included, in a directory of its own."""
    made.restart()
    place = made.data.with_name(into)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made.data, place)
    found = made.installed(place)
    try:
        yield found
    finally:
        close(found)


def status(found: Chosen) -> Any:
    """What `octofleet status` asks."""
    with found.store.read() as connection:
        known = [dict(item) for item in sources(connection)]
        names = [(str(item["name"]), str(item["commit"])) for item in known]
        seen = {name: sorted(load_observations(connection, open_addresses(connection, name)).items()) for name, _ in names}
        deferred = {name: newest_deferred(connection, name, commit) for name, commit in names}
        return known, seen, deferred, open_runs(connection)


def kept(found: Chosen, plans: list[int], runs: list[str]) -> Any:
    """Everything about some plans and runs."""
    with found.store.read() as connection:
        return [load_plan(connection, row) for row in plans], [
            (load_steps(connection, run), load_log(found.store, found.blobs, run)) for run in runs
        ]


def goes_on(made: Site, found: Chosen, request: Request) -> Any:
    """A plan, what comes of applying it, and the plan after that."""
    told = [made.told(request, found)]
    site_of = Site(history=made.history, data=found.data_dir, version=made.version, at_most=made.at_most, opened=[found])
    try:
        site_of.apply(request)
    except OctofleetError as error:
        told.append((type(error).__name__, error.message))
    return [*told, made.told(Request(), found)]


def same_when_pruned(made: Site, keep: Retention, request: Request) -> None:
    """Two copies, one of them pruned, tell and do the same."""
    with copy(made, "whole") as whole, copy(made, "pruned") as pruned:
        assert whole.key and (whole.data_dir / "key").read_bytes() == (pruned.data_dir / "key").read_bytes()
        would = prune(pruned.store, pruned.blobs, keep, time.time(), dry_run=True)
        assert prune(pruned.store, pruned.blobs, keep, time.time()) == would
        assert status(pruned) == status(whole)
        with pruned.store.read() as connection:
            plans = [row for (row,) in connection.rows('SELECT "row" FROM plan ORDER BY "row"')]
            runs = [run.id for run in list_runs(connection)]
        assert kept(pruned, plans, runs) == kept(whole, plans, runs)
        assert goes_on(made, pruned, request) == goes_on(made, whole, request)


@settings(max_examples=int(os.environ.get("EXAMPLES", "25")), deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(steps=st.lists(st.tuples(STEPS, DAYS), min_size=3, max_size=10), keep=KEPT, request=REQUESTS, pruned=st.booleans())
def test_any_history(steps: list[tuple[tuple[str, Any], float]], keep: Retention, request: dict[str, Any], pruned: bool) -> None:
    """With `pruned`, the history itself is pruned on the way."""
    with site() as made:
        made.apply(Request())
        assert made.installation.key
        for (what, how), days in steps:
            do(made, what, how)
            made.told(Request())
            older(made, days)
            if pruned:
                prune(made.installation.store, made.installation.blobs, keep, time.time())
        same_when_pruned(made, keep, Request(**request))


def test_a_year_of_a_fleet_does_prune(tmp_path: Path) -> None:
    """So that the property above is not about nothing."""
    with site() as made:
        made.apply(Request())
        do(made, "commit", [("policy.yaml", POLICY.replace("< 5", "< 9"))])
        do(made, "apply", "")
        for round in range(4):
            do(made, "commit", [("fleet.yaml", str(made.history.files["fleet.yaml"]).replace("curl", f"curl{round}"))])
            do(made, "apply", "")
            older(made, 150)
        same_when_pruned(made, Retention(), Request())
        found = prune(made.installation.store, made.installation.blobs, Retention(), time.time())
        assert found.runs and found.plans and found.specs and found.logs, json.dumps(repr(found))
