"""Commands on either kind of database."""

import json
from pathlib import Path

import pytest

from reconciler.store.engine import Store
from reconciler.store.records import Counts, applied_commit
from tests.cli.command import quick
from tests.fleets import host, octofleet, repo
from tests.peers import postgresql as peer


def test_a_fleet_is_planned_and_applied(database_url: str, tmp_path: Path) -> None:
    env = {"OCTOFLEET_DATABASE_URL": database_url}
    git, data = repo(tmp_path / "git"), tmp_path / "data"
    applied = quick(data, "apply", "--approve", "--repo", str(git.path), env=env)
    assert applied.code == 0, applied.err
    assert quick(data, "plan", "--repo", str(git.path), env=env).code == 0, "nothing is left to do"
    commit = git.commit({"host-9.yaml": host("web-09", 9)})
    made = quick(data, "plan", "--repo", str(git.path), "--json", env=env)
    assert made.code == 2 and json.loads(made.out)["id"]
    assert quick(data, "apply", str(made.json["id"]), "--approve", env=env).code == 0
    assert "done" in quick(data, "runs", env=env).out and quick(data, "status", env=env).code == 0
    store = Store(database_url)
    with store.read() as connection:
        (found,) = {name: applied_commit(connection, name) for (name,) in connection.rows("SELECT name FROM source")}.items()
        assert found[1] is not None and found[1][0] == str(commit)
        assert dict(Counts(connection, found[0]))["memory", "machine"] > 1
    store.close()
    assert not (data / "octofleet.db").exists(), "the record stands nowhere else"


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("command", [("doctor",), ("doctor", "--json"), ("status", "--debug")])
@pytest.mark.parametrize("right", [True, False])
def test_no_command_shows_the_password(database_url: str, tmp_path: Path, command: tuple[str, ...], right: bool) -> None:
    password = peer.PASSWORD if right else "hunter2"
    url = peer.shared().tcp_url(database_url.rpartition("/")[2], password)
    done = octofleet(tmp_path / "data", *command, env={"OCTOFLEET_DATABASE_URL": url})
    said = done.out + done.err
    assert (done.code == 0) == right and said and url not in said and password not in said
    assert right or f"postgresql://{peer.USER}@127.0.0.1" in said
