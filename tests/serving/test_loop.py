"""The loop, round by round: what it plans, what it begins, what it leaves to people, and what it says."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from reconciler.applying import apply_plan, cancel, pause, resume, unfinished
from reconciler.drivers.memory import Fault, MemoryDriver, World
from reconciler.events import listeners
from reconciler.loop import Loop
from reconciler.planning import make_plan
from reconciler.settings import Followed as Rules
from reconciler.settings import Settings
from reconciler.store.engine import Unavailable
from reconciler.store.followed import Followed, ask, followed, take
from reconciler.store.leases import workers
from reconciler.store.runs import list_runs, load_steps
from reconciler.types.request import Request
from reconciler.why_repository import RepositoryWhy, repository_why
from reconciler.wiring import where
from reconciler.working import worker
from tests.cli.command import quick
from tests.conftest import program
from tests.fleets import FLEET, Chosen, Repo, Result, fleet, host, installation, octofleet, repo
from tests.store.databases import KINDS, database


class Site:
    """A repository, an installation that follows it, and a simulated world."""

    def __init__(self, path: Path, url: str, *, operation_s: float = 0.0, **rules: Any) -> None:
        self.path = path
        self.repo = repo(path / "repo")
        self.world = World(str(path / "world.db"))
        made = installation(path / "data", MemoryDriver(world=self.world, operation_s=operation_s))
        self.installation: Chosen = replace(made, settings=Settings(database_url=url))
        self.rules = Rules(location=str(self.repo.path), **{"poll_s": 0.2, "interval_s": 3600} | rules)
        self.woken = 0

    @property
    def store(self) -> Any:
        return self.installation.store

    def wake(self) -> None:
        self.woken += 1

    def round(self, *, due: bool = True) -> Followed:
        """One round of the loop, as a process that lives for it alone; `due`: whatever the time. Gives what is remembered then."""
        if due:
            with self.store.write() as connection:
                connection.run("UPDATE repository SET due_at = 0")
        with worker(self.installation, "serve") as one:
            one.beat()
            Loop(self.installation, [self.rules], one.id, self.wake).once()
        with self.store.read() as connection:
            (found,) = followed(connection)
        return found

    def stands(self) -> RepositoryWhy:
        """How it stands now, as people are told."""
        with self.store.read() as connection:
            (found,) = followed(connection)
            return repository_why(connection, found)

    def command(self, *args: str) -> Result:
        """The real command beside the loop, in the same world."""
        env = {"OCTOFLEET_DATABASE_URL": self.store.url, "OCTOFLEET_MEMORY__PATH": str(self.path / "world.db")}
        return quick(self.installation.data_dir, *args, env=env)

    def work(self) -> None:
        """Take every open run to its end."""
        for run in unfinished(self.installation):
            resume(self.installation, run.id)

    def runs(self) -> list[str]:
        with self.store.read() as connection:
            return [run.state for run in list_runs(connection)]

    def settle(self) -> None:
        """Apply what there is."""
        self.round()
        self.work()
        assert self.runs()[0] == "done"


@pytest.fixture(params=KINDS)
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    with database(request.param, tmp_path) as url:
        yield tmp_path, url


@pytest.fixture
def site(place: tuple[Path, str]) -> Site:
    return Site(*place)


@pytest.fixture
def quiet(tmp_path: Path) -> Site:
    """On SQLite, where the kind of database does not matter."""
    with database("sqlite", tmp_path) as url:
        return Site(tmp_path, url)


def test_a_push_begins_a_run_and_nothing_new_begins_none(site: Site) -> None:
    first = site.round()
    assert "applies" in first.note and site.woken == 1 and first.planned == first.head
    site.work()
    assert site.runs() == ["done"]
    second = site.round()
    assert second.at == first.at, "nothing new, nothing planned"
    assert site.stands().text.endswith("has ended: done") and site.stands().why is None
    head = site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    again = site.round()
    assert again.head == again.planned == head and site.runs()[0] == "running"
    site.work()
    assert site.runs() == ["done", "done"] and "htop" in str(site.world.things()["memory/config/shop/web-01"])


def test_it_is_not_looked_at_before_it_is_due_unless_somebody_asks(site: Site) -> None:
    site.settle()
    with site.store.write() as connection:
        connection.run("UPDATE repository SET due_at = ?", (connection.now() + 1000,))
    head = site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    assert site.round(due=False).head != head
    with site.store.write() as connection:
        assert ask(connection, str(site.repo.path)) and not ask(connection, "/somewhere/else")
    found = site.round(due=False)
    assert found.head == head and found.asked_at is None


def test_what_is_asked_for_during_a_run_is_done_after_it(quiet: Site) -> None:
    quiet.settle()
    quiet.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    quiet.round()
    planned_at = quiet.round().at
    with quiet.store.write() as connection:
        ask(connection, str(quiet.repo.path))
    assert quiet.round(due=False).note.endswith("was begun")
    with worker(quiet.installation, "serve") as one, quiet.store.write() as connection:
        assert take(connection, str(quiet.repo.path), one.id) is None, "the request does not have it looked at again and again"
    quiet.work()
    again = quiet.round().at
    assert planned_at is not None and again is not None and again > planned_at, "planned anew, though no commit is new"


def test_one_process_at_a_time_looks(site: Site) -> None:
    site.round()
    with worker(site.installation, "serve") as other:
        with site.store.write() as connection:
            connection.run("UPDATE repository SET owner = ?, due_at = 0", (other.id,))
        head = site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
        assert site.round().head != head, "the other has it"
    assert site.round().head == head, "who leaves gives it back"


def test_a_destructive_plan_waits_for_a_person_and_goes_on_when_approved(site: Site) -> None:
    site.settle()
    site.repo.commit({"host-1.yaml": None})
    said = site.round()
    assert said.code == "approval" and "must approve" in said.note and site.runs() == ["done"]
    again = site.round()
    assert (again.code, again.about, again.note, again.next) == (said.code, said.about, said.note, said.next)
    with site.store.read() as connection:
        rows = list(connection.rows("SELECT DISTINCT id FROM plan"))
        assert connection.scalar("SELECT count(*) FROM plan") == len(rows), "the same plan is not stored again"
        row = connection.scalar('SELECT max("row") FROM plan')
    assert apply_plan(site.installation, row, approved=True).done


def test_drift_is_healed_or_only_reported(quiet: Site) -> None:
    quiet.settle()
    where = "memory/config/shop/web-01"
    quiet.world.put(where, {"values": {"by": "hand"}})
    quiet.rules = Rules(location=quiet.rules.location, interval_s=1, heal=False, observe=1000)
    with quiet.store.write() as connection:
        connection.run("UPDATE repository SET at = 0")
    assert quiet.round().note == "nothing to do; 1 put off"
    quiet.repo.commit({"host-2.yaml": host("web-02", 2, spec="  packages: [htop]\n")})
    assert quiet.round().note.endswith("1 put off"), "a merge elsewhere does not take it along"
    quiet.work()
    assert "htop" in str(quiet.world.things()["memory/config/shop/web-02"])
    assert quiet.world.things()[where][0] == {"values": {"by": "hand"}}
    quiet.rules = Rules(location=quiet.rules.location, interval_s=1, observe=1000)
    with quiet.store.write() as connection:
        connection.run("UPDATE repository SET at = 0")
    assert "applies 1 change" in quiet.round().note
    quiet.work()
    assert quiet.world.things()[where][0] != {"values": {"by": "hand"}}


def test_an_interval_looks_at_no_more_than_its_budget_and_comes_round(quiet: Site) -> None:
    quiet.settle()
    quiet.rules = Rules(location=quiet.rules.location, interval_s=1, observe=5)
    with quiet.store.read() as connection:
        total = connection.scalar("SELECT count(*) FROM observation")
        before = dict(connection.rows("SELECT address, at FROM observation"))
    rounds = 0
    while True:
        with quiet.store.write() as connection:
            connection.run("UPDATE repository SET at = 0")
        quiet.round()
        rounds += 1
        with quiet.store.read() as connection:
            now = dict(connection.rows("SELECT address, at FROM observation"))
        seen = [address for address, at in now.items() if at != before[address]]
        assert len(seen) <= 5 * rounds, "no more than the budget"
        if len(seen) == total:
            break
        assert rounds <= total, "those seen longest ago come first"
    assert rounds == -(-total // 5)


def test_only_reported_where_the_rules_or_the_fleet_say_so(quiet: Site) -> None:
    quiet.rules = Rules(location=quiet.rules.location, apply=False)
    assert "is only reported" in quiet.round().note and quiet.runs() == []
    quiet.rules = Rules(location=quiet.rules.location)
    quiet.repo.commit({"fleet.yaml": f"{FLEET}  reportOnly: [host/shop/web-02]\n"})
    quiet.settle()
    assert "memory/machine/shop/web-02" in quiet.world.things(), "the rules in force are the recorded ones: there were none yet"
    quiet.repo.commit({f"host-{n}.yaml": host(f"web-{n:02d}", n, spec="  packages: [htop]\n") for n in (1, 2)})
    found = quiet.round()
    assert "put off" in found.note
    quiet.work()
    packages = {n: "htop" in str(quiet.world.things()[f"memory/config/shop/web-{n:02d}"]) for n in (1, 2)}
    assert packages == {1: True, 2: False}
    planned = make_plan(quiet.installation, quiet.installation.repository(str(quiet.repo.path)), Request())
    assert {change.address for change in planned.plan.changes} >= {"memory/config/shop/web-02"}, "a person's plan has it"


def test_what_fails_is_left_alone_for_a_while_and_tried_again(quiet: Site) -> None:
    quiet.settle()
    where = "memory/config/shop/web-01"
    quiet.world.fail(where, Fault.PARTIAL)
    quiet.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    quiet.round()
    quiet.work()
    assert quiet.runs()[0] == "failed"
    quiet.world.heal()
    with quiet.store.write() as connection:
        connection.run("UPDATE repository SET at = 0")
    assert "put off" in quiet.round().note and quiet.runs()[0] == "failed"
    with quiet.store.write() as connection:
        failures, until = connection.row("SELECT failures, until FROM backoff WHERE address = ?", (where,))
        assert failures == 1 and 10 < until - connection.now() <= 30
        connection.run("UPDATE backoff SET until = 0")
        connection.run("UPDATE repository SET at = 0")
    quiet.settle()
    with quiet.store.read() as connection:
        assert connection.row("SELECT address FROM backoff") is None


def test_a_newer_commit_ends_what_has_not_begun_and_it_wants_otherwise(site: Site) -> None:
    site.settle()
    changed = {f"host-{n}.yaml": host(f"web-{n:02d}", n, spec="  packages: [htop]\n") for n in (1, 2, 3)}
    site.repo.commit(changed)
    site.round()
    (run,) = unfinished(site.installation)
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [strace]\n"), "host-2.yaml": host("web-02", 2)})
    assert f"waits for run {run.id}" in site.round().note
    with site.store.read() as connection:
        ended = {item.address: item.status for step in load_steps(connection, run.id) for item in step.items}
    assert ended["memory/config/shop/web-01"] == ended["memory/config/shop/web-02"] == "superseded"
    assert ended["memory/config/shop/web-03"] is None, "the newer commit wants the same"
    site.work()
    assert site.runs()[0] == "failed"
    site.settle()
    things = {n: str(site.world.things()[f"memory/config/shop/web-{n:02d}"]) for n in (1, 2, 3)}
    assert "strace" in things[1] and "htop" not in things[2] and "htop" in things[3]


def test_a_paused_run_waits_and_a_cancelled_one_ends(site: Site) -> None:
    site.round()
    (run,) = unfinished(site.installation)
    pause(site.installation, run.id, "a fair is on")
    with worker(site.installation, "worker") as one:
        assert one.take() == []
    site.round()
    assert "is paused" in site.stands().text
    assert cancel(site.installation, run.id, "not today") == "cancelled"
    with site.store.read() as connection:
        assert {item.status for step in load_steps(connection, run.id) for item in step.items} == {"cancelled"}
        assert connection.row("SELECT run FROM hold") is None
    with site.store.write() as connection:
        connection.run("UPDATE repository SET at = 0")
    site.settle()


def test_what_is_asked_for_during_a_run_is_done_when_it_has_ended(quiet: Site) -> None:
    quiet.round()
    with quiet.store.write() as connection:
        assert ask(connection, quiet.rules.location)
    during = quiet.round()
    assert during.asked_at is None and during.code == "begun"
    quiet.work()
    assert quiet.round().code == "settled", "it was planned again"


@pytest.mark.parametrize("trouble", ["gone", "rewritten", "broken"])
def test_what_goes_wrong_is_told_and_tried_again_later(quiet: Site, trouble: str) -> None:
    quiet.settle()
    moved = quiet.repo.path.with_name("elsewhere")
    if trouble == "gone":
        quiet.repo.path.rename(moved)
    elif trouble == "broken":
        quiet.repo.commit({"fleet.yaml": "kind: [\n"})
    else:
        other = repo(moved, fleet(hosts=2))
        quiet.repo.path.rename(quiet.repo.path.with_name("before"))
        moved.rename(quiet.repo.path)
        assert isinstance(other, Repo)
    first = quiet.round()
    expected = {"gone": "is not there", "rewritten": "does not come after it", "broken": "fleet.yaml:"}[trouble]
    assert expected in first.note and first.failures == 1 and quiet.runs() == ["done"]
    with quiet.store.read() as connection:
        assert 3 < first.due_at - connection.now() <= 6
    assert quiet.round().failures == 2


def test_a_worker_that_is_gone_loses_the_repository(site: Site) -> None:
    site.round()
    with site.store.write() as connection:
        connection.run("INSERT INTO worker VALUES ('dead', 'x', 'serve', '', 0, 0)")
        connection.run("UPDATE repository SET owner = 'dead'")
    head = site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    assert site.round().head == head
    with site.store.read() as connection:
        assert workers(connection) == []


@pytest.mark.parametrize(
    "url", ["https://u:{}@127.0.0.1:1/x.git", "https://{}@127.0.0.1:1/x.git", "ssh://u:{}@127.0.0.1/x.git", "https://127.0.0.1:1/x?t={}"]
)
@pytest.mark.parametrize("command", ["serve --repo {}", "reconcile {}", "plan --repo {}", "apply --repo {}", "validate --repo {}"])
def test_a_url_with_a_secret_is_neither_followed_nor_shown(tmp_path: Path, url: str, command: str) -> None:
    secret = "s3cr3tXYZ"
    told = octofleet(tmp_path / "data", *command.format(url.format(secret)).split())
    assert told.code == 1 and secret not in told.text
    if command.startswith(("serve", "reconcile")) or "?" in url:
        assert "git.token_env" in told.err
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_user_of_ssh_is_no_secret() -> None:
    assert where("ssh://git@127.0.0.1/x.git") == "ssh://git@127.0.0.1/x.git"


def test_what_calls_leave_in_their_scratch_directories_goes_with_the_attempt(quiet: Site) -> None:
    quiet.round()
    scratch = quiet.installation.data_dir / "scratch"
    with worker(quiet.installation, "serve") as one:
        one.work(lambda: not unfinished(quiet.installation))
        assert quiet.world.effects() and list(scratch.iterdir()) == [], "while the process goes on"


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The events of a test."""
    found: list[tuple[str, dict[str, Any]]] = []
    hear = lambda name, fields: found.append((name, dict(fields)))  # noqa: E731 - taken away again
    listeners.append(hear)
    yield found
    listeners.remove(hear)


