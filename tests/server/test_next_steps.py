"""What to do next is said over HTTP in words of the pages, where a page does what a command does."""

from pathlib import Path

import pytest

from reconciler.reading.next_step import of_server, over_http
from reconciler.store.followed import APPROVAL, follow
from reconciler.why_source import DEFERRED_NEXT
from tests.server.site import web
from tests.server.tenants import CALLERS, two_tenants
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

PLAN, RUN = "0b031ec58c32", "20260102-030405-a1b2c3"


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (f"octofleet apply {PLAN} --approve", f"Apply at /plans/{PLAN}"),
        (f"octofleet apply {PLAN} goes on", f"Apply at /plans/{PLAN} goes on"),
        (
            f"look at the plan, then octofleet approve {PLAN} --reason WHY, or octofleet apply {PLAN} --approve",
            f"look at the plan, then Approve at /plans/{PLAN}, or Apply at /plans/{PLAN}",
        ),
        (f"octofleet resume {RUN} goes on", f"Resume at /runs/{RUN} goes on"),
        ("octofleet resume 0a1b2c3d", "Go on at /gates"),
        (f"wait; octofleet promote {RUN} --reason WHY --now goes on at once", f"wait; Promote at /runs/{RUN} goes on at once"),
        (f"octofleet cancel {RUN} --reason WHY gives it up", f"Cancel the run at /runs/{RUN} gives it up"),
        ("sooner: octofleet override shop/nights --for 1h --reason WHY", "sooner: Override shop/nights at /gates"),
        ("make a new one with octofleet plan", "make a new one with Plan at /plans"),
        ("octofleet runs lists them", "/runs lists them"),
        (DEFERRED_NEXT["desired-unknown"], "/validate names what is wrong in the repository"),
        *(
            (only, only)
            for only in (
                "octofleet validate shows where to mend it",
                "octofleet serve --repo follows one",
                "octofleet account add ada --owner",
                "octofleet plan --repo /srv/x tries it",
            )
        ),
    ],
)
def test_hints_name_the_page_whose_button_does_it(hint: str, said: str) -> None:
    assert over_http(hint) == said


def test_a_program_is_told_whole_addresses() -> None:
    url = "https://fleet.example.net"
    assert of_server(f"Approve at /plans/{PLAN}, or see /runs", url) == f"Approve at {url}/plans/{PLAN}, or see {url}/runs"
    assert of_server("https://other.example.net/plans/1 and /srv/plans/x", url) == "https://other.example.net/plans/1 and /srv/plans/x"


def test_a_repository_that_waits_names_the_page_of_its_plan(tmp_path: Path, database_url: str) -> None:
    """The machine's own command says `octofleet apply PLAN --approve`."""
    site = two_tenants(tmp_path, database_url)
    where, plan = str(site.repo.path), site.rows("SELECT id FROM plan")[0][0][:12]
    with site.store.write() as connection:
        follow(connection, where)
        said = "UPDATE repository SET code = ?, about = ?, note = 'it waits', next = ? WHERE location = ?"
        connection.run(said, (APPROVAL, plan, f"octofleet apply {plan} --approve", where))
    with web(site.installation, *CALLERS) as served:
        for path in ("/status", "/overview"):
            (found,) = served.page(f"/api/v1{path}", "github:root").json["repositories"]
            assert found["next"] == f"Apply at /plans/{plan}", path
        assert served.page(f"/plans/{plan}", "github:root").status == 200
        for path in ("/status", "/"):
            page = served.page(path, "github:root").text
            assert f'<a href="/plans/{plan}">/plans/{plan}</a>' in page and "octofleet apply" not in page, path
        refused = served.page("/api/v1/runs/none", "github:root").json
        assert refused["hint"] == "/runs lists them"
