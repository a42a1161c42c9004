"""What is to stand at a forge comes to stand there: within its rate, after refusals, whatever another forge does; and polls make up for webhooks."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from reconciler import events
from reconciler.settings import Followed
from reconciler.settings import Forge as Rules
from reconciler.store.engine import Connection, Store
from reconciler.store.followed import follow
from reconciler.store.leases import WorkerRow, beat
from reconciler.store.postings import open_postings, postings_of, want
from reconciler.store.pulls import NEVER, PullKey, commands_of, give_back_pull, load_pull, take_pull
from tests.peers.forges.double import BOT, TOKEN, Fault, Project
from tests.peers.forges.github import GithubDouble
from tests.webhooks.hub import hub
from tests.webhooks.repositories import bare, commit
from webhooks.forge import Pull, Status, Verdict
from webhooks.posting import Poster, backoff_s
from webhooks.rate import RATES, Bucket, Rate
from webhooks.wanted import TAG, want_comment, want_heard, want_status
from webhooks.watched import Watched

ONE = PullKey(forge="hub", project="acme/fleet", number=1)


@pytest.fixture
def double() -> Iterator[GithubDouble]:
    made = GithubDouble()
    with made.running():
        yield made


@pytest.fixture
def project(double: GithubDouble, tmp_path: Path) -> Project:
    made = double.project("acme/fleet", bare(tmp_path / "fleet.git", one="1\n", two="2\n"))
    double.open(made, "one")
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    monkeypatch.setattr("webhooks.posting.FIRST_S", 0.2)
    monkeypatch.setattr("webhooks.posting.AWAY_S", 0.2)
    monkeypatch.setattr("webhooks.session.AWAY_S", 0.2)


def rules(double: GithubDouble, **more: Any) -> Rules:
    return Rules(**({"name": "hub", "type": "github", "url": double.url, "token_env": "HUB_TOKEN", "poll_s": 0.0} | more))


def of(double: GithubDouble, **more: Any) -> Watched:
    made = rules(double, **more)
    return hub(made, [Followed(location="/repo", branch="main", forge=made.name, project="acme/fleet")], account="")


class Heard(list[tuple[str, Mapping[str, Any]]]):
    def names(self, name: str) -> int:
        return sum(1 for found, _ in self if found == name)


@contextmanager
def posting(store: Store, *forges: Watched, worker: str = "w") -> Iterator[tuple[Poster, Heard]]:
    with store.write() as connection:
        known(connection, worker)
    heard, stop = Heard(), Event()
    poster = Poster(store, forges, worker)
    thread = Thread(target=poster.work, args=(stop,))

    def hear(name: str, fields: Mapping[str, Any]) -> None:
        heard.append((name, fields))

    events.listeners.append(hear)
    thread.start()
    try:
        yield poster, heard
    finally:
        stop.set()
        thread.join()
        events.listeners.remove(hear)


def known(connection: Connection, worker: str) -> None:
    beat(connection, WorkerRow(id=worker, name=worker, role="serve", version="0", started_at=0.0, until=connection.now() + 600))


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def wants(store: Store, want: Callable[..., None], *more: Any) -> None:
    with store.write() as connection:
        want(connection, *more)


def stands(store: Store, forge: str = "hub") -> bool:
    with store.read() as connection:
        found = list(connection.rows("SELECT what FROM posting WHERE forge = ? AND wanted <> posted", (forge,)))
    return not found


def test_a_comment_a_status_and_a_reaction(store: Store, double: GithubDouble, project: Project) -> None:
    pull = project.pulls[1]
    said = double.say(project, pull, "ada", "octofleet plan")
    watched = of(double)
    with posting(store, watched) as (poster, heard):
        wants(store, want_comment, ONE, f"{TAG}\nfirst")
        wants(store, want_status, ONE, pull.head, Status(context="octofleet/plan", verdict=Verdict.PENDING, text="planning"))
        wants(store, want_heard, ONE, said.id)
        poster.wake()
        until(lambda: stands(store))
        wants(store, want_comment, ONE, f"{TAG}\nsecond")
        poster.wake()
        until(lambda: stands(store))
        assert [one.body for one in double.ours(pull)] == [f"{TAG}\nsecond"]
        assert [(one.context, one.state, one.text) for one in project.statuses] == [("octofleet/plan", "pending", "planning")]
        assert said.reactions == ["eyes"] and watched.accounts == {"hub": BOT} and heard.names("posted") == 4
    with store.read() as connection:
        assert {one.id for one in postings_of(connection, ONE) if one.what == "comment"} == {double.ours(pull)[0].id}


def test_a_forge_that_falters_is_left_alone_and_told_to_in_the_end(store: Store, double: GithubDouble, project: Project) -> None:
    double.faults.extend([Fault(500), Fault(502), Fault(429, {"Retry-After": "1"}), Fault(0)])  # the first is that of the account
    wants(store, want_comment, ONE, "text")
    with posting(store, of(double)) as (_, heard):
        until(lambda: stands(store))
        assert heard.names("posting-failed") >= 1 and heard.names("forge-away") >= 1
        first, *rest = [fields["error"] for name, fields in heard if name == "forge-away"]
        assert "500" in first and any("502" in error or "429" in error for error in rest)
    assert len(double.ours(project.pulls[1])) == 1


def test_a_limit_is_waited_for_by_all(store: Store, double: GithubDouble, project: Project) -> None:
    """Nobody takes the queue before the forge's own time."""
    first, second = of(double), of(double)
    first.accounts["hub"] = second.accounts["hub"] = BOT
    double.faults.append(Fault(403, {"Retry-After": "600"}))
    wants(store, want_comment, ONE, "text")
    with posting(store, first) as (_, heard), posting(store, second, worker="v"):
        until(lambda: heard.names("forge-away"))
        calls = len(double.calls)
        wants(store, want_heard, ONE, "999")
        time.sleep(1.0)
        assert len(double.calls) == calls
    with store.read() as connection:
        (due_s,) = next(connection.rows("SELECT due_at FROM forge WHERE name = 'hub'"))
        assert due_s - connection.now() > 500 and not stands(store)


