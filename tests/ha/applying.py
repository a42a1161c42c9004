"""The other half of `make ha`: an apply of thousands of simulated hosts by three `octofleet serve` and two `octofleet worker`, of which one each is
killed in the middle, and the database's primary too.

Every change has to end once and done; what the database has acknowledged once has to stay; nothing is repeated but by a worker that took a step
over, and that one looks first.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

import psycopg

from reconciler.drivers.memory import Fault
from tests.fleets import fleet, host, octofleet, repo
from tests.ha.kept import until
from tests.ha.place import Place
from tests.ha.replicas import OCTOFLEET, Replica
from tests.ha.scenario import Figure, Say
from tests.ha.topology import Cluster

WITHIN_S = 600.0
SLOW_S = 30.0
SLOTS = 2
"""So few that the work of even a small fleet is spread over all processes."""


def applying(cluster: Cluster, say: Say, hosts: int) -> tuple[Figure, ...]:
    """Apply a fleet of so many hosts while parts of the installation die."""
    place = _Place(cluster, hosts)
    began = time.monotonic()
    with ExitStack() as stack:
        replicas = {name: stack.enter_context(place.replica(name, kind)) for name, kind in PROCESSES.items()}
        stack.enter_context(place.telling(replicas))
        until(lambda: place.living() == len(replicas), "all processes", within_s=WITHIN_S)
        place.push(hosts)
        say(f"{len(replicas)} processes live, {hosts} hosts are pushed")
        until(place.begun, "the first step", within_s=WITHIN_S)
        watch = stack.enter_context(_watching(cluster.url))
        until(lambda: len(watch.ended) > hosts, "a part of the changes", within_s=WITHIN_S)
        for victim in ("worker-1", "serve-1"):
            replicas[victim].kill()
            say(f"{victim} killed (SIGKILL) when {len(watch.ended)} changes had ended")
            time.sleep(1)
        until(lambda: len(watch.ended) > 3 * hosts, "more of the changes", within_s=WITHIN_S)
        killed = cluster.kill_primary()
        seen = len(watch.ended)
        say(f"{killed}, the primary of the database, killed (SIGKILL) when {seen} changes had ended")
        promoted_s = cluster.promoted(killed)
        say(f"{cluster.primary()} is primary after {promoted_s:.1f} s")
        until(lambda: len(watch.ended) > seen + 100, "changes that end after the failover", within_s=WITHIN_S)
        say(f"the apply goes on; nothing ended for {watch.silence_s:.1f} s")
        until(place.over, "the end of the run", within_s=WITHIN_S)
        took = time.monotonic() - began
        say(f"the run has ended after {took:.0f} s")
        cluster.restart(killed)
        cluster.whole()
    return place.judged(watch, hosts, took, promoted_s)


PROCESSES = {"serve-1": "serve", "serve-2": "serve", "serve-3": "serve", "worker-1": "worker", "worker-2": "worker"}


class _Place(Place):
    """With a repository of many simulated hosts."""

    def __init__(self, cluster: Cluster, hosts: int) -> None:
        super().__init__(cluster, "apply")
        files = fleet(hosts=0)
        files["network.yaml"] = files["network.yaml"].replace("192.0.2.0/24", "10.0.0.0/8").replace("192.0.2.1", "10.0.0.1")
        self.repo = repo(self.directory / "repo", files)
        for late in ("memory/config/*", "memory/role/*"):  # so that even on a quick machine enough is left when the primary dies
            self.world.fail(late, Fault.SLOW, SLOW_S / hosts)
        self.env |= {"OCTOFLEET_MEMORY__OPERATION_S": "0.5", "OCTOFLEET_APPLY__SLOTS": str(SLOTS)}

    def replica(self, name: str, kind: str) -> Replica:
        arguments = ("serve", "--repo", str(self.repo.path)) if kind == "serve" else ("worker",)
        return Replica([*OCTOFLEET, *arguments], self.directory / name, self.env)

    def push(self, hosts: int) -> None:
        self.repo.commit({f"hosts/{n // 100:02d}/host-{n}.yaml": _host(n) for n in range(hosts)})

    def begun(self) -> bool:
        return bool(self.rows("SELECT 1 FROM item JOIN attempt USING (run, step) WHERE address LIKE '%/web-%' LIMIT 1"))

    def over(self) -> bool:
        return self.rows("SELECT count(*) FROM run WHERE ended_at IS NULL") == [(0,)]

    def judged(self, watch: "_Watch", hosts: int, took_s: float, promoted_s: float) -> tuple[Figure, ...]:
        """Hold what was promised against the database and the world. Raises `AssertionError`."""
        runs = {state for (state,) in self.rows("SELECT state FROM run")}
        assert runs == {"done"}, f"runs ended {runs}"
        statuses = dict(self.rows("SELECT status, count(*) FROM item GROUP BY status"))
        assert set(statuses) == {"done"}, f"changes ended {statuses}"
        after = set(self.rows("SELECT step, address, ended_at FROM item"))
        lost = watch.ended - after
        assert not lost, f"{len(lost)} changes that had ended are not as they were, such as {min(lost)}"
        assert not self.rows("SELECT run FROM hold") and not self.rows("SELECT 1 FROM lane WHERE open <> 0")
        effects = Counter(self.world.effects())
        again = {key: number - 1 for key, number in effects.items() if number > 1}
        per_address = Counter((action, where) for _, action, where in effects)
        assert max(per_address.values()) == 1, "two steps did the same"
        taken_over = Counter(dict(self.rows("SELECT run || '.' || step, count(*) FROM attempt WHERE result = 'lost' GROUP BY run, step")))
        blind = [key for key, number in again.items() if number > taken_over[key[0]]]
        assert not blind, f"done twice without a takeover: {blind[:3]}"
        look = octofleet(self.directory / "look", "plan", "--refresh", "--repo", str(self.repo.path), env=self.env)
        assert look.code == 0, look.text
        shares = self.rows("SELECT count(DISTINCT worker) FROM attempt")[0][0]
        return (
            Figure("hosts, changes", f"{hosts:,}, {statuses['done']:,}"),
            Figure("changes that did not end as done", "0"),
            Figure("changes seen as ended while it ran, of these lost", f"{len(watch.ended):,}, 0"),
            Figure("steps taken over from processes that were gone", str(taken_over.total())),
            Figure("effects repeated, each by a worker that looked first", str(sum(again.values()))),
            Figure("processes that took part", str(shares)),
            Figure("until the standby was promoted", f"{promoted_s:.1f} s"),
            Figure("longest time in which no change ended", f"{watch.silence_s:.1f} s"),
            Figure("the whole apply", f"{took_s:.0f} s"),
        )


def _host(number: int) -> str:
    text = host(f"web-{number:04d}", 1, tenant="shop")
    mac = f"52:54:00:00:{number // 256:02x}:{number % 256:02x}"
    return text.replace("52:54:00:00:00:01", mac).replace("192.0.2.11", f"10.1.{number // 250}.{number % 250 + 1}")


@dataclass
class _Watch:
    """What was once seen as ended, and the longest time in which nothing more was."""

    ended: set[tuple[int, str, float]] = field(default_factory=set)
    silence_s: float = 0.0


@contextmanager
def _watching(url: str) -> Iterator[_Watch]:
    """Ask again and again what has ended; a database that is away is asked again."""
    watch, stop = _Watch(), Event()

    def look() -> None:
        since, last = time.monotonic(), 0.0
        while not stop.is_set():
            try:
                with psycopg.connect(url, connect_timeout=3) as connection:
                    while not stop.wait(0.1):
                        query = "SELECT step, address, ended_at FROM item WHERE ended_at >= %s"
                        new = set(connection.execute(query, (last - 5,)).fetchall()) - watch.ended
                        connection.rollback()
                        open_left = connection.execute("SELECT 1 FROM run WHERE ended_at IS NULL").fetchone()
                        connection.rollback()
                        if new:
                            watch.ended |= new
                            last = max(ended_at for *_, ended_at in new)
                        if new or not open_left:
                            since = time.monotonic()
                        watch.silence_s = max(watch.silence_s, time.monotonic() - since)
            except psycopg.Error:
                watch.silence_s = max(watch.silence_s, time.monotonic() - since)
                time.sleep(0.2)

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