def commands(then: str) -> list[list[str]]:
    """The commands that a next step names."""
    return [shlex.split(found.rstrip(", ")) for found in re.findall(r"octofleet ((?:(?! shows| does|, octofleet).)+)", then)]


def test_a_plan_that_waits_is_told_once_and_the_command_that_is_named_applies_it(
    quiet: Site, told: list[tuple[str, dict[str, Any]]]
) -> None:
    quiet.settle()
    quiet.repo.commit({"host-1.yaml": None})
    found = quiet.round()
    quiet.round()
    with quiet.store.write() as connection:
        connection.run("UPDATE repository SET at = 0")
    quiet.round()
    (event,) = [fields for name, fields in told if name == "plan-waits"]
    assert event["plan"] == found.about[:12] and event["next"] == found.next and event["repository"] == quiet.rules.location
    for flags in ((), ("--why",)):
        status = quiet.command("status", *flags)
        assert status.code == 3 and f"  next: {found.next}\n" in status.out, status.text
    (item,) = quiet.command("status", "--json").json["repositories"]
    assert (item["code"], item["plan"], item["next"], item["run"]) == ("approval", found.about, found.next, "")
    (command,) = commands(found.next)
    assert quiet.command(*command).code == 0
    after = quiet.command("status")
    assert after.code == 0 and "has ended: done" in after.out and "--approve" not in after.out, "it does not wait for the loop to look"


