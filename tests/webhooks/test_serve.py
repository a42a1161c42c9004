"""`octofleet serve` with a forge: deliveries come in, postings go out, and whatever was answered with 2xx outlives `kill -9`."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.store.engine import Store
from reconciler.store.pulls import PullKey
from tests.fleets import repo
from tests.peers.forges.double import SECRET, TOKEN
from tests.peers.forges.github import GithubDouble
from tests.webhooks.hub import Served, changed
from tests.webhooks.repositories import bare
from tests.webhooks.test_inbox import burst
from webhooks.wanted import TAG, want_comment

SETTINGS = """\
listen = "127.0.0.1:0"

[memory]
enabled = true

[[repositories]]
location = "file://{repo}"
forge = "hub"
project = "acme/fleet"
apply = false

[[forges]]
name = "hub"
type = "github"
url = "{url}"
token_file = "{here}/token"
secret_files = ["{here}/secret", "{here}/next"]
"""


@dataclass
class Site:
    """An installation in a directory that serves when asked to."""

    here: Path
    database_url: str
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def serve(self) -> "tuple[subprocess.Popen[str], int]":
        """A process and its port, when it answers."""
        known = {name: text for name, text in os.environ.items() if not name.startswith("OCTOFLEET_")}
        env = known | {"OCTOFLEET_DATA_DIR": str(self.here / "data"), "OCTOFLEET_DATABASE_URL": self.database_url}
        command = [sys.executable, "-m", "reconciler.cli", "serve", "--json", "--config", str(self.here / "octofleet.toml")]
        made = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=(self.here / "log").open("a"), text=True)
        self.processes.append(made)
        assert made.stdout is not None
        line = made.stdout.readline()
        assert line, (self.here / "log").read_text()
        said = json.loads(line)
        assert said["webhooks"] == {"hub": f"{said['address']}/webhooks/hub"}
        return made, int(said["address"].rpartition(":")[2])


@contextmanager
def site(tmp_path: Path, url: str, database_url: str) -> Iterator[Site]:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "next").write_text("next")
    where = repo(tmp_path / "repo").path
    (tmp_path / "octofleet.toml").write_text(SETTINGS.format(repo=where, url=url, here=tmp_path))
    made = Site(tmp_path, database_url)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def numbers(store: Store) -> set[int]:
    with store.read() as connection:
        return {number for (number,) in connection.rows("SELECT number FROM pull")}


def test_what_comes_in_and_what_goes_out(tmp_path: Path, database_url: str) -> None:
    double = GithubDouble()
    with double.running(), site(tmp_path, double.url, database_url) as made:
        project = double.project("acme/fleet", bare(tmp_path / "fleet.git", one="1\n"))
        process, port = made.serve()
        double.hook = f"http://127.0.0.1:{port}/webhooks/hub"
        pull = double.open(project, "one")
        assert double.sent[-1].status == 202
        store = Store(database_url)
        assert numbers(store) == {1}
        with store.write() as connection:
            want_comment(connection, PullKey(forge="hub", project="acme/fleet", number=1), f"{TAG}\nhello")
        until(lambda: any("hello" in one.body for one in double.ours(pull)))
        served = Served(store=store, port=port)
        assert served.send(changed(2, secret="next")) == 202, "either of two secrets"
        (tmp_path / "secret").write_text("third")
        assert [served.send(changed(3)), served.send(changed(3, secret="third"))] == [401, 202], "without a restart"
        assert next(one.body for one in double.ours(pull)).startswith(TAG)
        process.terminate()
        assert process.wait(60) == 0
        store.close()
        log = (tmp_path / "log").read_text()
        assert TOKEN not in log and SECRET not in log and "Traceback" not in log


@pytest.mark.parametrize("after", [50, 300])
def test_what_was_answered_outlives_a_kill(tmp_path: Path, database_url: str, after: int) -> None:
    messages = [changed(number) for number in range(1, 1001)]
    with site(tmp_path, "http://127.0.0.1:9", database_url) as made:
        process, port = made.serve()
        store = Store(database_url)
        answers: list[int] = []
        sender = threading.Thread(target=lambda: answers.extend(burst(Served(store=store, port=port), messages)))
        sender.start()
        until(lambda: len(numbers(store)) >= after)
        process.kill()
        sender.join()
        taken = [number for number, answer in enumerate(answers, 1) if answer in (200, 202)]
        assert set(taken) <= numbers(store) and after <= len(numbers(store)) < 1000 and answers.count(0) > 0
        _, port = made.serve()
        again = burst(Served(store=store, port=port), redelivered(messages, answers))
        assert set(again) <= {200, 202} and numbers(store) == set(range(1, 1001))
        assert Counter(answers)[202] + len(again) == 1000
        store.close()


def redelivered(messages: Sequence[tuple[dict[str, str], bytes]], answers: Sequence[int]) -> list[tuple[dict[str, str], bytes]]:
    """Those that got no answer, as somebody has them sent again."""
    return [message for message, answer in zip(messages, answers, strict=True) if answer not in (200, 202)]