def test_what_is_refused_is_told_once_and_holds_up_nothing_else(store: Store, double: GithubDouble, project: Project) -> None:
    other = double.say(project, project.pulls[1], "ada", "octofleet plan")
    wants(store, want_comment, replace(ONE, number=99), "there is no such pull request")
    wants(store, want_status, ONE, "0" * 40, Status(context="octofleet/plan", verdict=Verdict.ERROR, text="no such commit"))
    wants(store, lambda connection: known(connection, "x"))
    with posting(store, of(double)) as (_, heard):
        wants(store, want_heard, ONE, other.id)
        until(lambda: other.reactions)
        until(lambda: heard.names("posting-failed") >= 4)
        assert heard.names("forge-denied") == 0
        double.locked.add(1)
        with store.write() as connection:
            want_comment(connection, ONE, "text")
            connection.run("UPDATE posting SET id = ? WHERE number = 1 AND what = 'comment'", (other.id,))
        until(lambda: sum(1 for name, fields in heard if name == "posting-failed" and "Denied" in fields["error"]) >= 2)
        assert heard.names("forge-denied") == 1


def test_what_nobody_foresaw_holds_up_nothing_else(
    store: Store, double: GithubDouble, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants(store, lambda connection: want(connection, ONE, "status octofleet abc", b"no status"))
    wants(store, want_comment, ONE, f"{TAG}\ntext")
    watched = of(double, poll_s=600.0)
    asked = []

    async def broken(name: str, branch: str) -> Sequence[Pull]:
        asked.append(name)
        raise RuntimeError("a mistake")

    monkeypatch.setattr(watched.forge.client, "open_pulls", broken)
    with posting(store, watched) as (_, heard):
        until(lambda: double.ours(project.pulls[1]))
        until(lambda: heard.names("posting-failed") >= 3)
        assert asked == ["acme/fleet"], "what cannot be polled is polled without a pause"
    assert next(fields["what"] for name, fields in heard if name == "posting-failed") == "status octofleet abc"


def test_a_forge_that_hangs_holds_up_no_other(store: Store, double: GithubDouble, project: Project) -> None:
    slow = GithubDouble()
    with slow.running():
        slow.faults.extend([Fault(0, hang_s=5.0)] * 3)
        elsewhere = replace(ONE, forge="slow")
        wants(store, want_comment, elsewhere, "text")
        wants(store, want_comment, ONE, "text")
        with posting(store, of(slow, name="slow"), of(double)) as _:
            until(lambda: stands(store))
            assert len(double.ours(project.pulls[1])) == 1 and not stands(store, "slow")


def test_one_process_posts_and_another_goes_on_when_it_is_gone(store: Store, double: GithubDouble, project: Project) -> None:
    from reconciler.store.leases import leave

    with posting(store, of(double), worker="a") as (first, _), posting(store, of(double), worker="b") as (second, _):
        for text in ("1", "2", "3"):
            wants(store, want_comment, ONE, f"{TAG}\n{text}")
            first.wake()
            second.wake()
            until(lambda: stands(store))
        with store.read() as connection:
            (owner,) = next(connection.rows("SELECT owner FROM forge"))
        with store.write() as connection:
            leave(connection, owner)
        wants(store, want_comment, ONE, f"{TAG}\n4")
        until(lambda: stands(store))
        assert [one.body for one in double.ours(project.pulls[1])] == [f"{TAG}\n4"]


def test_no_more_than_the_rate(store: Store, double: GithubDouble, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, "github", (Rate(most=3, period_s=3600),))  # type: ignore[arg-type]
    said = [double.say(project, project.pulls[1], "ada", "octofleet plan") for _ in range(6)]
    for one in said:
        wants(store, want_heard, ONE, one.id)
    with posting(store, of(double)) as (_, heard):
        until(lambda: heard.names("posted") == 3)
        time.sleep(1.0)
        assert heard.names("posted") == 3
        with store.read() as connection:
            assert len(open_postings(connection, "hub")) == 3


def test_a_bucket() -> None:
    now = [0.0]
    bucket = Bucket((Rate(most=2, period_s=10), Rate(most=3, period_s=100)), lambda: now[0])
    for _ in range(2):
        assert bucket.wait_s() == 0
        bucket.take()
    assert bucket.wait_s() == pytest.approx(5)
    now[0] = 5.0
    assert bucket.wait_s() == 0
    bucket.take()
    assert bucket.wait_s() == pytest.approx((1 - 0.15) * 100 / 3)
    now[0] = 1e6
    assert bucket.wait_s() == 0
    bucket.take()
    bucket.take()
    assert bucket.wait_s() == pytest.approx(5), "what was not used is not kept beyond the limit"
    assert all(backoff_s(n, 5, 3600) <= 3600 * 1.25 for n in range(2000))


def looked_at(store: Store, numbers: Sequence[int]) -> None:
    """As the work on pull requests leaves them."""
    for _ in numbers:
        with store.write() as connection:
            found = take_pull(connection, "w")
            assert found is not None
            head = HEADS[found.key.number]()
            assert give_back_pull(connection, replace(found, state="open", head=head, branch="main", due_at=NEVER))


HEADS: dict[int, Callable[[], str]] = {}


def asked_for(store: Store) -> list[int]:
    with store.read() as connection:
        return [number for (number,) in connection.rows("SELECT number FROM pull WHERE asked_at IS NOT NULL ORDER BY number")]


def test_polls_find_what_no_webhook_told(store: Store, double: GithubDouble, project: Project) -> None:
    with store.write() as connection:
        follow(connection, "/repo")
    pull = project.pulls[1]
    double.say(project, pull, "ada", "octofleet apply").at -= 3600
    second = double.open(project, "two")
    double.open(project, "one", base="two")
    HEADS.update({1: lambda: pull.head, 2: lambda: second.head})

    def polled(heard: Heard, more: int = 2) -> None:
        """So many polls that begin from now on end."""
        end = heard.names("polled") + more
        until(lambda: heard.names("polled") >= end)

    with posting(store, of(double, poll_s=0.3)) as (_, heard):
        until(lambda: asked_for(store) == [1, 2])
        looked_at(store, [1, 2])
        polled(heard)
        assert asked_for(store) == [], "nothing has changed"
        commit(project.git, "two", "again\n")
        until(lambda: asked_for(store) == [2])
        looked_at(store, [2])
        said = double.say(project, pull, "ada", "octofleet plan")
        double.say(project, pull, BOT, "octofleet plan")
        double.say(project, pull, "ada", "nice")
        until(lambda: asked_for(store) == [1])
        polled(heard)
        with store.read() as connection:
            assert [(one.comment, one.author) for one in commands_of(connection, ONE, done=False)] == [(said.id, "ada")], (
                "what was said before"
            )
        looked_at(store, [1])
        double.close(project, second)
        until(lambda: asked_for(store) == [2])
        assert double.unchanged > 0
        with store.read() as connection:
            found = load_pull(connection, ONE)
            assert found is not None and found.location == "/repo"


def test_a_poll_that_fails_is_made_up_for(store: Store, double: GithubDouble, project: Project) -> None:
    with posting(store, of(double, poll_s=0.3)) as (_, heard):
        until(lambda: heard.names("polled"))
        double.faults.extend([Fault(502)] * 2)
        said = double.say(project, project.pulls[1], "ada", "octofleet plan")

        def found() -> bool:
            with store.read() as connection:
                return [one.comment for one in commands_of(connection, ONE, done=False)] == [said.id]

        until(found)
        double.projects.clear()
        until(lambda: heard.names("poll-failed"))
