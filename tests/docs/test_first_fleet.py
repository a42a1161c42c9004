"""docs/first-fleet.md, applied: its files on what `octofleet init` makes are valid, and do what the page says they do."""

import re
from pathlib import Path

from reconciler.cli.init import commit_all
from reconciler.identity.local import whoami
from tests.cli.command import quick
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "first-fleet.md").read_text()
FILE = re.compile(r"^```yaml\n# (?P<name>\S+)(?P<below> \(below spec\))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
ENV = {"OCTOFLEET_MEMORY__ENABLED": "true"}


def step(directory: Path, title: str) -> None:
    """Write what a section shows, with the login of who runs this for ada, and commit it."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    for found in FILE.finditer(section):
        path, body = directory / found["name"], found["body"].replace("local:ada", whoami())
        path.parent.mkdir(exist_ok=True)
        if found["below"]:
            path.write_text(path.read_text() + re.sub(r"^(?=.)", "  ", body, flags=re.MULTILINE))
        else:
            path.write_text(body)
    commit_all(directory, title)


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    data, directory = tmp_path / "data", tmp_path / "fleet"
    where = ("--repo", str(directory))
    assert quick(data, "init", str(directory)).code == 0
    assert quick(data, "apply", "--approve", *where, env=ENV).code == 0
    step(directory, "Hosts and a second tenant")
    assert quick(data, "validate", *where, "--json").json["summary"]["hosts"] == 12
    assert quick(data, "apply", "--approve", *where, env=ENV).code == 0
    for title in ("A rollout", "Windows and freezes", "Approvals by owner", "A policy", "Roles for three people"):
        step(directory, title)
    assert quick(data, "validate", *where).code == 0
    assert quick(data, "apply", "--approve", *where, env=ENV).code == 0
    told = quick(data, "access", "local:ben", "--action", "apply", "--tenant", "main").out
    assert "local:ben  apply  main  main: yes" in told
    for me in (whoami(), "account:ada"):
        assert f"{me} is super-admin in every tenant" in quick(data, "access", me).out, "who follows the page is not locked out"
    assert {row["name"] for row in quick(data, "gates", "--json").json["windows"]} == {"christmas", "lab/nights"}
    step(directory, "The same in a browser")
    assert quick(data, "apply", "--approve", *where, env=ENV).code == 0
    assert "token:watch is viewer" in quick(data, "access", "token:watch").out
    role = directory / "roles" / "web.yaml"
    role.write_text(role.read_text().replace("[nginx]", "[nginx, curl]"))
    commit_all(directory, "curl")
    planned = quick(data, "plan", *where, "--json", env=ENV)
    assert planned.code == 3 and [one["rule"] for one in planned.json["approvals"]] == ["the web team"]
    assert sum(not phase["check"] for phase in planned.json["phases"]) == 5
    role.write_text(role.read_text().replace("curl", "telnetd"))
    commit_all(directory, "telnet")
    assert ["no-telnet" in verdict["guard"] for verdict in quick(data, "plan", *where, "--json", env=ENV).json["guards"]] == [True]
