"""`octofleet tasks` on the installation's machine."""

import time
from pathlib import Path

import pytest

from reconciler.store.engine import Store
from reconciler.store.plans import save_plan
from reconciler.store.runs import JournalRun, create_run
from reconciler.store.tasks import save_tasks
from tests.cli.command import quick
from tests.server.tenants import EVIL, played
from tests.store.test_journal_work import PLAN


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tasks") / "data"
    found.mkdir(mode=0o700)
    store = Store(f"sqlite:///{found / 'octofleet.db'}")
    with store.write() as connection:
        row = save_plan(connection, PLAN, "nowhere")
        run = JournalRun(id="20260101-run", plan=row, source="f", state="done", started_at=time.time(), ended_at=time.time(), reason="")
        create_run(connection, run, [])
        save_tasks(connection, [(run.id, 0, 1, played("shop", time.time() - 60, 2))])
    store.close()
    return found


def test_results_and_what_takes_longest(data: Path) -> None:
    listed = quick(data, "tasks")
    assert listed.code == 0 and len(listed.out.splitlines()) == 4
    assert f"failed           2.0 s  shop/web-02  Install 1 (shop.yml:3): no space on web-02 {EVIL}" in listed.out
    failed = quick(data, "tasks", "--run", "2026", "--host", "shop/web-02", "--status", "failed", "--search", "INSTALL 1", "--json")
    assert [(one["host"], one["name"]) for one in failed.json["tasks"]] == [("web-02", "Install 1")]
    slowest = quick(data, "tasks", "--slowest", "--json").json["tasks"]
    assert [(one["name"], one["seconds"], one["mostS"]) for one in slowest] == [("Install 1", 5.0, 3.0), ("Install 0", 4.0, 3.0)]
    assert "5.0 s  longest     3.0 s" in quick(data, "tasks", "--slowest", "--limit", "1").out
    assert quick(data, "tasks", "--status", "unreachable").out == "no such task was kept\n"


@pytest.mark.parametrize(("args", "says"), [(("--host", "web"), "web is no host"), (("--run", "nope"), "there is no run nope")])
def test_what_cannot_be_listed(data: Path, args: tuple[str, ...], says: str) -> None:
    refused = quick(data, "tasks", *args)
    assert refused.code == 1 and says in refused.err and "Traceback" not in refused.err
