"""The subject `plan`: plans of seeded fleets with the real command, each in a process of its own, and in one that stays."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import bars, fleets, floors, peers
from bench.bars import COLD, FIRST, LAYOUT_ROWS, NOTHING, ONE, ONE_COMMAND, ONE_P99, PROFILE
from bench.measure import Cost, Machine, Row, middle
from bench.results import Found, Options, told

NAME, TITLE = "plan", "Plans"
BEGINNINGS = ("cold plan", "warm plan", "plan of ", "memory, ", "growth, ")
SIZES = (1_000, 10_000, 100_000)
PEER_SIZES = (1_000, 10_000)
NOTE = """Seeded fleets, the same in every run: one file for each host in nested folders (site, rack), files of 500 hosts, or one flat folder.
20 tenants, 21 profiles (all extend one), 40 roles, a network for each 250 hosts; a host has four resources (register, iPXE, GRUB, preseed) and
more than 30 resolved values. What was applied and last seen is on record, except for *nothing recorded*. *Cold*: a new process, without the
index of an earlier plan. *Warm*: that index is there. *Command line*: a new process; *warm process*: one that stays (p50 and p99 of 200
commits that it never saw). Files are in the page cache, imports are compiled. Runs of a few seconds are repeated, and the median is told;
peak memory is the highest, with that of worker processes and Git added. A ratio is of CPU seconds, for a warm process of seconds, for memory
of MiB; rows of growth and memory repeat the figures of the row that they are about."""

FINDINGS = """A cold plan of 100,000 hosts (290 microseconds a host, two cores busy): parsing takes about 105 of them, of which libyaml and the events that
it hands to Python are 45, the constructor 30, the schema 10; resolving 20; making and digesting four resources and comparing them with the record 70;
reading back what was parsed 15; writing the index 40; walking and reading Git 15. The floor does the first and last of these in compiled code
and none of the others. `octofleet plan --timings` shows the same by stage.

A change of the profile of all hosts (110 microseconds a host): 100,000 changes are what the plan consists of, and each has a digest, a basis and a row of its
own. Finding the hosts and their records takes 30, the new specification and its digest 25, the change and its digest 25, order and guards 8, storing 25.
No host is parsed, resolved or looked at. Storing what all changes share once, instead of in each, is what is left to do.

A plan of one file in a process that stays (4 to 5 ms): comparing the trees and parsing is 0.6 of it, looking at the host's file 0.9, the store's and the
index's 50 small queries 1.0, resolving and deciding 0.8, storing the plan 0.6 (a commit of SQLite), the rest is Python between them.

