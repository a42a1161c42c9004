"""Pages for `bench.pages`, each part a process of its own: `fill DATA REPOSITORY HOSTS` adds to a seeded fleet what pages show, `serve DATA` answers.

`fill` compares the fleet's records with its commit once, as each plan does with what has changed since, and leaves a plan of as many changes as hosts, of
every twentieth host something that has drifted, and `RUNS` runs that have ended; prints the plan's id.
`serve` prints one JSON object: its port, and what its picture of the fleet took (seconds, CPU seconds, MiB, CPU seconds of reading its rows and nothing more);
it ends with its stdin. At `/bare/N` the same server sends N bytes and does nothing else.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path

from aiohttp import web

from bench.fleets import tenant_of
from bench.judged import changes
from bench.measure import rss_mib
from bench.noop import Noop, plan
from bench.seed import SOURCE
from bench.streamed import TERMS, reader
from reconciler.apply.steps import laid_out
from reconciler.planning import compiled
from reconciler.reading.watch import watch
from reconciler.server.answer import Doors
from reconciler.server.app import listening
from reconciler.server.routes import ROUTES
from reconciler.server.site import Site
from reconciler.server.threads import Threads
from reconciler.store.engine import Store
from reconciler.store.observations import save_observations
from reconciler.store.plans import save_plan
from reconciler.store.records import load_records, load_specs, records_of, save_specs
from reconciler.store.runs import JournalRun, create_run, end_run
from reconciler.types.canonical import digest
from reconciler.types.observation import Present
from reconciler.types.plan import Plan
from reconciler.wiring import open_installation

DRIFTED_OF, GROUPS, RUNS, STEPS = 20, 1_000, 60, 500


def fill(data: str, location: str, hosts: int) -> None:
    """See the module."""
    installation = open_installation(Path(data))
    repository, now = installation.repository(location), time.time()
    compiled(installation, repository, repository.commit("main~1"))
    _drift(installation.store, hosts, now)
    _runs(installation.store, now)
    made = Plan(
        source=SOURCE,
        scope="",
        commit="c" * 40,
        base="b" * 40,
        created_at=now,
        expires_at=now + 86_400,
        changes=tuple(changes(hosts, GROUPS)),
        hosts=hosts,
    )
    with installation.store.write() as connection:
        save_plan(connection, made, "nowhere")
    installation.close()
    print(made.id)


def _drift(store: Store, hosts: int, now: float) -> None:
    with store.write() as connection:
        groups = [f"host/{tenant_of(number)}/h{number:06d}" for number in range(0, hosts, DRIFTED_OF)]
        found = records_of(connection, SOURCE, groups)
        records = load_records(
            connection, sorted(min(address for address, *_ in found[group] if address.startswith("boot/")) for group in groups)
        )
        specs = load_specs(connection, (record.digest for record in records.values()))
        seen = {}
        for address, record in records.items():
            spec = {**specs[record.digest], "values": {"timezone": "Etc/GMT+1", "packages": ["telnetd"]}}
            seen[address] = Present(spec=spec, digest=digest(spec), at=now)
        save_observations(connection, seen, dict.fromkeys(seen, False))


def _runs(store: Store, now: float) -> None:
    made, specs = plan(STEPS)
    steps = laid_out(made.changes, {"noop": Noop.info})[0]
    with store.write() as connection:
        save_specs(connection, specs)
        row = save_plan(connection, made, "nowhere")
        for number in range(RUNS):
            began = now - 60 * number
            run = JournalRun(id=f"{number:08x}", plan=row, source=SOURCE, state="running", started_at=began, ended_at=None, reason="")
            create_run(connection, run, steps)
            end_run(connection, run.id, "done", began + 30)


def serve(data: str) -> None:
    """See the module."""
    installation = open_installation(Path(data))
    before_mib, began, cpu = rss_mib(), time.perf_counter(), time.process_time()
    watch(installation).look()
    said = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "mib": rss_mib() - before_mib}
    app = web.Application()
    app.router.add_get("/bare/{bytes}", _bare)
    site = Site(
        installation, ROUTES, Doors(by_session=lambda *_: reader("bench"), by_token=lambda *_: reader("bench")), Threads(installation)
    )
    site.add_to(app)
    with listening(app, "127.0.0.1", 0, TERMS) as port:
        print(json.dumps({"port": port, "picture": said | {"floor_s": _floor(data)}}), flush=True)
        sys.stdin.read()
    site.close()
    installation.close()


async def _bare(request: web.Request) -> web.Response:
    return web.Response(body=b"x" * int(request.match_info["bytes"]))


def _floor(data: str) -> float:
    """Reads what the picture is made of, and nothing more."""
    database, began = sqlite3.connect(Path(data) / "octofleet.db"), time.process_time()
    for _ in database.execute('SELECT address, source, "group" FROM record'):
        pass
    return time.process_time() - began


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        serve(sys.argv[2])
