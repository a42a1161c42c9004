"""A pull request from open to converged through a real `octofleet serve`: webhooks in, comment, status and reactions out, over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.forges.double import SECRET, TOKEN, Fault
from tests.store.databases import database_url, kind  # noqa: F401 - fixtures
from tests.webhooks.serving import serving, until
from tests.webhooks.site import PullSite


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[PullSite]:  # noqa: F811
    with PullSite(tmp_path, database_url) as made:
        yield made


def test_a_pull_request_from_open_to_converged(site: PullSite) -> None:
    with serving(site):
        until(site, lambda: site.rows("SELECT 1 FROM run WHERE state = 'done'"), "the first apply")
        site.change("more", 1, 2)
        pull = site.open("more", title="More of @all <script>")
        until(site, lambda: site.double.ours(pull), "a comment")
        until(site, lambda: [s.state for s in site.project.statuses if s.commit == pull.head][-1:] == ["success"], "a status")
        site.double.say(site.project, pull, "olga", "octofleet lock mine")
        until(site, lambda: "9 resources" in site.double.ours(pull)[0].body or "locked" in site.double.ours(pull)[0].body, "an answer")
        until(site, lambda: any(comment.reactions for comment in pull.comments), "a reaction")
        site.double.faults.append(Fault(status=502))
        site.change("more", 3)
        site.double.pushed(site.project, pull)
        until(site, lambda: [s.state for s in site.project.statuses if s.commit == pull.head][-1:] == ["success"], "a status after a push")
        until(site, lambda: "web-03" in site.double.ours(pull)[0].body, "the comment of the new plan")
        again = site.double.sent[-1]
        assert site.double.send(again.headers, again.body) == 200, "a delivery that came twice is taken"
        assert site.double.send({**again.headers, "X-Hub-Signature-256": "sha256=" + "0" * 64}, again.body) in (401, 403)
        site.double.merge(site.project, pull, squash=True)
        until(site, lambda: "done" in site.double.ours(pull)[0].body, "what became of it")
        assert len(site.double.ours(pull)) == 1, "there is more than one comment"
        assert {sent.status for sent in site.double.sent} <= {200, 202, 401, 403}
        assert site.rows("SELECT count(*) FROM run WHERE state = 'done'") == [(2,)]
        log = (site.path / "serve.log").read_text()
        assert SECRET not in log and TOKEN not in log and "Traceback" not in log


def test_what_was_delivered_is_worked_on_after_a_kill(site: PullSite) -> None:
    with serving(site) as served:
        until(site, lambda: site.rows("SELECT 1 FROM run WHERE state = 'done'"), "the first apply")
        site.change("more", 1)
        pull = site.open("more")
        site.double.say(site.project, pull, "olga", "octofleet lock mine")
        served.process.kill()
        served.process.wait()
        assert [sent.status for sent in site.double.sent] == [202, 202] or {sent.status for sent in site.double.sent} == {200}
    site.write("DELETE FROM worker WHERE id <> ?", "pulls")
    site.write("UPDATE pull SET owner = ''")
    site.double.hook = ""
    with serving(site):
        until(site, lambda: site.double.ours(pull) and "locked" in site.double.ours(pull)[0].body, "the answer")
        assert site.rows("SELECT count(*) FROM pull_command WHERE done_at IS NOT NULL") == [(1,)]
