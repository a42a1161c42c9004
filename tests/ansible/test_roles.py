"""A playbook with what roles do in the field, through the real command on real hosts: foreseen, done, and then nothing."""

import json
from pathlib import Path
from typing import Any

from tests.ansible import repository
from tests.ansible.lab import PASSWORD, Lab
from tests.ansible.site import Site, changes, deferred, role

FORESEEN = {
    f"/tasks/{task}"
    for task in (
        "Note/content",
        "Turn/content",
        "app : A limit/content",
        "app : Configuration/content",
        "app : Member/content",
        "app : Packages/diff",
        "app : Token/change",
        "files : Directory/state",
        "files : File/one/content",
        "files : File/two/content",
    )
}
TOKEN = "tok-e9d41b77-only-on-hosts"
SECRETS = """\
  vars:
    app_token: {secretRef: {store: vault, key: token}}
"""
BECOME = """\
  vars:
    ansible_become_password: {secretRef: {store: vault, key: sudo}}
"""


def paths(plan: Any, who: str) -> set[str]:
    return {field["path"] for field in changes(plan)[who]["fields"]}


def test_what_roles_do_is_foreseen_done_and_then_nothing(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, value in (("token", TOKEN), ("sudo", PASSWORD)):
        (secrets / name).touch(mode=0o600)
        (secrets / name).write_text(value)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[secrets.stores.vault]\ntype = "directory"\npath = "{secrets}"\ntenants = ["*"]\n')
    files = {"role.yaml": role("web", "{playbook: ansible/whole/site.yml, project: ansible/whole, become: true}", SECRETS)}
    with Lab(tmp_path / "lab", hosts=2, asking=[2]) as lab:
        repository.give(lab.machines.values(), tmp_path)
        site = Site(lab=lab, path=tmp_path, files=files, projects=["whole"], specs={2: BECOME}, env={"OCTOFLEET_CONFIG": str(settings)})
        first = site.plan()
        assert not deferred(first) and set(changes(first)) == {"node-01.web", "node-02.web"}
        assert paths(first, "node-02.web") >= FORESEEN and paths(first, "node-01.web") - paths(first, "node-02.web") == {
            "/tasks/app : Leader/content"
        }
        blind = "\n".join(changes(first)["node-01.web"]["blindSpots"])
        assert "app : Who am I (ansible/whole/roles/app/tasks/main.yml:61): check_mode: false: it really runs, also while planning" in blind
        for skipped in ("app : Index", "app : Service", "app : Restart shopd", "app : Is it up"):
            assert f"{skipped} (" in blind and "it is skipped because this is check mode" in blind
        assert not lab[1].has("/etc/shopd.conf") and not lab[1].has("/srv/members"), "a plan changes nothing"

        said = site.apply(first)
        assert site.ended() == dict.fromkeys(("node-01.web", "node-02.web"), ("done", "")), said.text[-3000:]
        for machine in lab.machines.values():
            assert machine.read("/run/shopd.state") == machine.read("/etc/shopd.conf"), "the service began with its configuration"
            assert machine.read("/etc/shopd.token") == f"{TOKEN}\n" and machine.run("stat -c %a /etc/shopd.token") == "600\n"
            assert machine.has("/srv/index") and machine.read("/etc/shopd.turn") == "1 at once\n"
            assert machine.run("ls /etc/rc2.d/*shopd")
        assert lab[1].run("ls /srv/members") == "node-01\nnode-02\n" and lab[2].run("ls /srv/members") == ""
        assert lab[1].has("/etc/shopd.leader") and not lab[2].has("/etc/shopd.leader")

        again = site.plan()
        assert not again["changes"] and not again["deferred"] and again["complete"], "idempotent, also where check mode is blind"
        everything = json.dumps([first, again]) + said.text + json.dumps(site.run())
        assert TOKEN not in everything and PASSWORD not in everything
    assert not [path for path in site.data.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
