"""Nobody approves his own change where the fleet forbids it, and going past that is told."""

from pathlib import Path

import pygit2
import pytest

from reconciler.beginning import begin
from reconciler.errors import Refused
from reconciler.planning import Planned, make_plan
from reconciler.store.approvals import standing
from reconciler.store.audit import entries
from reconciler.types.request import Request
from tests.fleets import FLEET
from tests.gate.site import QUIET, Site

RULE = FLEET.replace("spec:\n", "spec:\n  approvals: [{name: another one, notAuthor: true}]\n")
PEOPLE = """\
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: all}
spec:
  bindings: [{role: super-admin, subjects: ["local:ada", "local:grace"]}]
  people:
    - {name: Ada, identities: ["local:ada", "email:ada@example.net"]}
    - {name: Grace, identities: ["local:grace", "email:grace@example.net"]}
"""


class Ours(Site):
    """A fleet where only another one's word counts."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path, "", hosts=2, files={"fleet.yaml": RULE, "people.yaml": PEOPLE})
        self._patch = monkeypatch
        self.settle()

    def edit(self, number: int, who: str, spec: str = QUIET) -> str:
        """Somebody changes a host, as his commit says."""
        self.change(number, spec=spec)
        git = pygit2.Repository(str(self.repo.path))
        author = pygit2.Signature(who, f"{who}@example.net")
        return str(git.amend_commit(git.head.peel(pygit2.Commit), "HEAD", author=author, committer=author))

    def planned(self, **more: str) -> Planned:
        return make_plan(self.installation, self.installation.repository(str(self.repo.path)), Request(**more))

    def says_yes(self, who: str, row: int, glass: str = "") -> str:
        """He approves and applies it."""
        self._patch.setattr("reconciler.gating.whoami", lambda: f"local:{who}")
        return begin(self.installation, row, approved=True, glass=glass)


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ours:
    return Ours(tmp_path, monkeypatch)


def refused(ours: Ours, who: str, row: int) -> None:
    with pytest.raises(Refused, match="who is not the author"):
        ours.says_yes(who, row)


def test_whatever_the_plan_is_compared_with(ours: Ours) -> None:
    head = ours.edit(1, "ada")
    refused(ours, "ada", ours.planned().row)
    refused(ours, "ada", ours.planned(base=head).row)
    ours.says_yes("grace", ours.planned(base=head).row)


def test_going_back_to_his_own_state(ours: Ours) -> None:
    mine = ours.edit(1, "ada")
    ours.says_yes("grace", ours.planned().row)
    ours.work()
    ours.edit(1, "grace", spec="  packages: [strace]\n")
    ours.says_yes("ada", ours.planned().row)
    ours.work()
    refused(ours, "ada", ours.planned(rev=mine).row)
    refused(ours, "grace", ours.planned(rev=mine).row)


def test_a_broken_glass_is_told_though_his_roles_would_do(ours: Ours, capsys: pytest.CaptureFixture[str]) -> None:
    ours.edit(1, "ada")
    row = ours.planned().row
    with pytest.raises(Refused):
        ours.says_yes("ada", row, glass="")
    run = ours.says_yes("ada", row, glass="the house burns")
    with ours.store.read() as connection:
        told = {entry.action: entry for entry in entries(connection, run=run)}
        assert (told["break-glass"].tenants, told["break-glass"].commit) == (["shop"], told["apply"].commit)
        assert "waits for approval" in told["break-glass"].details["denied"] and told["break-glass"].reason == "the house burns"
        assert standing(connection, 0.0) == [], "his own word serves no later run"