def test_a_guard_that_refuses_is_told(quiet: Site, told: list[tuple[str, dict[str, Any]]]) -> None:
    quiet.settle()
    quiet.repo.commit({"host-1.yaml": None, "host-2.yaml": None, "host-3.yaml": None})
    found = quiet.round()
    assert found.code == "refused" and found.next and [name for name, _ in told].count("plan-refused") == 1
    status = quiet.command("status")
    assert status.code == 3 and found.next in status.out


def test_changes_that_are_only_reported_are_told_with_their_command(quiet: Site) -> None:
    quiet.rules = Rules(location=quiet.rules.location, apply=False)
    found = quiet.round()
    status = quiet.command("status")
    assert status.code == 2 and f"next: {found.next}" in status.out
    (command,) = commands(found.next)
    assert quiet.command(*command).code == 0 and quiet.command("status").code == 0


def test_a_rewritten_history_is_told_with_the_commands_that_accept_it(quiet: Site, told: list[tuple[str, dict[str, Any]]]) -> None:
    quiet.settle()
    quiet.repo.path.rename(quiet.repo.path.with_name("before"))
    repo(quiet.repo.path, fleet(hosts=2))
    found = quiet.round()
    assert found.code == "failing" and "--accept-history" in found.next
    assert [fields["next"] for name, fields in told if name == "repository-failed"] == [found.next]
    status = quiet.command("status")
    assert status.code == 1 and found.next in status.out
    look, do = commands(found.next)
    assert quiet.command(*look).code == 3, "it deletes, so somebody has to approve it"
    done = quiet.command(*do)
    assert done.code == 0, done.text
    assert quiet.round().code == "settled" and quiet.command("status").code == 0


