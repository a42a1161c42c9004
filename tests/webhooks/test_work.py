"""Pull requests from open to applied: what is planned, who may say what, what is to stand at the forge. With the forge's double over real HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pygit2
import pytest
from msgspec.structs import replace

from reconciler.drivers.driver import Context, Target
from reconciler.drivers.wrap import Wrapped
from reconciler.store.engine import Unavailable, sqlite_url
from reconciler.types.observation import Observation
from tests.fleets import FLEET
from tests.peers.forges.double import Fault
from tests.webhooks.site import PEOPLE, PullSite
from webhooks import looking, speaking
from webhooks.forge import Verdict


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PullSite]:
    with PullSite(tmp_path, sqlite_url(tmp_path)) as made:
        made.apply_branch()
        yield made


def test_what_a_pull_request_brings_is_planned_and_applied_when_it_is_merged(site: PullSite) -> None:
    site.change("more", 1, 2)
    pull = site.open("more")
    row = site.look(pull)
    assert row.state == "open" and row.head == pull.head and row.plan is not None
    assert site.status(pull).verdict is Verdict.SUCCESS and "on 2 hosts" in site.status(pull).text
    assert "host/shop/web-01" in site.comment(pull) or "web-01" in site.comment(pull)
    assert site.post(pull) == 2
    site.look(pull)
    assert site.post(pull) == 0, "the same was to be posted again"
    site.double.merge(site.project, pull)
    site.look(pull)
    site.apply_branch()
    assert site.look(pull).due_at > 1e11
    assert "run " in site.comment(pull) and "done" in site.comment(pull)
    site.change("again", 1)
    assert site.look(site.open("again")).plan is not None


def test_a_run_that_was_over_before_anybody_looked_is_named_all_the_same(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    site.double.merge(site.project, pull)
    site.apply_branch()
    site.change("later", 2)
    site.double.merge(site.project, site.open("later"))
    ((run,),) = site.rows("SELECT id FROM run ORDER BY started_at DESC LIMIT 1")
    site.apply_branch()
    with site.store.write() as connection:
        connection.run("UPDATE repository SET code = 'settled', about = '', note = 'nothing to do', next = ''")
    site.look(pull)
    assert len(site.rows("SELECT id FROM run WHERE state = 'done' AND started_at >= (SELECT started_at FROM run WHERE id = ?)", run)) == 2
    assert f"run `{run}` done" in site.comment(pull), "the one that applied it, not a later one"


def test_comment_and_status_lead_to_the_page_of_the_plan(tmp_path: Path, site: PullSite) -> None:
    site.change("more", 1)
    alone = site.open("more")
    site.look(alone)
    assert "the full plan (`octofleet plan " in site.comment(alone) and site.status(alone).url == "", "nobody said where the page is"
    (tmp_path / "other").mkdir()
    with PullSite(tmp_path / "other", sqlite_url(tmp_path / "other"), public_url="https://octofleet.example.net/") as made:
        made.apply_branch()
        made.change("more", 1)
        pull = made.open("more")
        row = made.look(pull)
        with made.store.read() as connection:
            plan = connection.scalar('SELECT id FROM plan WHERE "row" = ?', (row.plan,))
        page = f"https://octofleet.example.net/plans/{plan}"
        assert f"See [the full plan]({page})." in made.comment(pull) and made.status(pull).url == page


def test_a_push_plans_again_and_a_closed_one_lets_go(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    first = site.look(pull)
    site.change("more", 2)
    second = site.look(pull)
    assert second.head == pull.head != first.head and second.plan != first.plan
    assert {address.rpartition("/")[2] for (address,) in site.rows("SELECT address FROM pull_lock")} >= {"web-01", "web-02"}
    site.double.close(site.project, pull)
    row = site.look(pull)
    assert row.state == "closed" and row.due_at > 1e11 and site.rows("SELECT address FROM pull_lock") == []


def test_the_branch_moves_on_below_it(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.change("main", 3)
    site.look(pull)
    assert "on 1 host" in site.status(pull).text, "what the branch has already counts as its own"
    site.commit("main", {"host-1.yaml": None})
    site.look(pull)
    assert site.status(pull).verdict is Verdict.FAILURE and "conflict" in site.status(pull).text


def test_two_pull_requests_that_touch_one_resource(site: PullSite) -> None:
    site.change("one", 1, 2)
    site.change("other", 2, 3, packages="tmux")
    one, other = site.open("one"), site.open("other")
    site.look(one)
    site.look(other)
    assert site.status(one).verdict is Verdict.SUCCESS
    assert site.status(other).verdict is Verdict.FAILURE and "acme/fleet#1" in site.status(other).text
    assert "acme/fleet#1" in site.comment(other) or "#1" in site.comment(other)
    assert "unlocked" in site.say(one, "olga", "octofleet unlock")
    site.look(other)
    assert site.status(other).verdict is Verdict.SUCCESS
    site.look(one)
    assert site.status(one).verdict is Verdict.FAILURE


def test_who_may_say_what(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    assert "may not lock" in site.say(pull, "victor", "octofleet lock mine")
    denied = site.say(pull, "mallory", "octofleet plan")
    assert "may not plan" in denied and "RoleMapping, to github:LOGIN" in denied and "mallory" not in denied
    assert "may not approve" in site.say(pull, "olga", "octofleet approve")
    assert "planned again" in site.say(pull, "victor", "octofleet plan")
    assert "locked" in site.say(pull, "olga", "octofleet lock mine")
    assert "no such command" in site.say(pull, "mallory", "octofleet explode")
    assert "octofleet approve" in site.say(pull, "mallory", "octofleet help")
    assert "paused" not in site.say(pull, "victor", "octofleet pause too hot")
    assert "nothing begins in tenant/shop (3 hosts) until 20" in site.say(pull, "olga", "octofleet pause tenant/shop --for 2h too hot")
    assert site.rows("SELECT scope, identity, reason FROM pause") == [("tenant/shop", "github:olga", "too hot")]
    assert "1 pause" in site.say(pull, "olga", "octofleet resume tenant/shop")
    assert site.say(pull, "olga", "octofleet pause --for 10m host/shop/no-such hot").startswith(
        "nothing begins in host/shop/no-such (0 hosts)"
    )
    assert "1 pause" in site.say(pull, "olga", "octofleet resume host/shop/no-such")
    assert "not merged" in site.say(pull, "olga", "octofleet apply")
    said = site.rows("SELECT identity, action FROM audit WHERE action IN ('lock', 'pause', 'resume') ORDER BY seq")
    assert said == [("github:olga", what) for what in ("lock", "pause", "resume", "pause", "resume")]


def test_an_approval_is_of_the_plan_that_was_seen(site: PullSite) -> None:
    site.commit("less", {"host-3.yaml": None})
    pull = site.open("less")
    row = site.look(pull)
    assert site.status(pull).verdict is Verdict.PENDING and "destructive" in site.status(pull).text
    (first,) = site.rows('SELECT id FROM plan WHERE "row" = ?', row.plan)[0]
    site.change("less", 1)
    assert "a newer plan was made meanwhile" in site.say(pull, "petra", "octofleet approve")
    assert "the plan has changed" in site.say(pull, "petra", f"octofleet approve {first[:12]}")
    assert site.rows("SELECT id FROM approval") == []
    assert "approved" in site.say(pull, "petra", "octofleet approve reviewed with care")
    assert site.status(pull).verdict is Verdict.SUCCESS
    ((identity, reason),) = site.rows("SELECT identity, reason FROM approval")
    assert (identity, reason) == ("github:petra", "reviewed with care")
    site.double.merge(site.project, pull, squash=True)
    site.apply_branch()
    assert [state for (state,) in site.rows("SELECT state FROM run ORDER BY started_at")] == ["done", "done"], "the approval did not hold"


def test_nobody_approves_what_he_opened(tmp_path: Path) -> None:
    text = FLEET + "  approvals:\n    - {name: four-eyes, risks: [destructive], notAuthor: true}\n"
    with PullSite(tmp_path, sqlite_url(tmp_path), fleet_text=text) as site:
        site.apply_branch()
        site.commit("less", {"host-3.yaml": None}, author=pygit2.Signature("somebody", "else@example.net"))
        pull = site.open("less", author="ada")
        site.look(pull)
        assert "approved" in site.say(pull, "ada", "octofleet approve")
        assert site.status(pull).verdict is Verdict.PENDING and "four-eyes" in site.status(pull).text
        site.double.merge(site.project, pull)
        site.look(pull)
        site.apply_branch()
        assert len(site.rows("SELECT id FROM run")) == 1, "his own word was enough"
        assert site.rows("SELECT code FROM repository") == [("approval",)]


def test_a_fork_runs_nothing_until_somebody_may_who_says_so(site: PullSite, tmp_path: Path) -> None:
    fork = tmp_path / "fork.git"
    pygit2.clone_repository(str(site.git), str(fork), bare=True)
    site.change("evil", 1, git=fork)
    pull = site.open("evil", author="mallory", fork=fork)
    site.look(pull)
    assert site.status(pull).verdict is Verdict.PENDING and "fork" in site.status(pull).text
    assert "may not plan-untrusted" in site.say(pull, "victor", "octofleet plan")
    assert "says which head" in site.say(pull, "olga", "octofleet plan") and site.row(pull).trusted == ""
    assert "may run engines" in site.say(pull, "olga", f"octofleet plan {pull.head}")
    assert site.status(pull).verdict is Verdict.SUCCESS and site.row(pull).trusted == pull.head
    site.change("evil", 2, git=fork)
    site.double.pushed(site.project, pull)
    site.look(pull)
    assert site.status(pull).verdict is Verdict.PENDING, "another head is trusted too"


def test_a_broken_repository_is_told(site: PullSite) -> None:
    site.commit("broken", {"host-1.yaml": "apiVersion: octofleet/v1\nkind: Host\nspec: [\n"})
    pull = site.open("broken")
    site.look(pull)
    assert site.status(pull).verdict is Verdict.FAILURE and "host-1.yaml" in site.comment(pull)
    site.commit("gone", {"fleet.yaml": None})
    other = site.open("gone")
    site.look(other)
    assert site.status(other).verdict is Verdict.FAILURE


def test_applying_on_a_word(tmp_path: Path) -> None:
    with PullSite(tmp_path, sqlite_url(tmp_path), apply_on="comment") as site:
        site.change("more", 1)
        pull = site.open("more")
        site.look(pull)
        site.double.merge(site.project, pull)
        site.look(pull)
        site.apply_branch()
        assert site.rows("SELECT id FROM run") == [] and site.rows("SELECT code FROM repository") == [("reported",)]
        site.look(pull)
        assert "waits for octofleet apply in its pull request" in site.comment(pull)
        assert "```text\noctofleet apply\n```" in site.comment(pull) and "next:" not in site.comment(pull)
        assert "no RoleMapping" in site.say(pull, "mallory", "octofleet apply")


def test_what_was_merged_and_waits_for_approval_says_who_can_and_names_nobody(site: PullSite) -> None:
    site.apply_branch()
    site.commit("less", {"host-3.yaml": None})
    pull = site.open("less")
    row = site.look(pull)
    assert "rejected" in site.say(pull, "petra", "octofleet reject not now")
    site.double.merge(site.project, pull)
    site.look(pull)
    site.apply_branch()
    site.look(pull)
    text = site.comment(pull)
    assert "merged, and not applied yet" in text and "waits for approval" in text
    assert "rejected" in text and "petra" not in text and "not now" not in text.partition("### Answers")[0]
    with site.store.read() as connection:
        plan = connection.scalar('SELECT id FROM plan WHERE "row" = ?', (row.plan,))
    assert f"octofleet approve {plan[:12]}" in text
    assert "approved" in site.say(pull, "petra", "octofleet approve")
    site.apply_branch()
    site.look(pull)
    assert "merged and applied" in site.comment(pull)


def test_what_is_onto_another_branch_is_left_alone(site: PullSite) -> None:
    site.commit("side", {"x.txt": "x"})
    site.change("more", 1)
    pull = site.open("more", base="side")
    row = site.look(pull)
    assert row.plan is None and "not followed" in row.note and site.comment(pull) == ""


def test_a_forge_that_is_away_is_asked_again(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.double.faults.append(Fault(status=503))
    row = site.look(pull)
    assert row.failures == 1 and row.plan is None and row.due_at < 1e11
    site.write("UPDATE pull SET due_at = 0")
    assert site.work.once() and site.row(pull).plan is not None and site.row(pull).failures == 0


def test_a_fork_that_nobody_trusts_has_nothing_looked_at(site: PullSite, tmp_path: Path) -> None:
    fork = tmp_path / "fork.git"
    pygit2.clone_repository(str(site.git), str(fork), bare=True)
    site.change("evil", 1, git=fork)
    pull = site.open("evil", author="mallory", fork=fork)
    with observing() as seen:
        site.look(pull)
        assert seen == [] and "user-data/shop/web-01" in site.comment(pull) and "+  - htop" not in site.comment(pull)
        site.say(pull, "olga", f"octofleet plan {pull.head}")
        assert seen and "+  - htop" in site.comment(pull)


def test_a_pull_request_has_to_be_signed_and_up_to_date_where_that_is_asked_for(tmp_path: Path) -> None:
    keys = tmp_path / "signers"
    keys.mkdir()
    (keys / "allowed_signers").write_text("")
    with PullSite(tmp_path, sqlite_url(tmp_path), signed=True, signers=str(keys), up_to_date=True) as site:
        site.apply_branch()
        site.change("more", 1)
        pull = site.open("more")
        site.look(pull)
        assert site.status(pull).verdict is Verdict.FAILURE and "not signed by a known key" in site.status(pull).text
        assert "unsigned" in site.comment(pull)
        site.work.looking.rules = {key: replace(rule, signed=False) for key, rule in site.work.looking.rules.items()}
        site.look(pull)
        assert site.status(pull).verdict is Verdict.SUCCESS
        site.change("main", 3)
        site.look(pull)
        assert site.status(pull).verdict is Verdict.FAILURE and "the branch has commits" in site.status(pull).text


def test_roles_that_a_pull_request_gives_do_not_count_in_it(site: PullSite) -> None:
    site.commit("mine", {"people.yaml": PEOPLE.replace('"github:olga"', '"github:olga", "github:mallory"')})
    pull = site.open("mine", author="mallory")
    site.look(pull)
    assert "github:mallory is operator" in site.comment(pull).replace("`", ""), "who gains what is not told"
    assert "may not lock" in site.say(pull, "mallory", "octofleet lock mine")


@contextmanager
def observing() -> Iterator[list[str]]:
    """The addresses that any driver is asked to observe meanwhile."""
    seen: list[str] = []
    before = Wrapped.observe

    def observe(self: Wrapped, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        seen.extend(target.address for target in targets)
        return before(self, targets, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wrapped, "observe", observe)
        yield seen


@pytest.mark.parametrize(
    "command", ["lock mine", "unlock", "approve it is fine", "reject not this", "pause tenant/shop a while", "resume tenant/shop"]
)
def test_a_command_cut_short_is_done_once(site: PullSite, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away when the answer is to be written: what the command did is not there either."""
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    if command.startswith("resume"):
        site.say(pull, "root", "octofleet pause tenant/shop a while")

    before = site.rows("SELECT action FROM audit")

    def away(connection: object, command: object, text: str) -> bool:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(speaking, "answer", away)
        with pytest.raises(Unavailable):
            site.say(pull, "root", f"octofleet {command}")
    assert site.work.once(), "nobody has the pull request on lease"
    after = [action for (action,) in site.rows("SELECT action FROM audit ORDER BY seq")[len(before) :]]
    assert after == [command.partition(" ")[0]]
    assert site.rows("SELECT count(*) FROM pull_command WHERE done_at IS NULL OR answer LIKE '0 %'") == [(0,)]
    assert not site.work.once()


def test_who_dies_after_a_word_has_still_heard_it(site: PullSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(looking, "want_heard", interrupted)
        site.say(pull, "olga", "octofleet unlock")
    assert site.row(pull).let_go == pull.head and site.rows("SELECT address FROM pull_lock") == []
    site.look(pull)
    assert site.rows("SELECT address FROM pull_lock") == [], "what was unlocked is held again"
    fork = tmp_path / "fork.git"
    pygit2.clone_repository(str(site.git), str(fork), bare=True)
    site.change("theirs", 2, git=fork)
    other = site.open("theirs", author="mallory", fork=fork)
    site.look(other)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(looking, "want_heard", interrupted)
        site.say(other, "olga", f"octofleet plan {other.head}")
    site.look(other)
    assert site.row(other).trusted == other.head and site.status(other).verdict is Verdict.SUCCESS


def interrupted(*_: object) -> None:
    """As if the process were killed there."""
    raise KeyboardInterrupt