Memory: 45 MiB are the interpreter and its modules, 20 to 40 the page caches of two SQLite files, 300 bytes a host the list of files, and
while files are parsed on two cores two processes of 29 MiB are counted. A first plan holds all its changes: four for each host."""
CHANGED, NO_CHANGE = 2, 0
READ, IMPORTS = f"floor: {floors.READ}", f"floor: {floors.IMPORTS}"


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of fleet on this machine. `rows` grows."""

    machine: Machine
    hosts: int
    options: Options
    rows: list[Row] = field(default_factory=list)

    def all_rows(self) -> list[Row]:
        """Generate, seed, measure."""
        nested = self._made("nested")
        read, imports = self._floor("read", nested), self._floor("imports", nested)
        self._first(nested, read)
        self.machine.python("-m", "bench.seed", self._data, nested, str(self.hosts))
        self._row(COLD, self._cold(nested), read, READ)
        self._row(NOTHING, self._again(lambda turn: self._plan(nested, "main~1", NO_CHANGE)), imports, IMPORTS)
        last = fleets.edits(self.hosts) - 1  # the first ones are for the warm process
        one = self._again(lambda turn: self._plan(nested, f"edit-{last - turn:03d}", CHANGED), lambda: self._back(nested))
        self._row(ONE_COMMAND, one, imports, IMPORTS)
        profile = self._again(lambda turn: self._plan(nested, "profile", CHANGED), lambda: self._back(nested))
        self._row(PROFILE, profile, read, READ)
        self._warm(nested)
        shutil.rmtree(nested)
        for layout in fleets.LAYOUTS[1:]:
            repository = self._made(layout)
            self.machine.python("-m", "bench.seed", self._data, repository, str(self.hosts), "--source")
            self._row(LAYOUT_ROWS[layout], self._cold(repository), self._floor("read", repository), READ)
            shutil.rmtree(repository)
        shutil.rmtree(self._data)
        return self.rows

    @property
    def _data(self) -> Path:
        return self.machine.directory / f"data-{self.hosts}"

    def _made(self, layout: str) -> Path:
        return fleets.make(self.hosts, self.machine.directory / f"{layout.replace(' ', '-')}-{self.hosts}.git", layout)

    def _floor(self, which: str, repository: Path) -> Cost:
        return self._again(lambda turn: self.machine.python("-m", "bench.floors", which, repository))

    def _plan(self, repository: Path, rev: str, expected: int, data: Path | None = None) -> Cost:
        command = ("-m", "reconciler.cli", "plan", "--repo", repository, "--rev", rev)
        return self.machine.python(*command, more={"OCTOFLEET_DATA_DIR": str(data or self._data)}, expected=(expected,))

    def _back(self, repository: Path) -> None:
        """Let the last plan be of what is applied."""
        self._plan(repository, "main~1", NO_CHANGE)

    def _cold(self, repository: Path) -> Cost:
        return self._again(
            lambda turn: self._plan(repository, "main~1", NO_CHANGE),
            lambda: shutil.rmtree(self._data / "index", ignore_errors=True),
        )

    def _first(self, repository: Path, read: Cost) -> None:
        empty = self.machine.directory / f"empty-{self.hosts}"
        gone = lambda: shutil.rmtree(empty, ignore_errors=True)  # noqa: E731 - a word for what is done twice
        self._row(FIRST, self._again(lambda turn: self._plan(repository, "main~1", CHANGED, empty), gone), read, READ)
        gone()

    def _again(self, run: Callable[[int], Cost], prepare: Callable[[], object] = lambda: None) -> Cost:
        """The median of up to five runs, as long as they take little time."""
        costs: list[Cost] = []
        while len(costs) < 5 and sum(cost.seconds for cost in costs) < self.options.repeat_s:
            prepare()
            costs.append(run(len(costs)))
        return middle(costs)

    def _warm(self, repository: Path) -> None:
        self._back(repository)
        cost = self.machine.python("-m", "bench.warm", self._data, repository, "200", str(self.options.warm_s))
        found = json.loads(cost.out.splitlines()[-1])
        least = json.loads(self.machine.python("-m", "bench.floors", "one", repository).out)["p50_s"]
        workers = max(0.0, cost.peak_mib - found["peak_mib"])
        for name, seconds in ((ONE, found["p50_s"]), (ONE_P99, found["p99_s"])):
            took = Cost(seconds=seconds, cpu_s=found["cpu_s"], peak_mib=found["peak_mib"] + workers)
            floor, what = replace(took, seconds=least, cpu_s=least), f"floor: {floors.ONE}"
            self._row(name, took, floor, what, ratio=seconds / least)

    def _row(self, name: str, took: Cost, floor: Cost, what: str, ratio: float | None = None) -> None:
        row = Row(
            name=name,
            hosts=self.hosts,
            seconds=took.seconds,
            cpu_s=took.cpu_s,
            peak_mib=took.peak_mib,
            floor=floor.cpu_s,
            ratio=took.cpu_s / floor.cpu_s if ratio is None else ratio,
            against=what,
        )
        self.rows.append(told(bars.judged(row)))


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    sizes = options.hosts or SIZES
    rows, met, skipped = [], [], []
    for hosts in sizes:
        print(f"a fleet of {hosts:,} hosts", flush=True)
        rows += Size(machine=machine, hosts=hosts, options=options).all_rows()
        if options.peers and hosts in PEER_SIZES:
            cold = next(row for row in rows if row.name == COLD and row.hosts == hosts)
            for peer in peers.PEERS:
                found = peers.measure(peer, machine, hosts)
                if isinstance(found, str):
                    print(f"  skipped: {found}", flush=True)
                    skipped.append(found)
                else:
                    met.append(found)
                    rows.append(told(bars.against(peer, found, cold)))
    rows += map(told, _across(rows, sizes))
    return Found(rows=rows, peers=met, skipped=sorted(set(skipped)))


def _across(rows: Sequence[Row], sizes: Sequence[int]) -> Iterator[Row]:
    """Rows that are made of others."""
    own = [row for row in rows if " against " not in row.name]
    for hosts in sizes:
        yield from bars.memory(own, hosts)
    if len(sizes) > 1 and sizes[-1] == 10 * sizes[-2]:
        yield from bars.growth(own, sizes[-2], sizes[-1])