def test_a_repository_that_fails_is_an_error_of_status_until_it_works_again(quiet: Site) -> None:
    quiet.settle()
    quiet.repo.commit({"fleet.yaml": "kind: [\n"})
    quiet.round()
    quiet.round()
    status = quiet.command("status", "--why")
    assert status.code == 1 and "failed 2 times in a row" in status.out
    assert f"next: octofleet validate --repo {quiet.rules.location} names every problem" in status.out
    with quiet.store.write() as connection:
        connection.run("UPDATE repository SET due_at = due_at - 90000")
    assert quiet.command("status").code == 0, "nobody has looked for a day: that says nothing of today"
    quiet.repo.commit({"fleet.yaml": FLEET})
    assert quiet.round().code == "settled" and quiet.command("status").code == 0


def test_a_repository_that_is_back_at_what_was_planned_says_so(quiet: Site) -> None:
    quiet.settle()
    quiet.round()
    quiet.repo.path.rename(quiet.repo.path.with_name("elsewhere"))
    assert quiet.round().code == "failing"
    quiet.repo.path.with_name("elsewhere").rename(quiet.repo.path)
    found = quiet.round()
    assert (found.code, found.failures, found.note) == ("settled", 0, "nothing to do")


def test_a_run_that_has_ended_is_told_though_nobody_has_looked_since(quiet: Site) -> None:
    quiet.round()
    assert "is running" in quiet.command("status").out
    quiet.work()
    status = quiet.command("status")
    assert "has ended: done" in status.out and "applies" not in status.out


