"""A playbook with what roles do in the field, through the real command on real hosts: foreseen, done, and then nothing."""

from pathlib import Path

from tests.ansible import repository
from tests.ansible.lab import PASSWORD, Lab
from tests.ansible.site import Site, changes, deferred, role

TOKEN = "tok-e9d41b77-only-on-hosts"
SECRETS = """\
  vars:
    app_token: {secretRef: {store: vault, key: token}}
"""
BECOME = """\
  vars:
    ansible_become_password: {secretRef: {store: vault, key: sudo}}
"""


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
        import json

        print(json.dumps(changes(first), indent=1))
        print(deferred(first))
        said = site.apply(first)
        print(said.text[-6000:])
        print(site.ended())
        print(json.dumps(site.plan(), indent=1)[:5000])
        assert 0
