"""Where a variable comes from, over HTTP: the files of Ansible projects show on the page as the command says them, and nothing in them is markup."""

from pathlib import Path

from tests.server.site import web
from tests.server.tenants import CALLERS, two_tenants

ROLE = "apiVersion: octofleet/v1\nkind: Role\nmetadata: {name: web}\nspec:\n  ansible: {playbook: play/site.yml}\n  vars: {port: 80}\n"
HOSTILE = "<script>alert(1)</script>"


def test_the_page_and_the_api_tell_of_projects(tmp_path: Path) -> None:
    site = two_tenants(tmp_path, f"sqlite:///{tmp_path / 'q.db'}")
    commit = site.repo.commit({
        "role.yaml": ROLE,
        "play/site.yml": f"- hosts: all\n  roles: ['{HOSTILE}']\n",
        "play/host_vars/web-01.yml": f"port: '{HOSTILE}'\nsecret: !vault |\n  $ANSIBLE_VAULT;1.2;AES256;prod\n  3030\n",
        "play/group_vars/tenant_bank.yml": "port: of the bank\n",
    })  # fmt: skip
    with web(site.installation, *CALLERS) as served:
        (value,) = served.api(f"/explain?ref=shop/web-01&field=vars.port&rev={commit}", "token:shop").json["values"]
        assert value["roles"] == ["web"] and [said["layer"] for said in value["settings"]] == ["role/web", "host_vars/web-01"]
        assert value["settings"][1]["origin"] == {"path": "play/host_vars/web-01.yml", "line": 1, "column": 1}
        assert [unread["path"] for unread in value["unread"]] == [f"the role {HOSTILE}"]
        page = served.page(f"/explain?ref=shop/web-01&field=vars.port&rev={commit}", "github:sam").text
        assert "In the runs of web:" in page and "play/host_vars/web-01.yml:1:1" in page and "it is not in the repository" in page
        assert HOSTILE not in page and "of the bank" not in page
        (value,) = served.api(f"/explain?ref=shop/web-01&field=vars.secret&rev={commit}", "token:shop").json["values"]
        assert value["settings"][0]["value"] == {"secret": "vault value"}