def test_a_request_is_kept_when_nobody_serves(quiet: Site) -> None:
    quiet.settle()
    asked = quiet.command("reconcile")
    assert asked.code == 3 and "asked to look at" in asked.out and "the request is kept" in asked.err and "octofleet serve" in asked.err
    assert quiet.command("reconcile", "--json").json == {"asked": [quiet.rules.location], "served": False}
    assert "no server runs" in quiet.command("status").out
    with quiet.store.write() as connection:
        connection.run("UPDATE repository SET due_at = ?", (connection.now() + 1000,))
    head = quiet.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    assert quiet.round(due=False).head == head
    with worker(quiet.installation, "worker"):
        assert quiet.command("reconcile").code == 3, "a worker follows nothing"
    with worker(quiet.installation, "serve"):
        asked = quiet.command("reconcile")
        assert asked.code == 0 and asked.err == "" and "no server runs" not in quiet.command("status").out


def test_a_database_that_is_away_is_no_trouble_of_a_repository_and_told_once(
    quiet: Site, told: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet.settle()
    told.clear()
    stop, rounds = Event(), 0

    def away(*args: Any, **options: Any) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 5:
            stop.set()
        raise Unavailable("it does not answer")

    with worker(quiet.installation, "serve") as one:
        loop = Loop(quiet.installation, [quiet.rules], one.id, quiet.wake)
        loop.once()
        with quiet.store.write() as connection:
            connection.run("UPDATE repository SET due_at = 0, planned = ''")
        monkeypatch.setattr("reconciler.loop.TICK_S", 0.01)
        monkeypatch.setattr("reconciler.loop.make_plan", away)
        loop.run(stop)
    assert rounds == 5 and [name for name, _ in told if "away" in name or "failed" in name] == ["database-away"]
    with quiet.store.read() as connection:
        assert followed(connection)[0].failures == 0


def test_what_fails_in_every_round_is_told_once(
    quiet: Site, told: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, rounds = Event(), 0

    def broken(*args: Any) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 5:
            stop.set()
        raise ValueError("broken")

    monkeypatch.setattr("reconciler.loop.TICK_S", 0.01)
    monkeypatch.setattr("reconciler.loop.follow", broken)
    Loop(quiet.installation, [quiet.rules], "nobody", quiet.wake).run(stop)
    assert rounds == 5 and told == [("round-failed", {"error": "ValueError: broken"})]


def signed(path: Path, key: Path) -> None:
    """Sign the newest commit of a repository anew."""
    sign = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "-c", "user.name=ada", "-c", "user.email=ada@example.net")
    subprocess.run(["git", "-C", str(path), *sign, "commit", "-q", "--amend", "--no-edit", "-S"], check=True, capture_output=True)


def test_where_commits_have_to_be_signed_only_those_are_applied_by_themselves(tmp_path: Path) -> None:
    keygen, keys = program("ssh-keygen", "openssh-client"), tmp_path / "signers"
    program("git", "git")
    keys.mkdir()
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    (keys / "allowed_signers").write_text(f"ada@example.net {public}\n")
    with database("sqlite", tmp_path) as url:
        site = Site(tmp_path, url, signed=True, signers=str(keys))
        found = site.round()
        assert found.code == "refused" and "1 commit not signed by a known key" in found.note and site.runs() == []
        signed(site.repo.path, tmp_path / "key")
        assert site.round().code == "begun"
        site.work()
        site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
        site.repo.commit({"host-2.yaml": host("web-02", 2, spec="  packages: [htop]\n")})
        signed(site.repo.path, tmp_path / "key")
        assert site.round().code == "refused", "a signed commit on top of one that is not"
