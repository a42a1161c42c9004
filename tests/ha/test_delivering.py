"""Pull requests while parts die: GitHub's double delivers through HAProxy to three `octofleet serve`, of which one is killed, and then the database's
primary. What was answered with 2xx is worked, once."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import msgspec
import pytest

from tests.fleets import fleet, host
from tests.ha.kept import until
from tests.ha.place import Place
from tests.ha.replicas import OCTOFLEET, Replica, answer
from tests.ha.topology import HERE, Cluster
from tests.peers.forges.double import SECRET, TOKEN, PullState, Sent
from tests.peers.forges.github import GithubDouble
from tests.webhooks.repositories import bare_with, commit_files
from tests.webhooks.site import PEOPLE

pytestmark = pytest.mark.xdist_group("ha")

PULLS, AT_ONCE = 20, 4
WITHIN_S = 120.0
SETTINGS = """\
listen = "{here}:{port}"
[[forges]]
name = "hub"
type = "github"
url = "{url}"
token_file = "{place}/token"
secret_files = ["{place}/secret"]
[[repositories]]
location = "file://{place}/fleet.git"
forge = "hub"
project = "acme/fleet"
"""


class Redelivering(GithubDouble):
    """Whoever sees a delivery fail sends it again."""

    def send(self, headers: Mapping[str, str], body: bytes) -> int:
        end = time.monotonic() + WITHIN_S
        while not 200 <= (status := super().send(headers, body)) < 300:
            assert time.monotonic() < end, f"a delivery is not taken: {status}"
            time.sleep(0.5)
        return status

    def taken(self) -> list[Sent]:
        """The deliveries that were answered with 2xx."""
        return [sent for sent in self.sent if 200 <= sent.status < 300]


class Site(Place):
    """A repository at the double, and the servers that follow it."""

    def __init__(self, cluster: Cluster, double: Redelivering) -> None:
        super().__init__(cluster, "pulls")
        self.double, self._ports = double, cluster.serves
        self.git = self.directory / "fleet.git"
        bare_with(self.git, fleet(hosts=PULLS) | {"people.yaml": PEOPLE})
        for name, text in (("token", TOKEN), ("secret", SECRET)):
            (self.directory / name).write_text(text)
        self.project = double.project("acme/fleet", self.git)
        double.hook = f"{cluster.web_url}/webhooks/hub"

    def replica(self, name: str) -> Replica:
        config = self.directory / f"{name}.toml"
        config.write_text(SETTINGS.format(here=HERE, port=self._ports[name], url=self.double.url, place=self.directory))
        return Replica([*OCTOFLEET, "serve"], self.directory / name, self.env | {"OCTOFLEET_CONFIG": str(config)})

    def change(self, number: int, package: str) -> None:
        """Another package for one host, on a branch of its own."""
        text = host(f"web-{number:02d}", number, spec=f"  packages: [{package}]\n")
        commit_files(self.git, f"change-{number}", {f"host-{number}.yaml": text})

    def work(self, numbers: Iterator[int], stop: Event) -> None:
        """As people do: open, comment, push."""
        for number in numbers:
            self.change(number, "htop")
            pull = self.double.open(self.project, f"change-{number}")
            stop.wait(0.2)
            self.double.say(self.project, pull, "olga", f"octofleet lock number {number}")
            stop.wait(0.2)
            self.change(number, "strace")
            self.double.pushed(self.project, pull)

    def pulls(self) -> list[PullState]:
        return list(self.project.pulls.values())

    def settled(self) -> bool:
        """Whether all that was asked for is done, and stands at the forge."""
        waits = ("pull_command WHERE done_at IS NULL", "posting WHERE wanted <> posted", "pull WHERE asked_at IS NOT NULL OR owner <> ''")
        return all(self.rows(f"SELECT count(*) FROM {what}") == [(0,)] for what in waits)

    def busiest(self, replicas: Mapping[str, Replica]) -> str:
        """The server that has the forge's queue."""
        ((owner,),) = self.rows("SELECT owner FROM forge")
        return next((name for name, replica in replicas.items() if owner and owner in replica.log.read_text()), "serve-1")


def test_deliveries_outlive_a_server_and_the_primary(cluster: Cluster) -> None:
    double, stop = Redelivering(), Event()
    with double.running(), ExitStack() as stack:
        site = Site(cluster, double)
        replicas = {name: stack.enter_context(site.replica(name)) for name in cluster.serves}
        stack.enter_context(site.telling(replicas))
        for name, port in cluster.serves.items():
            replicas[name].wait_ready(f"http://{HERE}:{port}/readyz")
        until(lambda: site.rows("SELECT 1 FROM run WHERE state = 'done'"), "the first apply", within_s=WITHIN_S)
        until(lambda: answer(f"{cluster.web_url}/readyz") == 200, "a way to the servers", within_s=WITHIN_S)
        pool, numbers = stack.enter_context(ThreadPoolExecutor(AT_ONCE)), iter(range(1, PULLS + 1))
        people = [pool.submit(site.work, numbers, stop) for _ in range(AT_ONCE)]
        until(lambda: len(double.taken()) >= PULLS, "a third of the deliveries", within_s=WITHIN_S, every_s=0.01)
        replicas[site.busiest(replicas)].kill()
        until(lambda: len(double.taken()) >= 2 * PULLS, "another third", within_s=WITHIN_S, every_s=0.01)
        killed = cluster.kill_primary()
        refused = len(double.sent)
        cluster.promoted(killed)
        for one in people:
            one.result()
        until(site.settled, "all work", within_s=WITHIN_S)
    assert len(double.taken()) == 3 * PULLS and len(double.sent) > refused
    for pull in site.pulls():
        (ours,) = double.ours(pull)
        assert pull.head[:10] in ours.body and "strace" in ours.body, ours.body
        assert ours.body.count("resources locked") == 1, ours.body
        assert [s.state for s in site.project.statuses if s.commit == pull.head][-1] == "success"
    commands = site.rows("SELECT number, count(*), min(answer) FROM pull_command GROUP BY number")
    assert len(commands) == PULLS and all(number == 1 and "locked" in text for _, number, text in commands), commands
    locked = Counter(msgspec.json.decode(subjects)[0] for (subjects,) in site.rows("SELECT subjects FROM audit WHERE action = 'lock'"))
    assert locked == {f"hub/acme/fleet#{pull.number}": 1 for pull in site.pulls()}
    made = Counter(path for method, path in double.calls if method == "POST" and path.endswith("/comments"))
    assert set(made.values()) == {1}, "a comment was posted twice"
